"""All rows of a table of a results folder at once, also where ten thousand trials have a file each.

    gathered(store, "trials").rows()

To open a file of one row takes about 14 ms, nearly all of it for its 300 columns. So the rows of many files are kept in
one more file, `.gathered/<table>.parquet`, with the name, size and time of the file that each came from, and only files
that are new or were changed are read again. A new row stands in a note as well, `.gathered/new/<table>/<trial>.json`,
which is read 100 times as fast as its file. Notes are removed when their rows are kept. The whole folder `.gathered`
can be deleted at any time: the files of the tables are the results, and all others are made from them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from raypeft.results.store import ResultStore

Row = dict[str, Any]
FEWEST = 100
"""Files of a table from which their rows are kept together."""
EPOCH = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))
FROM = "_from"
"""Column of the kept file: which version of which file a row came from."""
EMPTY = b"empty"
"""Metadata of the kept file: the files that have no rows."""
FOLDER = ".gathered"
NOTED = ("trials", "evals", "example_scores")
"""Tables whose new rows are noted: those that reports read whole."""
THREADS = 16
"""Files that are read at the same time, which an object store needs; pyarrow uses all cores of a machine."""


class Gathered:
    """The rows of a table as one Arrow table, by the file that each came from. Damaged files are left out."""

    def __init__(self, store: ResultStore, table: str, whole: pa.Table) -> None:
        self.names = store.declared_columns(table)
        self.table = whole.drop_columns([FROM])

    def rows(self, columns: Sequence[str] = ()) -> list[Row]:
        """All rows, in the order of their files, with all columns of the table or with these."""
        return rows_of(self.table, columns) if columns else whole_rows(self.table, self.names)

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        """Trial id -> the places of its rows."""
        places: dict[str, list[int]] = {}
        for place, trial in enumerate(self.table.column("id").to_pylist()):
            places.setdefault(trial, []).append(place)
        return places

    def of_trial(self, trial_id: str) -> list[Row]:
        """The rows of one trial. They are made when they are asked for: a table of all would fill the memory."""
        places = self._places.get(trial_id)
        if places is None:
            return []
        if places[-1] - places[0] + 1 == len(places):
            found = self.table.slice(places[0], len(places))
        else:
            found = self.table.take(places)
        return whole_rows(found, self.names)


def gathered(store: ResultStore, table: str) -> Gathered | None:
    """The rows of all trials of a table. None: there are too few files for keeping them together.

    A damaged file is named in `store.damaged`. Where the rows cannot be kept, they are read all the same.
    """
    infos = store.infos(table)
    if len(infos) < FEWEST:
        return None
    wanted, replaced = {stamp_of(each): each for each in infos}, store.replaced(infos)
    kept, empty = _kept(store, table)
    known = empty | set(kept.column(FROM).to_pylist() if kept is not None else ())
    fresh = {stamp: info for stamp, info in wanted.items() if stamp not in known}
    if not fresh and known <= wanted.keys():
        return Gathered(store, table, _own_first(kept if kept is not None else _nothing(), replaced))
    parts = [] if kept is None else [_still_there(kept, wanted)]
    made = list(_read_anew(store, table, fresh))
    whole = _in_order(joined([*parts, *(found for _, found in made)]), list(wanted)) if parts or made else _nothing()
    without_rows = (empty & wanted.keys()) | {stamp for stamp, found in made if stamp and not len(found)}
    if without_rows | set(whole.column(FROM).to_pylist()) != known:  # a damaged file is fresh each time
        _keep(store, table, whole, without_rows)
    return Gathered(store, table, _own_first(whole, replaced))


def whole_table(store: ResultStore, table: str) -> pa.Table | None:
    """All rows of a table that count, as they stand in its files. None: there are none.

    Damaged files are left out, and named in `store.damaged`.
    """
    found = [part for part in parts_of(store, table) if len(part)]
    return joined(found) if found else None


def parts_of(store: ResultStore, table: str) -> Iterator[pa.Table]:
    """What counts of each file of a table, one after the other. A damaged file is left out."""
    infos = store.infos(table)
    replaced = store.replaced(infos)
    for info in infos:
        part = store.read_or_leave_out(info.path)
        if part is not None:
            is_own = info.base_name.removesuffix(".parquet") in replaced
            yield part if is_own or not replaced else of_trials(part, lambda trial: trial not in replaced)


def of_trials(table: pa.Table, wanted: Callable[[str], bool]) -> pa.Table:
    """The rows of some trials. pyarrow's own functions for it take long to import."""
    if "id" not in table.column_names:
        return table
    return table.filter(pa.array([wanted(trial) for trial in table.column("id").to_pylist()], pa.bool_()))


