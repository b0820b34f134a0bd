"""Reads the rows of a dataset: from the hub, or from a folder or URL with a JSONL, JSON or Parquet file per split."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raypeft.data.declared.files import parse_table, read_bytes, told
from raypeft.mistakes import described
from raypeft.records import Example, Splits

SPLITS = ("train", "validation", "test")
FORMATS = (".jsonl", ".json", ".parquet")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a dataset that hold the id, the instruction and the code of an example."""

    id: str
    nl: str
    code: str


def read_splits(name: str, hub_id: str, source: str | None, revision: str | None, columns: Columns) -> Splits:
    """`{"train": [...], "validation": [...], "test": [...]}`, with one Example for each row, in the order of the files.

    Raises FileNotFoundError if a split is missing, and ValueError if a file cannot be read, a column is missing or a
    row is empty.
    """
    if source is None:
        tables = _hub_rows(name, hub_id, revision)
    else:
        tables = {split: read_rows(name, find_split(name, source, split)) for split in SPLITS}
    return {split: _examples(f"{name} {split} ({source or hub_id})", tables[split], columns) for split in SPLITS}


def rows_of(name: str, home: tuple[str, str | None], source: str | None, revision: str | None) -> list[Row]:
    """All rows of a dataset that is one file, or all splits of one on the hub (its id and configuration) together.

    Raises FileNotFoundError where there is no such file or dataset, and ValueError where the file holds no rows.
    """
    if source is not None:
        return read_rows(name, source)
    loaded = _from_hub(name, home, revision, "put its rows into a .jsonl file and name it as dataset_path")
    return [row for rows in loaded.values() for row in rows]


def load_from_hub(repository: str, config: str | None, revision: str | None) -> Any:
    """What `datasets.load_dataset` gives, without its progress bars. Raises what that raises."""
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    return load_dataset(repository, config, revision=revision)


def _from_hub(name: str, home: tuple[str, str | None], revision: str | None, otherwise: str) -> Any:
    try:
        return load_from_hub(*home, revision)
    except ConnectionError as error:
        raise FileNotFoundError(f"{name}: {home[0]} cannot be fetched from the hub ({error}); {otherwise}") from error


def require(name: str, rows: list[Row], columns: Iterable[str]) -> None:
    """Raise ValueError where there are no rows, or where one lacks a column."""
    if not rows:
        raise ValueError(f"{name}: must have at least one row but has none")
    for number, row in enumerate(rows):
        if missing := [column for column in columns if row.get(column) is None]:
            raise ValueError(f"{name}: row {number} (counted from 0) must have {', '.join(columns)} but lacks "
                             f"{', '.join(missing)}; it has {', '.join(row)}")  # fmt: skip


def _hub_rows(name: str, hub_id: str, revision: str | None) -> dict[str, list[Row]]:
    otherwise = (
        "put its splits as train.jsonl, validation.jsonl and test.jsonl into a folder and name it as dataset_path"
    )
    loaded = _from_hub(name, (hub_id, None), revision, otherwise)
    # CodeAlpacaPy's second split is called `valid` on the hub.
    tables = {"validation" if split == "valid" else split: rows for split, rows in loaded.items()}
    missing = [split for split in SPLITS if split not in tables]
    if missing:
        raise FileNotFoundError(f"{name}: {hub_id} must have the splits {', '.join(SPLITS)} but lacks "
                                f"{', '.join(missing)}; it has {', '.join(loaded)}")  # fmt: skip
    return {split: list(tables[split]) for split in SPLITS}


