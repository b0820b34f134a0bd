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
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from raypeft.records import Column
from raypeft.results.gathered import NOTED, gathered, note
from raypeft.results.manifest import Manifest
from raypeft.results.older import upgraded
from raypeft.results.places import opened, persistently, sweep_url
from raypeft.results.schema import schema_of
from raypeft.results.statuses import STATUSES

MANIFEST = "manifest.json"


class ResultStore:
    """The tables of one sweep. It keeps no rows in memory: each call reads the folder."""

    def __init__(self, url: str, tables: Mapping[str, Sequence[Column]], make: bool = True) -> None:
        """`tables` gives the columns of each table; those of this version come from `raypeft.trial.columns.tables`.

        With `make`, missing folders are made. Raises OSError (from pyarrow) if they cannot be made, and ValueError for
        a URL that cannot be read and for a damaged file.
        """
        self.url = url
        self.filesystem, self.root = opened(url)
        self.is_local = isinstance(self.filesystem, pa.fs.LocalFileSystem)
        self.schemas = {table: schema_of(columns) for table, columns in tables.items()}
        self.damaged: dict[str, str] = {}
        """Path -> why, for each file that was left out because it cannot be read."""
        self.made: set[str] = set()
        for table in (*self.schemas, ".tmp") if make else ():
            self._make(table)
        for table in self.schemas:
            self.adopt_columns(table, [info.path for info in self.infos(table)[:1]])

    @classmethod
    def existing(cls, url: str, tables: Mapping[str, Sequence[Column]], table: str = "trials") -> ResultStore:
        """Open an existing folder, and make nothing. Raises FileNotFoundError if `url` has no `table`."""
        filesystem, root = opened(url)
        if filesystem.get_file_info(f"{root}/{table}").type == pa.fs.FileType.NotFound:
            raise FileNotFoundError(f"{url} must be a sweep's folder but holds no {table}/")
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

    def drop_parts(self, table: str, trial_id: str) -> None:
        """Remove the parts of a trial after `write_rows` has written all its rows."""
        folder = f"{self.root}/{table}.partial/{trial_id}"
        if self.filesystem.get_file_info(folder).type != pa.fs.FileType.NotFound:
            self.filesystem.delete_dir(folder)
        self.made.discard(f"{table}.partial/{trial_id}")

    def read_rows(self, table: str = "trials", trial_id: str | None = None) -> list[dict[str, Any]]:
        """The rows of all trials, or of one, ordered by file name. Each row has all columns of the table.

        A file that cannot be read is left out, and named in `damaged`.
        """
        if trial_id is None and (every := gathered(self, table)):
            return every.rows()
        rows: list[dict[str, Any]] = []
        blank = dict.fromkeys(self.schemas[table].names) if table in self.schemas else {}
        for path in [info.path for info in self.infos(table)] if trial_id is None else self._file(table, trial_id):
            found = self.read_or_leave_out(path)
            rows.extend(blank | row for row in (found.to_pylist() if found is not None else ()))
        return rows

    def by_trial(self, table: str) -> Callable[[str], list[dict[str, Any]]]:
        """A function that gives the rows of a trial, for readers of many trials: the folder is read once."""
        every = gathered(self, table)
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
        """The files and folders that belong to a trial, as far as they exist: its rows, its weights, its parts."""
        files = [f"{table}/{trial_id}.parquet" for table in self.schemas]
        folders = [f"{kind}/{trial_id}" for kind in ("adapters", "models", "candidates.partial")]
        infos = self.filesystem.get_file_info([f"{self.root}/{name}" for name in (*files, *folders)])
        return [
            name for name, info in zip((*files, *folders), infos, strict=True) if info.type != pa.fs.FileType.NotFound
        ]

    def set_aside(self, trial_id: str, into: ResultStore | None = None, but_the_row: bool = False) -> None:
        """Move the files of a trial to `superseded/<time>/` of this store or of another one, so that nothing is lost.

        With `but_the_row`, the trial's row stays, and a copy of it is set aside.
        """
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        for name in self.names_of(trial_id):
            source, target = f"{self.root}/{name}", f"{(into or self).root}/superseded/{stamp}/{name}"
            self.filesystem.create_dir(target.rpartition("/")[0], recursive=True)
            if but_the_row and name.startswith("trials/"):
                self.filesystem.copy_file(source, target)
            else:
                self._move(source, target)
                self.made.discard(name)

    def keep_copy(self, trial_id: str, tables: Iterable[str]) -> None:
        """Copy a trial's files of these tables to `superseded/<time>/`, before they are replaced."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        for name in [f"{table}/{trial_id}.parquet" for table in tables]:
            if self.exists(name):
                target = f"{self.root}/superseded/{stamp}/{name}"
                self.filesystem.create_dir(target.rpartition("/")[0], recursive=True)
                self.filesystem.copy_file(f"{self.root}/{name}", target)

    def take_in(self, inner: ResultStore, name: str) -> None:
        """Move a file or folder of a store inside this one to its own place."""
        table, _, file = name.rpartition("/")
        self._make(table)
        self._move(f"{inner.root}/{name}", f"{self.root}/{name}")
        if table in NOTED:
            self._note(table, self.read_file(f"{self.root}/{name}"), file.removesuffix(".parquet"))

    def write_folder(self, name: str, source: Path) -> None:
        """Copy a local folder, such as an adapter, into the store as `name`. On a local disk it appears in one step.

        Where writing fails, nothing is left of it.
        """
        temporary, final = f"{self.root}/.tmp/{uuid.uuid4().hex}", f"{self.root}/{name}"
        try:
            self.filesystem.create_dir(temporary, recursive=True)
            self._persist(lambda: pa.fs.copy_files(str(source), temporary, destination_filesystem=self.filesystem))
            if self.exists(name):
                self.filesystem.delete_dir(final)
            self.filesystem.create_dir(final.rpartition("/")[0], recursive=True)
            self._move(temporary, final)
        except BaseException:
            with suppress(OSError):
                self.filesystem.delete_dir(temporary)
            raise

    def exists(self, name: str) -> bool:
        """Whether the store has a file or folder, such as that of an adapter."""
        return bool(self.filesystem.get_file_info(f"{self.root}/{name}").type != pa.fs.FileType.NotFound)

    def read_folder(self, name: str, target: Path) -> None:
        """Copy a folder of the store, such as an adapter, to a local one. Raises FileNotFoundError if it is lost."""
        if not self.exists(name):
            raise FileNotFoundError(f"{self.url} must have the folder {name} but has none")
        pa.fs.copy_files(f"{self.root}/{name}", str(target), source_filesystem=self.filesystem)

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

    def read_or_leave_out(self, path: str) -> pa.Table | None:
        """The table of a Parquet file. None: it is damaged, which is noted, or was moved away at this moment."""
        try:
            return self.read_file(path)
        except FileNotFoundError:
            return None
        except ValueError as error:
            self.damaged[path] = str(error)
            return None

    def read_file(self, path: str) -> pa.Table:
        """The table of one Parquet file. Raises ValueError if it is damaged."""
        with self._open_parquet(path) as stream:
            # `pq.read_table` takes twice as long for a file of one row, and imports pandas.
            return pq.ParquetFile(stream).read(use_threads=False)

    def read_schema(self, path: str) -> pa.Schema:
        """The columns of one Parquet file. Raises ValueError if it is damaged."""
        with self._open_parquet(path) as stream:
            return pq.read_schema(stream)

    @contextmanager
    def _open_parquet(self, path: str) -> Iterator[pa.NativeFile]:
        try:
            with self.filesystem.open_input_file(path) as stream:
                yield stream
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:  # OSError: a page inside cannot be read
            raise ValueError(f"{path}: must be a Parquet file but is damaged ({error}); move it away") from error

    def _file(self, table: str, trial_id: str) -> list[str]:
        """The path of a trial's file, as a list that is empty if there is no file."""
        path = f"{self.root}/{table}/{trial_id}.parquet"
        return [path] if self.filesystem.get_file_info(path).type == pa.fs.FileType.File else []

    def infos(self, table: str) -> list[pa.fs.FileInfo]:
        """The Parquet files of a table, by name. Hidden files, such as those of an editor, are not among them."""
        selector = pa.fs.FileSelector(f"{self.root}/{table}", allow_not_found=True)
        found = (
            info
            for info in self.filesystem.get_file_info(selector)
            if info.path.endswith(".parquet") and not info.base_name.startswith((".", "_"))
        )
        return sorted(found, key=attrgetter("path"))

    def write(self, data: pa.Table, table: str, name: str) -> None:
        """Write the file `name` of a table, in one step."""
        stream = pa.BufferOutputStream()
        pq.write_table(data, stream, compression="zstd")
        self.put(f"{table}/{name}.parquet", stream.getvalue())

    def put(self, name: str, content: bytes | pa.Buffer) -> None:
        """Write a small file in one step. An object store that is away is waited for (`persistently`)."""

        def write() -> None:
            with self.writing(name) as stream:
                stream.write(content)

        self._persist(write)

    def _persist(self, action: Callable[[], None]) -> None:
        if self.is_local:
            action()
        else:
            persistently(action)

    @contextmanager
    def writing(self, name: str) -> Iterator[pa.NativeFile]:
        """A stream to write the file `name` to. The file appears in one step and replaces an older one.

        Where writing fails, nothing is left of it.
        """
        for folder in filter(None, (".tmp", name.rpartition("/")[0])):
            self._make(folder)
        # Not in the table's own folder: Polars refuses a folder that holds anything else than Parquet.
        temporary = f"{self.root}/.tmp/{uuid.uuid4().hex}"
        try:
            with self.filesystem.open_output_stream(temporary) as stream:
                yield stream
            self.filesystem.move(temporary, f"{self.root}/{name}")
        except BaseException as error:
            with suppress(OSError):
                self.filesystem.delete_file(temporary)
            if isinstance(error, FileNotFoundError):
                self.made.clear()  # someone has deleted a folder: the next file makes it again
            raise

    def _make(self, folder: str) -> None:
        if folder not in self.made:
            self.filesystem.create_dir(f"{self.root}/{folder}", recursive=True)
            self.made.add(folder)

    def _move(self, path: str, target: str) -> None:
        """Move a file or folder. An object store cannot move folders, so their files are copied there."""
        if self.is_local or self.filesystem.get_file_info(path).type == pa.fs.FileType.File:
            self.filesystem.move(path, target)
        else:
            pa.fs.copy_files(path, target, source_filesystem=self.filesystem, destination_filesystem=self.filesystem)
            self.filesystem.delete_dir(path)