def _own_first(whole: pa.Table, replaced: Collection[str]) -> pa.Table:
    """Of the trials that are `replaced` only the rows in their own files."""
    if not replaced:
        return whole
    places = zip(whole.column("id").to_pylist(), whole.column(FROM).to_pylist(), strict=True)
    counts = [trial not in replaced or stamp.startswith(f"{trial}.parquet ") for trial, stamp in places]
    return whole.filter(pa.array(counts, pa.bool_()))


def _still_there(kept: pa.Table, wanted: Mapping[str, Any]) -> pa.Table:
    """The rows whose file there still is."""
    return kept.filter(pa.array([stamp in wanted for stamp in kept.column(FROM).to_pylist()], pa.bool_()))


def _in_order(whole: pa.Table, stamps: Sequence[str]) -> pa.Table:
    """The rows in the order of their files; those of one file as they are."""
    place = {stamp: place for place, stamp in enumerate(stamps)}
    of_rows = [place[stamp] for stamp in whole.column(FROM).to_pylist()]
    return whole.take(pa.array(sorted(range(len(of_rows)), key=of_rows.__getitem__), pa.int64()))


def _nothing() -> pa.Table:
    return pa.table({"id": pa.array([], pa.string()), FROM: pa.array([], pa.string())})


def rows_of(table: pa.Table, columns: Sequence[str]) -> list[Row]:
    """The rows of an Arrow table with these columns, of which a missing one is None.

    Most columns are empty, so each row is a copy of an empty one, with its values: `to_pylist` of the whole table takes
    six times as long.
    """
    names = set(table.column_names)
    full = [name for name in columns if name in names and table.column(name).null_count < len(table)]
    blank = dict.fromkeys(columns)
    if not full:
        return [dict(blank) for _ in range(len(table))]
    values = [_values(table.column(name)) for name in full]
    return [blank | dict(zip(full, each, strict=True)) for each in zip(*values, strict=True)]


def whole_rows(table: pa.Table, names: Sequence[str]) -> list[Row]:
    """The same with the columns of these names, and all of the table's own."""
    return rows_of(table, list(dict.fromkeys([*names, *table.column_names])))


