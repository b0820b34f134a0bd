"""A declared dataset, put together: read while a sweep is planned, and again by each trial.

data = settled("reviews", declaration, Path("sweeps"))     # planning: paths made absolute, what the data says
as_dataset("reviews", data).load(None, None)               # a trial: the splits
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from raypeft.data.declared.declaration import Declaration, DeclaredData
from raypeft.data.declared.examples import RESERVED, make_examples, repeated_ids
from raypeft.data.declared.files import FORMATS, Problem, Row, Table, parse_table, read_bytes, told
from raypeft.data.declared.splits import complete, derived_stop
from raypeft.data.sources import SPLITS, load_from_hub
from raypeft.records import Dataset, Splits

ALIASES = {"valid": "validation", "val": "validation", "dev": "validation", "eval": "validation"}
"""Other names of splits, as files and datasets on the hub have them."""
CHARACTERS_A_TOKEN = 2
"""For planning, which has no tokenizer: text has more characters a token than this."""
MOST_LEVELS = 20
"""Each level has columns of its own in the table of trials."""
UNREAD_TOKENS = 1024
"""For planning: the length of the longest example of a dataset that is not read before its trials run."""


class DataError(ValueError):
    """What is wrong with a declared dataset: `problems` has a line for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


@dataclass(frozen=True, slots=True)
class Loaded:
    """The splits of a declared dataset, and how they came about."""

    splits: Splits
    read: dict[str, int]
    """File or split -> number of rows read, those that cannot be used included."""
    dropped: dict[str, list[Problem]]
    """File or split -> what was dropped (`bad_rows: drop`)."""
    renamed: dict[str, list[Problem]]
    """File or split -> the rows whose id an earlier one has, so that it got a number behind it."""
    made: tuple[str, ...]
    """The splits that were made of `train`."""
    content: str | None
    """Hash of the files of all splits, whatever their names are. None for a dataset on the hub."""


def settled(name: str, declaration: Declaration, folder: Path) -> DeclaredData:
    """The declaration as trials hold it. Its files are read where they lie on this machine.

    A relative path is looked for in `folder`, then in the current one. Raises DataError with all that is wrong with
    declaration or rows.
    """
    given = declaration.model_dump(exclude_defaults=True)
    data = DeclaredData(**given | {"path": _located(name, declaration, folder)})
    return with_rows_read(name, data) if _is_local(data) else data


def with_rows_read(name: str, data: DeclaredData) -> DeclaredData:
    """The declaration with what its rows say. Its identity has their hash only where they are on this machine.

    Raises DataError with all that is wrong with them.
    """
    loaded = load(name, data)
    examples = [each for split in loaded.splits.values() for each in split]
    stop = data.stop or derived_stop(loaded.splits)
    return data.model_copy(
        update={
            **({"content": loaded.content, "stop": stop} if _is_local(data) else {"derived_stop": stop}),
            "longest_prompt": max(len(each.asked) for each in examples),
            "longest_answer": max(len(each.code) for each in examples),
            "sizes": {split: len(found) for split, found in loaded.splits.items()},
            "level_names": _levels(name, data, loaded.splits),
        }
    )


def _levels(name: str, data: Declaration, splits: Splits) -> tuple[str, ...]:
    """The levels of the test split: numbers in their order, words as they come."""
    found = [*dict.fromkeys(example.level for example in splits["test"] if example.level)]
    if len(found) > MOST_LEVELS:
        raise DataError([f"{name}: levels must name a column of at most {MOST_LEVELS} different values but "
                         f"{data.levels} has {len(found)}, such as {', '.join(found[:3])}"])  # fmt: skip
    readings = [(of, f"{of}_{reading}") for of in found for reading in RESERVED]
    if clashing := [(of, each) for of, each in readings if each in found]:
        raise DataError([f"{name}: the level {each} of {data.levels} must have another name beside {of}, since a "
                         f"score's columns such as pass_at_1_{each} are bounds and readings of pass_at_1_{of}"
                         for of, each in clashing])  # fmt: skip
    try:
        return tuple(sorted(found, key=float))
    except ValueError:
        return tuple(found)


