"""Whether two folders of results hold the same: ids, fields, scores, losses and texts, to the last digit.

    python scripts/compare_results.py results/before results/after
    python scripts/compare_results.py results/before results/after --tolerance 1e-9

Each folder is a sweep's (it holds trials/, candidates/, evals/ and tests/) or holds sweeps at any depth, which are
matched by their paths. Rows are matched by what names them: the trial's id, the example, the rank, the test, the step.
What may differ by nature is not compared: times, speeds, hosts, versions, commits, measured memory, the cache's luck.
A column or a further table that only one folder has is named and forgiven, unless --strict is given.

Exit codes: 0 equal, 1 different, 2 no such folder, nothing to compare or a damaged file.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

KEYS = {
    "trials": ("id",),
    "candidates": ("id", "example_id", "rank"),
    "evals": ("id", "step"),
    "tests": ("id", "example_id", "rank", "test"),
}
"""What names a row of each table that every version of raypeft has."""
OTHER_KEYS = ("id", "example_id", "score", "rank", "test", "step")
"""What names a row of any further table, as far as it has them."""
DIFFERS_BY_NATURE = (
    "seconds",
    "*_seconds",
    "*_per_second",
    "started_at",
    "host",
    "device",
    "device_memory_gb",
    "threads",
    "git_commit",
    "git_dirty",
    "*_version",
    "peak_memory_*",
    "load_peak_memory_*",
    "train_peak_memory_*",
    "generate_peak_memory_*",
    "cached",
    "cached_*",
)
"""Columns that are not compared. Predicted memory is: it follows from the fields."""
FACTS_OF_THE_MACHINE = ("uid", "python", "numpy", "landlock_abi")
"""What is not compared within the JSON text of `sandbox_isolation`."""
Row = dict[str, Any]


class BadInput(Exception):
    """A folder or file that cannot be compared, named."""


@dataclass(frozen=True)
class Difference:
    """One value, or one row, that differs. The column is empty where a whole row stands on one side only."""

    where: str
    column: str
    left: Any
    right: Any

    def __str__(self) -> str:
        if not self.column:
            return f"{self.where}: only in {'A' if self.left else 'B'}"
        return f"{self.where} {self.column}: {' | '.join(_from_difference(self.left, self.right))}"


@dataclass
class TableResult:
    """What comparing one table of one sweep found."""

    rows: int = 0
    values: int = 0
    columns: set[str] = field(default_factory=set)
    one_sided: dict[str, set[str]] = field(default_factory=lambda: {"A": set(), "B": set()})
    """Columns that only A or only B has."""
    differing: Counter[str] = field(default_factory=Counter)
    """Differences by column; rows that only one side has under "rows"."""
    first: list[Difference] = field(default_factory=list)

    def add(self, difference: Difference, kept: int) -> None:
        self.differing[difference.column or "rows"] += 1
        if len(self.first) < kept:
            self.first.append(difference)


@dataclass(frozen=True)
class Options:
    """How values are compared, and how many differences are kept of a table."""

    tolerance: float = 0.0
    kept: int = 10


def sweeps_in(folder: Path) -> dict[str, Path]:
    """The sweeps in `folder` by their path in it ("." for itself). Raises BadInput where there are none."""
    if not folder.is_dir():
        raise BadInput(f"{folder} must be a folder of results but is none")
    found = {
        str(path.parent.relative_to(folder)): path.parent
        for path in sorted(folder.rglob("trials"))
        if path.is_dir() and "superseded" not in path.relative_to(folder).parts
    }
    if not found:
        raise BadInput(f"{folder} must hold a sweep's results but has no trials/ at any depth")
    return found


def tables_of(sweep: Path) -> set[str]:
    """Names of the sweep's tables: its folders of Parquet files."""
    return {path.name for path in sweep.iterdir() if path.is_dir() and not path.name.startswith(".") and _files(path)}


def _files(table: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(table.glob("*.parquet"))}


def compare_table(left: Path, right: Path, options: Options) -> TableResult:
    """Compare two folders of Parquet files, one file a trial. Raises BadInput naming a file that cannot be read."""
    result = TableResult()
    ours, theirs = _files(left), _files(right)
    for name in sorted(ours | theirs):
        if name in ours and name in theirs:
            _compare_files(ours[name], theirs[name], result, options)
        else:
            where = f"{left.parent.name} {left.name} {name}"
            result.add(Difference(where, "", name in ours, name in theirs), options.kept)
    return result


def _compare_files(left: Path, right: Path, result: TableResult, options: Options) -> None:
    ours, theirs = _read(left), _read(right)
    names, other_names = set(ours.column_names), set(theirs.column_names)
    result.one_sided["A"] |= names - other_names
    result.one_sided["B"] |= other_names - names
    both = names & other_names
    table = left.parent.name
    keys = KEYS.get(table) or tuple(key for key in OTHER_KEYS if key in both)
    if missing := sorted(set(keys) - both):
        raise BadInput(f"{left} and {right} must both have the column {missing[0]}")
    columns = [name for name in ours.column_names if name in both and not differs_by_nature(name)]
    result.columns.update(columns)
    before, after = _by_key(ours, columns, keys), _by_key(theirs, columns, keys)
    for key in before | after:
        where = " ".join([left.parent.parent.name, table, *map(str, key[:-1])])
        if key not in before or key not in after:
            result.add(Difference(where, "", key in before, key in after), options.kept)
            continue
        result.rows += 1
        result.values += len(columns)
        for name, a, b in zip(columns, before[key], after[key], strict=True):
            if not equal(a, b, options.tolerance) and not _equal_facts(name, a, b):
                result.add(Difference(where, name, a, b), options.kept)


