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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from raypeft.records import Column
from raypeft.results.manifest import Manifest
from raypeft.results.schema import schema_of
from raypeft.results.statuses import STATUSES
from raypeft.study.config import place_problem

MANIFEST = "manifest.json"


class ResultStore:
    """The tables of one sweep. It keeps no rows in memory: each call reads the folder."""

    def __init__(self, url: str, tables: Mapping[str, Sequence[Column]], make: bool = True) -> None:
        """`tables` gives the columns of each table; those of this version come from `raypeft.trial.columns.tables`.

        With `make`, missing folders are made. Raises OSError (from pyarrow) if they cannot be made, and ValueError for
        a URL that cannot be read and for a damaged file.
        """
        self.url = url
        self.filesystem, self.root = _open(url)
        self.schemas = {table: schema_of(columns) for table, columns in tables.items()}
        self.made: set[str] = set()
        for table in (*self.schemas, ".tmp") if make else ():
            self._make(table)
        for table in self.schemas:
            self._adopt_columns(table, self._files(table)[:1])

    @classmethod
    def existing(cls, url: str, tables: Mapping[str, Sequence[Column]], table: str = "trials") -> ResultStore:
        """Open an existing folder, and make nothing. Raises FileNotFoundError if `url` has no `table`."""
        filesystem, root = _open(url)
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
        self._write(pa.Table.from_pylist(rows, schema=schema), table, trial_id)

    def write_part(self, table: str, trial_id: str, number: int, rows: Iterable[dict[str, Any]]) -> None:
        """Store rows of a running trial as `<table>.partial/<trial id>/<number>.parquet`."""
        folder = f"{table}.partial/{trial_id}"
        self._write(pa.Table.from_pylist(list(rows), schema=self.schemas[table]), folder, f"{number:05}")

    def read_parts(self, table: str, trial_id: str) -> list[list[dict[str, Any]]]:
        """The rows of each part that `write_part` has stored, in the order of their numbers."""
        return [self.read_file(path).to_pylist() for path in self._files(f"{table}.partial/{trial_id}")]

    def set_aside_parts(self, table: str, trial_id: str) -> None:
        """Move the parts of a trial to `superseded/<time>/`, where they cannot be used."""
        self._set_aside([f"{table}.partial/{trial_id}"])

    def drop_parts(self, table: str, trial_id: str) -> None:
        """Remove the parts of a trial after `write_rows` has written all its rows."""
        folder = f"{self.root}/{table}.partial/{trial_id}"
        if self.filesystem.get_file_info(folder).type != pa.fs.FileType.NotFound:
            self.filesystem.delete_dir(folder)
        self.made.discard(f"{table}.partial/{trial_id}")

    def read_rows(self, table: str = "trials", trial_id: str | None = None) -> list[dict[str, Any]]:
        """The rows of all trials, or of one, ordered by file name. Each row has all columns of the table."""
        rows: list[dict[str, Any]] = []
        blank = dict.fromkeys(self.schemas[table].names) if table in self.schemas else {}
        for path in self._files(table) if trial_id is None else self._file(table, trial_id):
            rows.extend(blank | row for row in self.read_file(path).to_pylist())
        return rows

    def finished(self) -> set[str]:
        """Ids of the trials that are done and are not run again."""
        finished = {status.name for status in STATUSES.values() if status.is_finished}
        return {row["id"] for row in self.read_rows() if row["status"] in finished}

    def write_manifest(self, manifest: Manifest) -> None:
        """Write `manifest.json`, in one step."""
        text = json.dumps(manifest.plain(), indent=1, ensure_ascii=False)
        with self._replacing(MANIFEST) as stream:
            stream.write(text.encode())

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

    def set_aside(self, trial_id: str) -> None:
        """Move the files of a trial to `superseded/<time>/`, so that a rerun overwrites nothing.

        Checkpoints and parts stay: the rerun goes on from them, or sets them aside itself.
        """
        files = [f"{table}/{trial_id}.parquet" for table in self.schemas]
        self._set_aside([*files, f"adapters/{trial_id}", f"models/{trial_id}"])

    def _set_aside(self, paths: Iterable[str]) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        for path in paths:
            if self.exists(path):
                target = f"{self.root}/superseded/{stamp}/{path}"
                self.filesystem.create_dir(target.rpartition("/")[0], recursive=True)
                self._move(f"{self.root}/{path}", target)
                self.made.discard(path)

    def write_folder(self, name: str, source: Path) -> None:
        """Copy a local folder, such as an adapter, into the store as `name`. On a local disk it appears in one step."""
        temporary = f"{self.root}/.tmp/{uuid.uuid4().hex}"
        self.filesystem.create_dir(temporary, recursive=True)
        pa.fs.copy_files(str(source), temporary, destination_filesystem=self.filesystem)
        final = f"{self.root}/{name}"
        if self.exists(name):
            self.filesystem.delete_dir(final)
        self.filesystem.create_dir(final.rpartition("/")[0], recursive=True)
        self._move(temporary, final)

    def exists(self, name: str) -> bool:
        """Whether the store has a file or folder, such as that of an adapter."""
        return bool(self.filesystem.get_file_info(f"{self.root}/{name}").type != pa.fs.FileType.NotFound)

    def read_folder(self, name: str, target: Path) -> None:
        """Copy a folder of the store, such as an adapter, to a local one. Raises FileNotFoundError if it is lost."""
        if not self.exists(name):
            raise FileNotFoundError(f"{self.url} must have the folder {name} but has none")
        pa.fs.copy_files(f"{self.root}/{name}", str(target), source_filesystem=self.filesystem)

    def reading(self, name: str) -> pa.NativeFile:
        """A stream that reads a file of the store, such as a checkpoint, and can seek."""
        return self.filesystem.open_input_file(f"{self.root}/{name}")

    @contextmanager
    def writing(self, name: str) -> Iterator[pa.NativeFile]:
        """A stream to write a file to that is no table's. It appears in one step and replaces an older one."""
        self._make(name.rpartition("/")[0])
        with self._replacing(name) as stream:
            yield stream

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
        """Rewrite files of other versions with the current schema, and return their paths. Missing columns are null.

        A column that today's schema lacks is kept, behind the others and in every file: nothing is lost, and readers
        still find one schema. Raises ValueError naming a file that is damaged or whose values do not fit.
        """
        changed = []
        for table in self.schemas:
            paths = self._files(table)
            self._adopt_columns(table, paths)
            schema = self.schemas[table]
            for path in paths:
                if self._read_schema(path).equals(schema, check_metadata=False):
                    continue
                found = self.read_file(path)
                try:
                    columns = [
                        found.column(field.name).cast(field.type)
                        if field.name in found.column_names
                        else pa.nulls(len(found), field.type)
                        for field in schema
                    ]
                except pa.ArrowInvalid as error:
                    raise ValueError(
                        f"{path}: must fit today's columns but does not ({error}); move it away"
                    ) from error
                self._write(pa.Table.from_arrays(columns, schema=schema), table, Path(path).stem)
                changed.append(path)
        return changed

    def _adopt_columns(self, table: str, paths: Iterable[str]) -> None:
        """Append columns that only existing files have to the current ones, so that all files keep the same schema."""
        for path in paths:
            schema = self.schemas[table]
            for field in self._read_schema(path):
                if field.name not in schema.names:
                    self.schemas[table] = self.schemas[table].append(field)

    def read_file(self, path: str) -> pa.Table:
        """The table of one Parquet file. Raises ValueError if it is damaged."""
        with self._open_parquet(path) as stream:
            # `pq.read_table` takes twice as long for a file of one row, and imports pandas.
            return pq.ParquetFile(stream).read(use_threads=False)

    def _read_schema(self, path: str) -> pa.Schema:
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

    def _files(self, table: str) -> list[str]:
        selector = pa.fs.FileSelector(f"{self.root}/{table}", allow_not_found=True)
        return sorted(info.path for info in self.filesystem.get_file_info(selector) if info.path.endswith(".parquet"))

    def _write(self, data: pa.Table, table: str, trial_id: str) -> None:
        self._make(table)
        with self._replacing(f"{table}/{trial_id}.parquet") as stream:
            pq.write_table(data, stream, compression="zstd")

    @contextmanager
    def _replacing(self, name: str) -> Iterator[pa.NativeFile]:
        """A stream to write the file `name` to. The file appears in one step and replaces an older one."""
        self._make(".tmp")
        # Not in the table's own folder: Polars refuses a folder that holds anything else than Parquet.
        temporary = f"{self.root}/.tmp/{uuid.uuid4().hex}"
        with self.filesystem.open_output_stream(temporary) as stream:
            yield stream
        self.filesystem.move(temporary, f"{self.root}/{name}")

    def _make(self, folder: str) -> None:
        if folder not in self.made:
            self.filesystem.create_dir(f"{self.root}/{folder}", recursive=True)
            self.made.add(folder)

    def _move(self, path: str, target: str) -> None:
        """Move a file or folder. An object store cannot move folders, so their files are copied there."""
        local = isinstance(self.filesystem, pa.fs.LocalFileSystem)
        if local or self.filesystem.get_file_info(path).type == pa.fs.FileType.File:
            self.filesystem.move(path, target)
        else:
            pa.fs.copy_files(path, target, source_filesystem=self.filesystem, destination_filesystem=self.filesystem)
            self.filesystem.delete_dir(path)


def sweep_url(results: str, sweep: str) -> str:
    """The folder of a sweep in `results`. The query of a URL (s3://bucket/study?region=eu-west-1) stays at its end."""
    folder, mark, query = results.partition("?") if "://" in results else (results, "", "")
    return f"{folder.rstrip('/')}/{sweep}{mark}{query}"


def _open(url: str) -> tuple[pa.fs.FileSystem, str]:
    """The file system of a folder or URL, and the path in it. Raises ValueError where a URL cannot be read whole."""
    if "://" in url:
        if problem := place_problem(url):
            raise ValueError(f"results {problem}")
        try:
            filesystem, root = pa.fs.FileSystem.from_uri(url)
        except pa.ArrowException as error:
            raise ValueError(f"results must be a folder or a URL that pyarrow reads but got {url!r}: {error}") from None
        return filesystem, root.rstrip("/")
    return pa.fs.LocalFileSystem(), str(Path(url).expanduser().absolute())