def hub_file(name: str, hub_id: str, file: str, revision: str | None) -> str:
    """The local path of one file of a dataset on the hub, which is downloaded if needed.

    Raises FileNotFoundError if it cannot be downloaded.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return str(hf_hub_download(hub_id, file, repo_type="dataset", revision=revision))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise FileNotFoundError(
            f"{name}: {file} of {hub_id} cannot be fetched from the hub ({error}); put the dataset's files into a "
            f"folder and name it as dataset_path"
        ) from error


def read_rows(name: str, path: str) -> list[Row]:
    """The rows of one JSONL, JSON or Parquet file or URL, each as a dict from column to value.

    This does not use `datasets`, which needs the same format and types in all splits. Raises FileNotFoundError if the
    file does not exist, and ValueError where it is in another format or has a line that is no row.
    """
    bare = path.partition("?")[0].lower() if "://" in path else path.lower()
    if bare.removesuffix(".gz").endswith((".csv", ".tsv")):  # all their columns are text, and tests are lists
        raise ValueError(f"{name}: {path} must be a file that ends in {', '.join(FORMATS)} (or with .gz behind it)")
    is_told = bare.removesuffix(".gz").endswith(FORMATS)
    try:
        table = parse_table(path, read_bytes(path), bare if is_told else ".jsonl")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name}: dataset_path {error}") from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if table.problems:
        raise ValueError(f"{name}: {path} {'; '.join(told(table.problems))}")
    return [row.values for row in table.rows]


def find_split(name: str, source: str, split: str) -> str:
    """The path or URL of the file of `split` in the folder `source`."""
    for suffix in (*FORMATS, ".jsonl.gz", ".json.gz"):
        if path := _existing(source, split + suffix):
            return path
    wanted = ", ".join(split + suffix for suffix in FORMATS)
    raise FileNotFoundError(f"{name}: dataset_path {source} must hold one of {wanted} but holds none of them")


def _existing(folder: str, file: str) -> str | None:
    """The path or URL of a file in a folder. None if it is not there."""
    if "://" not in folder:
        path = Path(folder).expanduser().absolute() / file
        return str(path) if path.exists() else None
    import fsspec

    filesystem, root = fsspec.core.url_to_fs(folder)
    url = f"{root.rstrip('/')}/{file}"
    return str(filesystem.unstrip_protocol(url)) if filesystem.exists(url) else None


def _examples(origin: str, rows: list[Row], columns: Columns) -> list[Example]:
    if not rows:
        raise ValueError(f"{origin}: must have at least one row but has none")
    present = dict.fromkeys(column for row in rows for column in row)
    missing = [column for column in (columns.nl, columns.code) if column not in present]
    if missing:
        raise ValueError(f"{origin}: must have the columns {columns.nl}, {columns.code} but lacks "
                         f"{', '.join(missing)}; it has {', '.join(present)}")  # fmt: skip
    for column in (columns.nl, columns.code):
        of_bytes = [index for index, row in enumerate(rows) if isinstance(row.get(column), bytes)]
        if of_bytes:
            raise ValueError(f"{origin}: {column} must be text but {len(of_bytes)} rows hold bytes, the first is row "
                             f"{of_bytes[0]} (counted from 0); write the column as a string")  # fmt: skip
        # null and NaN are how files say that a text is missing.
        other = [(index, row[column]) for index, row in enumerate(rows)
                 if isinstance(row.get(column), bool | int | list | dict)]  # fmt: skip
        if other:
            raise ValueError(f"{origin}: {column} must be text but {len(other)} rows hold something else, the first is "
                             f"row {other[0][0]} (counted from 0) with {described(other[0][1])}")  # fmt: skip
    empty = [
        index
        for index, row in enumerate(rows)
        if not _has_text(row.get(columns.nl)) or not _has_text(row.get(columns.code))
    ]
    if empty:
        raise ValueError(f"{origin}: {len(empty)} rows have no text in {columns.nl} or {columns.code}, the first is "
                         f"row {empty[0]} (counted from 0); remove or fill them")  # fmt: skip
    ids = unique([str(index if row.get(columns.id) is None else row[columns.id]) for index, row in enumerate(rows)])
    return [Example(each, row[columns.nl], row[columns.code]) for each, row in zip(ids, rows, strict=True)]


def unique(ids: list[str]) -> list[str]:
    """Make ids unique: a repeated id gets `#2`, `#3`, ... at its end, the first that no other has. CoNaLa has 21."""
    taken, numbers = set(ids), Counter[str]()
    unique_ids = []
    for each in ids:
        numbers[each] += 1
        new = each
        while numbers[each] > 1 and new in taken:
            new = f"{each}#{numbers[each]}"
            numbers[each] += new in taken
        taken.add(new)
        unique_ids.append(new)
    return unique_ids


def _has_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