def _read(path: Path) -> pa.Table:
    try:
        # Not read_table, which makes further columns of folders that are named like partitions.
        return pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path} must be a Parquet file but is damaged: {error}") from error


def _by_key(table: pa.Table, columns: Sequence[str], keys: Sequence[str]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The rows' values of `columns` by their key, whose last part numbers rows of one name."""
    seen: Counter[tuple[Any, ...]] = Counter()
    rows: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row in table.to_pylist():
        key = tuple(row[name] for name in keys)
        rows[*key, seen[key]] = tuple(row[name] for name in columns)
        seen[key] += 1
    return rows


def differs_by_nature(column: str) -> bool:
    """Whether two runs of the same code may differ in the column."""
    return any(fnmatchcase(column, pattern) for pattern in DIFFERS_BY_NATURE)


def equal(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two values are the same; numbers of which one is a float within the relative tolerance, too."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(equal(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, float | int) and isinstance(b, float | int) and (isinstance(a, float) or isinstance(b, float)):
        return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=tolerance)
    return bool(a == b)


def _equal_facts(column: str, a: Any, b: Any) -> bool:
    """Whether two texts of `sandbox_isolation` differ in nothing but facts of the machine."""
    if column != "sandbox_isolation" or not a or not b:
        return False
    try:
        return _without_facts(json.loads(a)) == _without_facts(json.loads(b))
    except ValueError:
        return False


def _without_facts(told: Any) -> Any:
    if isinstance(told, list):
        return [_without_facts(each) for each in told]
    if isinstance(told, dict):
        return {name: value for name, value in told.items() if name not in FACTS_OF_THE_MACHINE}
    return told


def compare(left: Path, right: Path, options: Options, strict: bool = False) -> bool:
    """Compare two folders of results, print what was found, and say whether they are equal. Raises BadInput."""
    ours, theirs = sweeps_in(left), sweeps_in(right)
    results: dict[str, TableResult] = {}
    notes: list[str] = []
    is_equal = True
    for sweep in sorted(ours | theirs):
        if sweep not in ours or sweep not in theirs:
            print(f"{sweep}: a sweep that is only in {'A' if sweep in ours else 'B'}")
            is_equal = False
            continue
        have = tables_of(ours[sweep]), tables_of(theirs[sweep])
        for table in [*KEYS, *sorted((have[0] | have[1]) - set(KEYS))]:
            if table not in KEYS and (table in have[0]) != (table in have[1]):
                notes.append(f"{sweep}: the table {table} is only in {'A' if table in have[0] else 'B'}")
                continue
            results[f"{sweep}: {table}"] = compare_table(ours[sweep] / table, theirs[sweep] / table, options)
    if is_equal and not any(result.rows or result.differing for result in results.values()):
        raise BadInput(f"{left} and {right} must hold trials but neither holds one")
    notes += one_sided_columns(results)
    is_equal = is_equal and not any(result.differing for result in results.values()) and not (strict and notes)
    print_results(results, notes, options.kept)
    return is_equal


def one_sided_columns(results: dict[str, TableResult]) -> Iterator[str]:
    """A line for each table and side with columns that the other side lacks."""
    for name, result in results.items():
        for side, columns in result.one_sided.items():
            if columns:
                yield f"{name}: columns only in {side}: {', '.join(sorted(columns))}"


def print_results(results: dict[str, TableResult], notes: Sequence[str], kept: int) -> None:
    """The summary: a line a table, the first differences, then what only one side has."""
    for name, result in results.items():
        counts = ", ".join(f"{column} {count}" for column, count in result.differing.most_common())
        verdict = f"differences: {counts}" if counts else "equal"
        compared = f"{result.rows} rows, {result.values} values in {len(result.columns)} columns compared"
        print(f"{name}: {compared if result.rows else 'no row in both'}: {verdict}")
    first = [difference for result in results.values() for difference in result.first]
    if first:
        print("First differences (A | B):")
    for difference in first[:kept]:
        print(f"  {difference}")
    for note in notes:
        print(note)
    trials = sum(result.rows for name, result in results.items() if name.endswith(": trials"))
    print(f"{trials} trials and {sum(result.values for result in results.values())} values compared")


def _from_difference(left: Any, right: Any) -> list[str]:
    """Both values as text; long ones from shortly before they part, and cut."""
    texts = [repr(value) for value in (left, right)]
    same = next((place for place, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
    start = max(0, same - 20) if max(map(len, texts)) > 80 else 0
    cut = [text[start : start + 80] for text in texts]
    before, ends = "..." if start else "", ["..." if start + 80 < len(text) else "" for text in texts]
    return [before + part + end for part, end in zip(cut, ends, strict=True)]


def _relative(text: str) -> float:
    number = float(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to below 1 but got {text}")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path, metavar="A", help="a folder of results")
    parser.add_argument("b", type=Path, metavar="B", help="the folder to compare it with")
    parser.add_argument("--tolerance", type=_relative, default=0.0, help="relative difference that floats may have; 0")
    parser.add_argument("--strict", action="store_true", help="columns and tables of one side are differences, too")
    parser.add_argument("--show", type=int, default=10, metavar="N", help="differences to print; 10")
    options = parser.parse_args(arguments)
    try:
        is_equal = compare(options.a, options.b, Options(options.tolerance, options.show), options.strict)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("equal" if is_equal else "different")
    return 0 if is_equal else 1


if __name__ == "__main__":
    raise SystemExit(main())
