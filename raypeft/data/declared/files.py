"""Reads the rows of a user's file, and says of each row that cannot be read where it stands.

    table = read_table("data.jsonl")
    table.rows[0].place, table.rows[0].values          # "line 1", {"instruction": ..., "output": ...}
    table.problems                                     # [Problem("line 7", "not JSON: ...")]

JSONL, JSON, CSV, TSV and Parquet, also compressed with gzip; a file on this disk or any URL that fsspec opens.
"""

import csv
import gzip
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raypeft.models.folders import is_lfs_pointer

FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz", ".tsv.gz")
PLACES_TOLD = 3
"""So many places of one mistake are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row, and its place in the file."""

    place: str
    """`line 7` where the file has lines, else `row 7`. Both count from 1."""
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row cannot be used."""

    place: str
    reason: str


@dataclass(slots=True)
class Table:
    """The rows of a file in its order, and what was wrong with the others."""

    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """All columns of all rows, each once."""
        return list(dict.fromkeys(column for row in self.rows for column in row.values))


def read_table(path: str) -> Table:
    """The rows of one file or URL. Its format is that of its ending.

    Raises FileNotFoundError where there is no such file, and ValueError where it is no table at all.
    """
    return parse_table(path, read_bytes(path))


def parse_table(path: str, content: bytes, ending: str = "") -> Table:
    """The rows of a file's content. `ending` tells its format where that of `path` does not.

    Raises ValueError where it is no table at all.
    """
    name = ending or path.lower()
    if not name.endswith(FORMATS):
        raise ValueError(f"{path} must be a file that ends in {', '.join(FORMATS[:5])} (or with .gz behind it)")
    _check_is_no_pointer(path, content)
    if name.endswith(".gz"):
        name = name.removesuffix(".gz")
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise ValueError(f"{path} must be compressed with gzip but is not, or is damaged ({error})") from None
    if name.endswith(".parquet"):
        try:
            rows = _parquet_rows(content)
        except ValueError as error:
            raise ValueError(f"{path} {error}") from None
        return Table([Row(f"row {number}", row) for number, row in enumerate(rows, start=1)])
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{path} must be UTF-8 but is UTF-16; convert it: iconv -f UTF-16 -t UTF-8 {path} > FILE")
    content = content.removeprefix(b"\xef\xbb\xbf")
    return _separated(content, name) if name.endswith((".csv", ".tsv")) else _json(content)


def read_bytes(path: str) -> bytes:
    """The content of a file or URL. A path on this disk is taken as it is, whatever fsspec reads into `::` in it.

    Raises FileNotFoundError where there is none, and ValueError where it is a folder or may not be read.
    """
    try:
        if "://" not in path:
            return Path(path).expanduser().read_bytes()
        import fsspec

        with fsspec.open(path, "rb") as stream:
            return bytes(stream.read())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} must be a file that can be read but there is none") from None
    except IsADirectoryError:
        raise ValueError(f"{path} must be a file but is a folder") from None
    except Exception as error:  # each protocol of fsspec has errors of its own
        raise ValueError(f"{path} cannot be read: {error}") from None


def _check_is_no_pointer(path: str, content: bytes) -> None:
    """Raise ValueError where a file is what Git LFS leaves in place of a large one."""
    if is_lfs_pointer(content):
        raise ValueError(f"{path} must be a data file but is a Git LFS pointer to one; "
                         f"run `git lfs pull` in its repository")  # fmt: skip


def _parquet_rows(content: bytes) -> list[dict[str, Any]]:
    """The rows of a Parquet file's content.

    Raises ValueError, without the file's name, where it is none, or has two columns of one name.
    """
    try:
        names = pq.read_schema(pa.BufferReader(content)).names
        if not (twice := _twice(names)):
            return pq.read_table(pa.BufferReader(content)).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"must be a Parquet file but is none, or damaged ({error})") from None
    raise ValueError(f"must have each column once but has {twice[0]!r} twice")


def _twice(columns: Sequence[str]) -> list[str]:
    """The columns whose name another one has."""
    return [column for column in columns if columns.count(column) > 1]


def _json(content: bytes) -> Table:
    """The rows of a file that is one JSON value, else of its lines, whatever the file's ending promises."""
    table = Table()
    whole = _whole(content)
    if whole is not None:
        values = whole if isinstance(whole, list) else [whole]
        _add(table, ((f"row {number}", value) for number, value in enumerate(values, start=1)))
        return table
    for number, line in enumerate(content.splitlines(), start=1):
        place = f"line {number}"
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            table.problems.append(Problem(place, _not_utf8(error)))
        except (ValueError, RecursionError) as error:
            table.problems.append(Problem(place, _why_unread(error)))
        else:
            _add(table, [(place, each) for each in (value if isinstance(value, list) else [value])])
    return table


def _why_unread(error: ValueError | RecursionError) -> str:
    """Why `json.loads` did not read a line. What is no JSON has an error of its own; a long integer has not."""
    if isinstance(error, RecursionError):
        return "not JSON (too many levels)"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error.msg})"
    return f"has an integer of more than {sys.get_int_max_str_digits():,} digits, which Python does not read"


def _whole(content: bytes) -> Any:
    """The one JSON value that the content is; None where it is none."""
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def _add(table: Table, values: Iterable[tuple[str, Any]]) -> None:
    for place, value in values:
        if isinstance(value, dict):
            table.rows.append(Row(place, value))
        else:
            table.problems.append(Problem(place, "must be a JSON object with the columns as keys"))


def _separated(content: bytes, name: str) -> Table:
    """The rows of a CSV or TSV file. Its first line names the columns."""
    table = Table()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Table(problems=[Problem(f"line {line}", _not_utf8(error))])
    first = text.partition("\n")[0]
    delimiter = "\t" if name.endswith(".tsv") else ";" if ";" in first and "," not in first else ","
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header = next(reader, [])
    if twice := _twice(header):
        return Table(problems=[Problem("line 1", f"has the column {twice[0]!r} twice")])
    for place, values in _csv_lines(reader, table):
        if len(values) == len(header):
            table.rows.append(Row(place, dict(zip(header, values, strict=True))))
        elif values:
            table.problems.append(Problem(place, f"must have {len(header)} fields, as line 1 has"))
    return table


def _csv_lines(reader: Any, table: Table) -> Iterator[tuple[str, list[str]]]:
    """The records with the line on which each begins. What follows a broken quote cannot be told apart any more."""
    while True:
        place = f"line {reader.line_num + 1}"
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            table.problems.append(Problem(place, f"not CSV ({error}), so that nothing after it can be read"))
            return
        yield place, values


def _not_utf8(error: UnicodeDecodeError) -> str:
    return (f"not UTF-8 (byte 0x{error.object[error.start]:02x}); if the file is in a Windows encoding, convert it: "
            f"iconv -f WINDOWS-1252 -t UTF-8")  # fmt: skip


def told(problems: Iterable[Problem]) -> list[str]:
    """Each mistake once, with its first places: `lines 3, 5, 9 and 117 more: output has no text`."""
    places: dict[str, list[str]] = {}
    for problem in problems:
        places.setdefault(problem.reason, []).append(problem.place)
    return [f"{_joined(found)}: {reason}" for reason, found in places.items()]


def _joined(places: list[str]) -> str:
    kind = places[0].partition(" ")[0]
    numbers = ", ".join(place.partition(" ")[2] for place in places[:PLACES_TOLD])
    more = f" and {len(places) - PLACES_TOLD:,} more" if len(places) > PLACES_TOLD else ""
    return f"{kind}{'s' if len(places) > 1 else ''} {numbers}{more}"