def as_dataset(name: str, data: DeclaredData) -> Dataset:
    """The record that trials work with. `load` raises DataError where the data is not as it was when it was planned."""

    def load_splits(source: str | None = None, revision: str | None = None) -> Splits:
        return load(name, data, data.content).splits

    answer = _tokens(data.longest_answer)
    return Dataset(
        name=name,
        load=load_splits,
        max_new_tokens=None,
        longest_answer=answer,
        longest_tokens=_tokens(data.longest_prompt) + answer,
        untuned_stop=data.stop or data.derived_stop or ("\n### Instruction:",),
        judged_by=data.judged_by,
        levels=data.level_names,
        test_size=(data.sizes or {}).get("test"),
        splits=tuple(split for split, count in data.sizes.items() if count) if data.sizes else SPLITS,
    )


def _tokens(characters: int | None) -> int:
    return UNREAD_TOKENS // 2 if characters is None else -(-characters // CHARACTERS_A_TOKEN) + 1


def load(name: str, data: Declaration, planned: str | None = None) -> Loaded:
    """Read all rows and make the splits.

    Raises DataError with all that is wrong, also where the files' hash is no longer the `planned` one.
    """
    contents = {} if data.is_on_hub else _contents(name, data)
    content = _hash(contents) if contents else None
    if planned is not None and content != planned:
        raise DataError([f"{name}: the files of {data.path} have changed since the sweep was planned, so that its "
                         f"trials would not have the same data; run the sweep again"])  # fmt: skip
    tables = dict(_hub_tables(name, data) if data.is_on_hub else _file_tables(name, contents))
    given: Splits = {}
    read, dropped, renamed, problems = {}, {}, {}, []
    for split, (source, table) in tables.items():
        try:
            examples, bad = make_examples(table, data)
        except ValueError as error:
            problems.append(f"{name}: {source}: {error}")
            continue
        read[source] = len(table.rows) + len(table.problems)
        if repeated := repeated_ids(table, data):
            renamed[source] = repeated
        if bad and data.bad_rows == "drop":
            dropped[source] = bad
        else:
            problems += [f"{name}: {source} {line}; `bad_rows: drop` leaves such rows out" for line in told(bad)]
        if not examples and (not bad or data.bad_rows == "drop"):
            problems.append(f"{name}: {source} must have at least one row that can be used but has none")
        given[split] = examples
    if problems:
        raise DataError(problems)
    splits = _complete(name, given, data)
    made = tuple(each for each in SPLITS if splits[each] and each not in given)
    return Loaded(splits, read, dropped, renamed, made, content)


def first_table(name: str, path: str) -> Table:
    """The rows of the first split of a file, folder, URL or dataset on the hub, whose columns are not known yet.

    Raises DataError where they cannot be read.
    """
    data = Declaration(path=path, messages="any")  # which column that is matters only to `make_examples`
    tables = _hub_tables(name, data) if data.is_on_hub else _file_tables(name, _contents(name, data))
    return next(table for _, (_, table) in tables)


def _complete(name: str, given: Splits, data: Declaration) -> Splits:
    if "train" not in given and "test" not in given:
        raise DataError([f"{name}: must have a train split or a test split but has {', '.join(given)} alone"])
    try:
        return complete(given, data.split)
    except ValueError as error:
        raise DataError([f"{name}: {error}"]) from None


def _located(name: str, declaration: Declaration, folder: Path) -> Any:
    """The path or paths, absolute where they are on this disk. Raises DataError for those that are not there."""
    if isinstance(declaration.path, str):
        return _found(name, declaration.path, folder)
    problems: list[str] = []
    located = {}
    for split, path in declaration.path.items():
        try:
            located[split] = _found(name, path, folder)
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return located


