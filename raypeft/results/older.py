"""Files of other versions, brought to the current schema, so that readers find one schema in all files of a table.

    upgraded(store)        # the paths of the files that were rewritten

Most files of a folder have one schema to the byte. So its text is looked for in the last bytes of a file, which is
50 times as fast as to let pyarrow read it, and the files that were found in order are remembered in
`.gathered/checked.json`, by name, size and time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.fs

from raypeft.results.gathered import FEWEST, FOLDER, THREADS, stamp_of

if TYPE_CHECKING:
    from raypeft.results.store import ResultStore

CHECKED = f"{FOLDER}/checked.json"
TAIL = 1 << 18
"""Bytes at the end of a file in which its schema is looked for: that of 300 columns takes 130 kB."""
MARK = b"ARROW:schema\x18"
"""What stands before the schema in the file: pyarrow's name of it, and Thrift's sign for the next text."""


def upgraded(store: ResultStore) -> list[str]:
    """Rewrite files of other versions with the current schema, and return their paths. Missing columns are null.

    A column that today's schema lacks is kept, behind the others and in every file: nothing is lost, and readers
    still find one schema. Damaged files are left out. Raises ValueError naming a file whose values do not fit.
    """
    changed: list[str] = []
    checked = _read_checked(store)
    now = {table: _upgrade_table(store, table, checked.get(table, {}), changed) for table in store.schemas}
    if now != checked and any(len(each["stamps"]) >= FEWEST for each in now.values()):
        with contextlib.suppress(OSError, pa.ArrowException), store.writing(CHECKED) as stream:
            stream.write(json.dumps(now).encode())
    return changed


def _upgrade_table(
    store: ResultStore, table: str, checked: dict[str, list[str]], changed: list[str]
) -> dict[str, list[str]]:
    """Upgrade the files of a table that are not known to be in order; returns what is known now."""
    infos = store.infos(table)
    known = set(checked["stamps"]) if checked.get("schema") == [_fingerprint(store.schemas[table])] else set()
    unknown = [info for info in infos if stamp_of(info) not in known]
    found = dict(zip((info.path for info in unknown), _schemas(store, unknown), strict=True))
    different = {id(each): each for each in found.values() if each is not None}
    for each in different.values():
        store.adopt(table, each)
    if known and [_fingerprint(store.schemas[table])] != checked["schema"]:
        return _upgrade_table(store, table, {}, changed)  # a new column: files that were in order are so no more
    schema = store.schemas[table]
    misfits = {name for name, each in different.items() if not each.equals(schema, check_metadata=False)}
    wrong = [path for path, each in found.items() if id(each) in misfits]
    for path in wrong:
        _rewrite(store, table, path)
    changed += wrong
    again = store.infos(table) if wrong else infos
    return {
        "schema": [_fingerprint(schema)],
        "stamps": [stamp_of(info) for info in again if found.get(info.path, schema) is not None],
    }


def _rewrite(store: ResultStore, table: str, path: str) -> None:
    schema, found = store.schemas[table], store.read_or_leave_out(path)
    if found is None:
        return
    try:
        columns = [
            found.column(field.name).cast(field.type)
            if field.name in found.column_names
            else pa.nulls(len(found), field.type)
            for field in schema
        ]
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: must fit today's columns but does not ({error}); move it away") from error
    store.write(pa.Table.from_arrays(columns, schema=schema), table, Path(path).stem)


def _schemas(store: ResultStore, infos: Iterable[pa.fs.FileInfo]) -> list[pa.Schema | None]:
    """The schema of each file; None for a damaged one. Files whose schemas are the same bytes share one."""
    read: dict[bytes, pa.Schema] = {}

    def schema(info: pa.fs.FileInfo) -> pa.Schema | None:
        text = _schema_text(store, info)
        if text in read:
            return read[text]
        try:
            found = store.read_schema(info.path)
        except FileNotFoundError:
            return None
        except ValueError as error:
            store.damaged[info.path] = str(error)
            return None
        if text:
            read[text] = found
        return found

    with ThreadPoolExecutor(THREADS) as pool:
        return list((map if store.is_local else pool.map)(schema, infos))


def _schema_text(store: ResultStore, info: pa.fs.FileInfo) -> bytes:
    """The text of a file's schema, as it stands in the file; empty where it is not found."""
    with contextlib.suppress(OSError, IndexError):
        with store.filesystem.open_input_file(info.path) as stream:
            tail = stream.read_at(min(info.size, TAIL), max(0, info.size - TAIL))
        if tail[-4:] != b"PAR1":
            return b""
        at = tail.rfind(MARK) + len(MARK)
        if at < len(MARK):
            return b""
        length = shift = 0
        while True:  # Thrift's variable-length integer: seven bits a byte, the lowest first
            byte = tail[at]
            at, length, shift = at + 1, length | (byte & 127) << shift, shift + 7
            if byte < 128:
                return tail[at : at + length]
    return b""


def _fingerprint(schema: pa.Schema) -> str:
    """A hash of the names and types of columns."""
    told = [(field.name, str(field.type)) for field in schema]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _read_checked(store: ResultStore) -> dict[str, dict[str, list[str]]]:
    with contextlib.suppress(OSError, ValueError, pa.ArrowException):
        with store.filesystem.open_input_file(f"{store.root}/{CHECKED}") as stream:
            found = json.loads(stream.read())
        return found if isinstance(found, dict) else {}
    return {}
