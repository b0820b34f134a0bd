"""The results folder of a sweep: <table>/<trial id>.parquet, adapters/<trial id>/ and manifest.json.

    store = ResultStore("results/rq2", tables())
    store.write_rows("trials", trial_id, [row])
    pandas.read_parquet("results/rq2/trials")

The folder may be local, or a URL that pyarrow supports (s3://, gs://). Each trial has one file in each table. A file is
written in `.tmp/` and then moved, so readers never see a partial file. All files of a table have the same schema;
`upgrade` adapts files from other versions of raypeft. No results are deleted: files that a rerun replaces move to
`superseded/`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.fs

from raypeft.records import Column
from raypeft.results.files import Folder
from raypeft.results.gathered import NOTED, gathered, note, of_trials, parts_of, whole_rows
from raypeft.results.manifest import Manifest
from raypeft.results.older import upgraded
from raypeft.results.places import opened, sweep_url
from raypeft.results.schema import schema_of
from raypeft.results.shared import HUB, PRIVATE
from raypeft.results.statuses import STATUSES

MANIFEST = "manifest.json"
TOGETHER = "all"
"""Name of a file that holds a table's rows of all trials, as in results that are shared."""


class ResultStore(Folder):
    """The tables of one sweep. It keeps no rows in memory: each call reads the folder."""

    def __init__(self, url: str, tables: Mapping[str, Sequence[Column]], make: bool = True) -> None:
        """`tables` gives the columns of each table; those of this version come from `raypeft.trial.columns.tables`.

        With `make`, missing folders are made. Raises OSError (from pyarrow) if they cannot be made, and ValueError for
        a URL that cannot be read and for a damaged file.
        """
        super().__init__(url)
        self.schemas = {table: schema_of(columns) for table, columns in tables.items()}
        for table in (*self.schemas, ".tmp") if make else ():
            self.make(table)
        for table in self.schemas:
            self.adopt_columns(table, self.first(table))

    @classmethod
    def existing(cls, url: str, tables: Mapping[str, Sequence[Column]], table: str = "trials") -> ResultStore:
        """Open an existing folder, and make nothing. Raises FileNotFoundError if `url` has no `table`."""
        filesystem, root = opened(url)
        if filesystem.get_file_info(f"{root}/{table}").type == pa.fs.FileType.NotFound:
            hint = PRIVATE if url.startswith(HUB) else ""
            if filesystem.get_file_info(f"{root}/{table}.parquet").type == pa.fs.FileType.File:
                hint = f"; move {table}.parquet to {table}/{TOGETHER}.parquet, and other tables likewise"
            raise FileNotFoundError(f"{url} must be a sweep's folder but holds no {table}/{hint}")
        return cls(url, tables, make=False)

    def write_rows(self, table: str, trial_id: str, rows: Iterable[dict[str, Any]]) -> None:
        """Write the file of a trial in `table`. Raises ValueError for a key that is not a column of the table."""
        rows = list(rows)
        schema = self.schemas[table]
        unknown = sorted({key for row in rows for key in row} - set(schema.names))
        if unknown:
            raise ValueError(f"{table} rows must have the schema's columns but got {', '.join(unknown)} as well")
        data = pa.Table.from_pylist(rows, schema=schema)
        self.write(data, table, trial_id)
        self._note(table, data, trial_id)

    def _note(self, table: str, data: pa.Table, trial_id: str) -> None:
        if table in NOTED:
            note(self, table, data, self.filesystem.get_file_info(f"{self.root}/{table}/{trial_id}.parquet"), trial_id)

    def write_part(self, table: str, trial_id: str, number: int, rows: Iterable[dict[str, Any]]) -> None:
        """Store rows of a running trial as `<table>.partial/<trial id>/<number>.parquet`."""
        folder = f"{table}.partial/{trial_id}"
        self.write(pa.Table.from_pylist(list(rows), schema=self.schemas[table]), folder, f"{number:05}")

    def read_parts(self, table: str, trial_id: str) -> list[list[dict[str, Any]]]:
        """The rows of each part that `write_part` has stored, in the order of their numbers."""
        return [self.read_file(info.path).to_pylist() for info in self.infos(f"{table}.partial/{trial_id}")]

    def set_aside_parts(self, table: str, trial_id: str) -> None:
        """Move the parts of a trial to `superseded/<time>/`, where they cannot be used."""
        if self.exists(name := f"{table}.partial/{trial_id}"):
            self.supersede([name])

    def drop_parts(self, table: str, trial_id: str) -> None:
        """Remove the parts of a trial that is finished: `write_rows` has written all its rows."""
        if self.exists(name := f"{table}.partial/{trial_id}"):
            self.remove_folder(name)

    def read_rows(self, table: str = "trials", trial_id: str | None = None) -> list[dict[str, Any]]:
        """The rows of all trials, or of one, ordered by file name. Each row has all columns of the table.

        A file that cannot be read is left out, and named in `damaged`; so are rows that are `replaced`.
        """
        if trial_id is None and (every := gathered(self, table)):
            return every.rows()
        parts = parts_of(self, table) if trial_id is None else self._parts(table, trial_id)
        names = self.declared_columns(table)
        return [row for part in parts for row in whole_rows(part, names)]

    def _parts(self, table: str, trial_id: str) -> list[pa.Table]:
        """The content of a trial's file; nothing where there is none, or where it is damaged."""
        found = map(self.read_or_leave_out, self._file(table, trial_id))
        return [part for part in found if part is not None]

    def replaced(self, infos: Iterable[pa.fs.FileInfo]) -> set[str]:
        """The trials whose rows in `all.parquet` count no more, of a table with these files: they have a file of their
        own, as after a sweep that has gone on in results that were shared.
        """
        trials = {info.base_name.removesuffix(".parquet") for info in infos}
        return trials - {TOGETHER} if TOGETHER in trials else set()

    def rows_in_all(self, table: str, trial_id: str) -> list[dict[str, Any]]:
        """The rows of a trial in `all.parquet`. Rows of other trials are not made: there may be thousands."""
        own = [of_trials(part, lambda trial: trial == trial_id) for part in self._parts(table, TOGETHER)]
        return [row for part in own for row in whole_rows(part, self.declared_columns(table))]

    def declared_columns(self, table: str) -> list[str]:
        """The columns that each row of a table has, also where its file lacks some."""
        return list(self.schemas[table].names) if table in self.schemas else []

    def by_trial(self, table: str) -> Callable[[str], list[dict[str, Any]]]:
        """A function that gives the rows of a trial, for readers of many trials: the folder is read once."""
        every = gathered(self, table)
        if every is None and self._file(table, TOGETHER):
            rows: dict[str, list[dict[str, Any]]] = {}
            for row in self.read_rows(table):
                rows.setdefault(row["id"], []).append(row)
            return lambda trial_id: rows.get(trial_id, [])
        return every.of_trial if every else partial(self.read_rows, table)

    def statuses(self) -> dict[str, str]:
        """Trial id -> how it ended, of all trials that have a row."""
        every = gathered(self, "trials")
        rows = every.rows(["id", "status"]) if every else self.read_rows()
        return {row["id"]: row["status"] for row in rows}

    def finished(self) -> set[str]:
        """Ids of the trials that are done and are not run again."""
        finished = {status.name for status in STATUSES.values() if status.is_finished}
        return {trial for trial, status in self.statuses().items() if status in finished}

    def write_manifest(self, manifest: Manifest) -> None:
        """Write `manifest.json`, in one step."""
        text = json.dumps(manifest.plain(), indent=1, ensure_ascii=False)
        self.put(MANIFEST, text.encode())

    def read_manifest(self) -> Manifest | None:
        """The manifest of the folder. None if the folder is older than manifests.

        Raises ValueError that names the file if it cannot be read.
        """
        path = f"{self.root}/{MANIFEST}"
        if not self.exists(MANIFEST):
            return None
        with self.filesystem.open_input_file(path) as stream:
            text = stream.read()
        try:
            return Manifest.from_plain(json.loads(text))
        except ValueError as error:
            raise ValueError(f"{path}: {error}; move it away to go by this version's declarations") from error

    def inside(self, name: str) -> ResultStore:
        """A store of the same tables in a folder of this one."""
        inner = copy(self)
        inner.url, inner.root = sweep_url(self.url, name), f"{self.root}/{name}"
        inner.schemas, inner.damaged, inner.made = dict(self.schemas), {}, set()
        return inner

    def names_of(self, trial_id: str) -> list[str]:
        """The files and folders that belong to a trial, as far as they exist: its rows and its weights.

        Checkpoints and parts are not among them: the trial goes on from them, or sets them aside itself.
        """
        files = [f"{table}/{trial_id}.parquet" for table in self.schemas]
        folders = [f"{kind}/{trial_id}" for kind in ("adapters", "models")]
        infos = self.filesystem.get_file_info([f"{self.root}/{name}" for name in (*files, *folders)])
        return [
            name for name, info in zip((*files, *folders), infos, strict=True) if info.type != pa.fs.FileType.NotFound
        ]

    def set_aside(self, trial_id: str, into: ResultStore | None = None, but_the_row: bool = False) -> None:
        """Move the files of a trial to `superseded/<time>/` of this store or of another one, so that nothing is lost.

        With `but_the_row`, the trial's row stays, and a copy of it is set aside.
        """
        stamp = _stamp()
        for name in self.names_of(trial_id):
            if but_the_row and name.startswith("trials/"):
                self._copy_aside(name, stamp)
            else:
                self._move_aside(name, stamp, into)

    def supersede(self, names: Iterable[str]) -> None:
        """Move files and folders of the store to `superseded/<time>/`."""
        stamp = _stamp()
        for name in names:
            self._move_aside(name, stamp)

    def keep_copy(self, trial_id: str, tables: Iterable[str]) -> None:
        """Copy a trial's files of these tables to `superseded/<time>/`, before they are replaced."""
        stamp = _stamp()
        for name in [f"{table}/{trial_id}.parquet" for table in tables]:
            if self.exists(name):
                self._copy_aside(name, stamp)

    def _copy_aside(self, name: str, stamp: str) -> None:
        target = f"{self.root}/superseded/{stamp}/{name}"
        self.filesystem.create_dir(target.rpartition("/")[0], recursive=True)
        self.filesystem.copy_file(f"{self.root}/{name}", target)

    def _move_aside(self, name: str, stamp: str, into: ResultStore | None = None) -> None:
        target = f"{(into or self).root}/superseded/{stamp}/{name}"
        self.filesystem.create_dir(target.rpartition("/")[0], recursive=True)
        self.move_any(f"{self.root}/{name}", target)
        self.made.discard(name)

    def take_in(self, inner: ResultStore, name: str) -> None:
        """Move a file or folder of a store inside this one to its own place."""
        table, _, file = name.rpartition("/")
        self.make(table)
        self.move_any(f"{inner.root}/{name}", f"{self.root}/{name}")
        if table in NOTED:
            self._note(table, self.read_file(f"{self.root}/{name}"), file.removesuffix(".parquet"))

    def reading(self, name: str) -> pa.NativeFile:
        """A stream that reads a file of the store, such as a checkpoint, and can seek."""
        return self.filesystem.open_input_file(f"{self.root}/{name}")

    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder of the store, in their order; none where there is no folder."""
        selector = pa.fs.FileSelector(f"{self.root}/{folder}", allow_not_found=True)
        return sorted(f"{folder}/{info.base_name}" for info in self.filesystem.get_file_info(selector))

    def move(self, name: str, target: str) -> None:
        """Move a file of the store."""
        self.filesystem.move(f"{self.root}/{name}", f"{self.root}/{target}")

    def remove(self, name: str) -> None:
        """Remove a file that is no result."""
        self.filesystem.delete_file(f"{self.root}/{name}")

    def remove_folder(self, name: str) -> None:
        """Remove a folder that holds no results."""
        self.filesystem.delete_dir(f"{self.root}/{name}")
        self.made.discard(name)

    def upgrade(self) -> list[str]:
        """Rewrite files of other versions with the current schema, and return their paths: see `upgraded`."""
        return upgraded(self)

    def adopt_columns(self, table: str, paths: Iterable[str]) -> None:
        """Append columns that only existing files have to the current ones, so that all files keep the same schema."""
        for path in paths:
            try:
                self.adopt(table, self.read_schema(path))
            except ValueError as error:
                self.damaged[path] = str(error)

    def adopt(self, table: str, found: pa.Schema) -> None:
        """Append the columns of a file's schema that the current one lacks."""
        for field in found:
            if field.name not in self.schemas[table].names:
                self.schemas[table] = self.schemas[table].append(field)

    def _file(self, table: str, trial_id: str) -> list[str]:
        """The path of a trial's file, as a list that is empty if there is no file."""
        path = f"{self.root}/{table}/{trial_id}.parquet"
        return [path] if self.filesystem.get_file_info(path).type == pa.fs.FileType.File else []


def _stamp() -> str:
    """The time as the name of a folder."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