def _found(name: str, path: str, folder: Path) -> str:
    if "://" in path:
        return path
    given = Path(path).expanduser()
    for place in dict.fromkeys([folder / given, Path.cwd() / given]):
        if place.exists():
            return str(place.absolute())
    looked = "" if given.is_absolute() else f" beside the sweep file ({folder.absolute()}) or in {Path.cwd()}"
    near = sorted(each.name for each in (folder / given).parent.glob("*") if each.name.endswith(FORMATS))
    there = f"; files there: {', '.join(near[:8])}" if near else ""
    raise DataError([f"{name}: path must be a file or folder that exists but there is no {path}{looked}{there}"])


def _is_local(data: Declaration) -> bool:
    paths = [data.path] if isinstance(data.path, str) else data.path.values()
    return all("://" not in path for path in paths)


def _files(name: str, data: Declaration) -> dict[str, str]:
    """Split -> file or URL."""
    if not isinstance(data.path, str):
        return {str(split): path for split, path in data.path.items()}
    if "://" in data.path or not Path(data.path).is_dir():
        return {"train": data.path}
    found: dict[str, str] = {}
    for file in sorted(Path(data.path).iterdir()):
        stem = file.name.partition(".")[0]
        split = ALIASES.get(stem, stem)
        if split in SPLITS and file.name.endswith(FORMATS):
            if split in found:
                raise DataError([f"{name}: {data.path} must have one file for {split} but has "
                                 f"{Path(found[split]).name} and {file.name}"])  # fmt: skip
            found[split] = str(file)
    if not found:
        there = ", ".join(sorted(each.name for each in Path(data.path).iterdir())[:8]) or "nothing"
        raise DataError([f"{name}: the folder {data.path} must have a train or a test file "
                         f"({', '.join('train' + each for each in FORMATS[:5])}) but has {there}"])  # fmt: skip
    return found


def _contents(name: str, data: Declaration) -> dict[str, tuple[str, bytes]]:
    """Split -> its file or URL, and what that holds. Raises DataError naming all that cannot be read."""
    problems, found = [], {}
    for split, path in _files(name, data).items():
        try:
            found[split] = path, read_bytes(path)
        except (OSError, ValueError) as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise DataError(problems)
    return found


def _hash(contents: dict[str, tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for split, (_, content) in sorted(contents.items()):
        digest.update(f"{split}\0".encode() + hashlib.sha256(content).digest())
    return f"sha256:{digest.hexdigest()[:16]}"


def _file_tables(name: str, contents: dict[str, tuple[str, bytes]]) -> Iterator[tuple[str, tuple[str, Table]]]:
    problems = []
    for split, (path, content) in contents.items():
        try:
            table = parse_table(path, content)
        except ValueError as error:
            problems.append(f"{name}: {error}")
        else:
            yield split, (path, table)
    if problems:
        raise DataError(problems)


@cache
def _hub_rows(repository: str, config: str | None, revision: str | None) -> dict[str, list[dict[str, Any]]]:
    return {
        ALIASES.get(split, split): list(rows) for split, rows in load_from_hub(repository, config, revision).items()
    }


def _hub_tables(name: str, data: Declaration) -> Iterator[tuple[str, tuple[str, Table]]]:
    assert isinstance(data.path, str)
    repository = data.path.removeprefix("hf://").strip("/")
    try:
        rows = _hub_rows(repository, data.config, data.revision)
    except (OSError, ValueError) as error:
        raise DataError([f"{name}: {data.path} cannot be loaded from the hub ({error}); a private dataset needs a "
                         f"token: `hf auth login`, or the variable HF_TOKEN"]) from error  # fmt: skip
    unknown = [split for split in rows if split not in SPLITS]
    if "train" not in rows and "test" not in rows:
        raise DataError([f"{name}: {data.path} must have a split train or test but has {', '.join(unknown)}"])
    for split in SPLITS:
        if split in rows:
            table = Table([Row(f"row {number}", row) for number, row in enumerate(rows[split], start=1)])
            yield split, (f"{data.path} {split}", table)