def _values(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column. For a time pyarrow would import pandas, and take fifty times as long as this does."""
    if not (pa.types.is_timestamp(column.type) and column.type.unit == "us" and column.type.tz == "UTC"):
        return column.to_pylist()
    counts = (count for chunk in column.chunks for count in chunk.view(pa.int64()).to_pylist())
    return [None if count is None else EPOCH + timedelta(microseconds=count) for count in counts]


def stamp_of(info: pa.fs.FileInfo) -> str:
    """Which version of which file this is."""
    return f"{info.base_name} {info.size} {info.mtime_ns}"


def note(store: ResultStore, table: str, data: pa.Table, info: pa.fs.FileInfo, trial_id: str) -> None:
    """Note the rows of a file that was written. What cannot be noted is read from the file."""
    with contextlib.suppress(OSError, pa.ArrowException, TypeError):
        full = [name for name in data.column_names if data.column(name).null_count < len(data)]
        rows = data.select(full).to_pylist()
        plain = {"size": info.size, "mtime_ns": info.mtime_ns, "rows": rows}
        with store.writing(f"{FOLDER}/new/{table}/{trial_id}.json") as stream:
            stream.write(json.dumps(plain, default=datetime.isoformat).encode())


def _noted(store: ResultStore, table: str, info: pa.fs.FileInfo, known: set[str], times: set[str]) -> list[Row] | None:
    """The rows of a file as they were noted. None: the note is missing, or is of another version of the file.

    `known` are the columns of the table, and `times` those of them that are timestamps.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        with store.filesystem.open_input_file(_note_path(store, table, info)) as stream:
            plain = json.loads(stream.read())
        rows: list[Row] = plain["rows"]
        names = {name for row in rows for name in row}
        same = plain["size"] == info.size and _same_time(store, plain["mtime_ns"], info.mtime_ns)
        if not same or not names <= known:
            return None
        for row in rows:
            for name in times & row.keys():
                row[name] = row[name] and datetime.fromisoformat(row[name])
        return rows
    return None


def _note_path(store: ResultStore, table: str, info: pa.fs.FileInfo) -> str:
    return f"{store.root}/{FOLDER}/new/{table}/{info.base_name.removesuffix('.parquet')}.json"


def _same_time(store: ResultStore, noted: int, found: int) -> bool:
    """Whether two times are of one version of a file. S3 tells seconds of one file, and milliseconds in a listing."""
    return noted == found if store.is_local else noted // 10**9 == found // 10**9


def _read_anew(store: ResultStore, table: str, fresh: Mapping[str, pa.fs.FileInfo]) -> Iterator[tuple[str, pa.Table]]:
    """The rows of new and changed files with the stamps of their files: those with notes together, then the others."""
    rows: list[Row] = []
    stamps: list[str] = []
    unnoted: dict[str, str] = {}
    schema = store.schemas.get(table, pa.schema([]))
    known, times = set(schema.names), {field.name for field in schema if pa.types.is_timestamp(field.type)}
    with ThreadPoolExecutor(THREADS) as pool:
        noted = map if store.is_local else pool.map  # on a disk, threads would only wait for each other
        found = noted(lambda each: _noted(store, table, each, known, times), fresh.values())
        for (stamp, info), own in zip(fresh.items(), found, strict=True):
            if own:
                rows += own
                stamps += [stamp] * len(own)
            else:
                unnoted[stamp] = info.path
        if rows:
            yield "", _stamped(pa.Table.from_pylist(rows, schema=schema), stamps)
        for stamp, read in zip(unnoted, pool.map(store.read_or_leave_out, unnoted.values()), strict=True):
            if read is not None:
                yield stamp, _stamped(read, [stamp] * len(read))


def _stamped(found: pa.Table, stamps: Sequence[str]) -> pa.Table:
    return found.append_column(FROM, pa.array(stamps, pa.string()))


def joined(parts: list[pa.Table]) -> pa.Table:
    """All parts as one table: at once where they have one schema, else with the columns of all."""
    try:
        return pa.concat_tables(parts).combine_chunks()
    except pa.ArrowInvalid:
        return pa.concat_tables([_plain(each) for each in parts], promote_options="permissive").combine_chunks()


def _plain(found: pa.Table) -> pa.Table:
    """Without the descriptions of columns, which may differ between versions."""
    return found.replace_schema_metadata(None).cast(pa.schema([each.remove_metadata() for each in found.schema]))


def _kept(store: ResultStore, table: str) -> tuple[pa.Table | None, set[str]]:
    """The rows that were kept (None: there are none, or they cannot be read), and the files that have no rows."""
    with contextlib.suppress(OSError, pa.ArrowException, ValueError, TypeError):
        found = store.read_file(f"{store.root}/{FOLDER}/{table}.parquet")
        if FROM in found.column_names:
            metadata = dict(found.schema.metadata or {})
            empty = set(json.loads(metadata.pop(EMPTY, b"[]")))
            return found.replace_schema_metadata(metadata or None), empty
    return None, set()


def _keep(store: ResultStore, table: str, whole: pa.Table, empty: set[str]) -> None:
    """Keep rows for the next time, in one step, and remove their notes. A folder that cannot be written stays."""
    metadata = {**(whole.schema.metadata or {}), EMPTY: json.dumps(sorted(empty)).encode()}
    with contextlib.suppress(OSError, pa.ArrowException):
        with store.writing(f"{FOLDER}/{table}.parquet") as stream:
            pq.write_table(whole.replace_schema_metadata(metadata), stream, compression="zstd")
        # A note that another process writes at this moment may go as well: then the file itself is read.
        store.filesystem.delete_dir_contents(f"{store.root}/{FOLDER}/new/{table}", missing_dir_ok=True)
