"""All rows of a table of a results folder at once, also where thousands of trials have a file each.

    rows = gathered_rows(store, "trials")

To open a file of one row takes about 20 ms, most of it for its 230 columns. So for many files the rows are kept in one
more file, `.gathered/<table>.parquet`, with the name, size and time of the file that each came from. Only files that
are new or were changed are read again. The file can be deleted at any time.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.fs
import pyarrow.parquet as pq

from raypeft.results.store import ResultStore

FEWEST = 100
"""Files of a table from which their rows are kept together."""
FROM = "_from"
"""Column of the kept file: which version of which file a row came from."""
FOLDER = ".gathered"


def gathered_rows(store: ResultStore, table: str) -> list[dict[str, Any]]:
    """The rows of all trials, as `store.read_rows` gives them.

    Raises ValueError for a damaged file of the table. Where the rows cannot be kept, they are read all the same.
    """
    selector = pa.fs.FileSelector(f"{store.root}/{table}", allow_not_found=True)
    infos = [each for each in store.filesystem.get_file_info(selector) if each.path.endswith(".parquet")]
    if len(infos) < FEWEST or not isinstance(store.filesystem, pa.fs.LocalFileSystem):
        return store.read_rows(table)
    wanted = {f"{each.base_name} {each.size} {each.mtime_ns}": each.path for each in sorted(infos, key=_name)}
    kept = _kept(store, table)
    known = set(kept.column(FROM).to_pylist()) if kept is not None else set()
    fresh = {stamp: path for stamp, path in wanted.items() if stamp not in known}
    parts = [] if kept is None else [kept.filter(pa.compute.is_in(kept.column(FROM), pa.array(list(wanted))))]
    with ThreadPoolExecutor() as pool:
        parts += [
            found.append_column(FROM, pa.array([stamp] * len(found), pa.string()))
            for stamp, found in zip(fresh, pool.map(store.read_file, fresh.values()), strict=True)
        ]
    whole = _joined(parts)
    if fresh or len(known) != len(wanted):
        _keep(store, table, whole)
    order = {stamp: place for place, stamp in enumerate(wanted)}
    blank = dict.fromkeys(store.schemas[table].names) if table in store.schemas else {}
    rows = whole.to_pylist()
    rows.sort(key=lambda row: order[row.pop(FROM)])
    return [blank | row for row in rows]


def _name(info: pa.fs.FileInfo) -> str:
    return info.path


def _joined(parts: list[pa.Table]) -> pa.Table:
    """All parts as one table: at once where they have one schema, else with the columns of all."""
    try:
        return pa.concat_tables(parts).combine_chunks()
    except pa.ArrowInvalid:
        return pa.concat_tables([_plain(each) for each in parts], promote_options="default").combine_chunks()


def _plain(found: pa.Table) -> pa.Table:
    """Without the descriptions of columns, which may differ between versions."""
    return found.replace_schema_metadata(None).cast(pa.schema([each.remove_metadata() for each in found.schema]))


def _path(store: ResultStore, table: str) -> str:
    return f"{store.root}/{FOLDER}/{table}.parquet"


def _kept(store: ResultStore, table: str) -> pa.Table | None:
    """The rows that were kept. None: there are none, or they cannot be read."""
    with contextlib.suppress(OSError, pa.ArrowException, ValueError):
        found = store.read_file(_path(store, table))
        if FROM in found.column_names:
            return found
    return None


def _keep(store: ResultStore, table: str, whole: pa.Table) -> None:
    """Keep rows for the next time, in one step. A folder that cannot be written is left as it is."""
    path = _path(store, table)
    with contextlib.suppress(OSError, pa.ArrowException):
        store.filesystem.create_dir(f"{store.root}/{FOLDER}", recursive=True)
        with store.filesystem.open_output_stream(f"{path}.tmp") as stream:
            pq.write_table(whole, stream, compression="zstd")
        store.filesystem.move(f"{path}.tmp", path)
