"""A folder of Parquet files on a disk or behind a URL: reading, and writing in one step.

    folder = Folder("s3://bucket/results/rq2")
    folder.put("manifest.json", b"{}")

A file is written in `.tmp/` and then moved, so readers never see a partial file. In an object store a file appears when
it is complete: it is written on this machine's disk and sent as a whole. Nothing is left of a file that could not be
written.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from raypeft.results.places import opened, persistently

OBJECT_STORES = ("s3", "gcs", "abfs")
"""pyarrow's names of the file systems in which a file appears when it is complete. To move one is to copy it there,
which S3 refuses beyond 5 GB."""

T = TypeVar("T")


class Folder:
    """Files and folders below one place, by their names relative to it."""

    def __init__(self, url: str) -> None:
        """Raises ValueError for a URL that cannot be read. Nothing is made."""
        self.url = url
        self.filesystem, self.root = opened(url)
        self.is_local = isinstance(self.filesystem, pa.fs.LocalFileSystem)
        self.is_object_store = self.filesystem.type_name in OBJECT_STORES
        self.damaged: dict[str, str] = {}
        """Path -> why, for each file that was left out because it cannot be read."""
        self.made: set[str] = set()

    def exists(self, name: str) -> bool:
        """Whether the store has a file or folder, such as that of an adapter."""
        info = self._persist(lambda: self.filesystem.get_file_info(f"{self.root}/{name}"))
        return bool(info.type != pa.fs.FileType.NotFound)

    def infos(self, table: str) -> list[pa.fs.FileInfo]:
        """The Parquet files of a table, by name. Hidden files, such as those of an editor, are not among them."""
        selector = pa.fs.FileSelector(f"{self.root}/{table}", allow_not_found=True)
        found = (
            info
            for info in self._persist(lambda: self.filesystem.get_file_info(selector))
            if _is_a_table(info.base_name)
        )
        return sorted(found, key=attrgetter("path"))

    def first(self, table: str) -> list[str]:
        """The path of the first of `infos`, as a list that is empty if there is none.

        On a disk nothing is asked of the other files: thousands of them take a while.
        """
        if not self.is_local:
            return [info.path for info in self.infos(table)[:1]]
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(f"{self.root}/{table}") as found:
            names = sorted(each.name for each in found if _is_a_table(each.name))
            return [f"{self.root}/{table}/{name}" for name in names[:1]]
        return []

    def read_bytes(self, name: str) -> bytes:
        """A small file. Raises FileNotFoundError where there is none."""
        return self._persist(lambda: self._fetch(f"{self.root}/{name}")).to_pybytes()

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
        """Raises OSError where an object store is away, which is no damage of its files."""
        whole = None if self.is_local else pa.BufferReader(self._persist(lambda: self._fetch(path)))
        try:
            with whole or self.filesystem.open_input_file(path) as stream:
                yield stream
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:  # OSError: a page inside cannot be read
            raise ValueError(f"{path}: must be a Parquet file but is damaged ({error}); move it away") from error

    def _fetch(self, path: str) -> pa.Buffer:
        with self.filesystem.open_input_file(path) as stream:
            return stream.read_buffer()

    def read_or_leave_out(self, path: str) -> pa.Table | None:
        """The table of a Parquet file. None: it is damaged, which is noted, or was moved away at this moment."""
        try:
            return self.read_file(path)
        except FileNotFoundError:
            return None
        except ValueError as error:
            self.damaged[path] = str(error)
            return None

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

    def look_anew(self, folder: str) -> None:
        """Let this machine look at a folder anew before it is asked for a file that another machine may just have made:
        a client of NFS goes by what it knew for up to a minute, but not once it has opened the folder (nfs(5))."""
        for path in (self.root, f"{self.root}/{folder}") if self.is_local else ():  # the folder itself may be new
            with suppress(OSError):  # there is none yet
                os.close(os.open(path, os.O_RDONLY))

    def _persist(self, action: Callable[[], T]) -> T:
        return action() if self.is_local else persistently(action)

    @contextmanager
    def writing(self, name: str) -> Iterator[pa.NativeFile]:
        """A stream to write the file `name` to. The file appears in one step and replaces an older one.

        Where writing fails, nothing is left of it.
        """
        if self.is_object_store:
            with self._sending(name) as stream:
                yield stream
            return
        for folder in filter(None, (".tmp", name.rpartition("/")[0])):
            self.make(folder)
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

    @contextmanager
    def _sending(self, name: str) -> Iterator[pa.NativeFile]:
        """`writing` to an object store. A stream of its own would send what there is when its block fails."""
        with tempfile.NamedTemporaryFile() as whole:
            with pa.OSFile(whole.name, "wb") as stream:
                yield stream
            pa.fs.copy_files(whole.name, f"{self.root}/{name}", destination_filesystem=self.filesystem)

    def make(self, folder: str) -> None:
        """Make a folder, once."""
        if folder not in self.made:
            self.filesystem.create_dir(f"{self.root}/{folder}", recursive=True)
            self.made.add(folder)

    def move_any(self, path: str, target: str) -> None:
        """Move a file or folder. An object store cannot move folders, so their files are copied there."""
        if self.is_local or self.filesystem.get_file_info(path).type == pa.fs.FileType.File:
            self.filesystem.move(path, target)
        else:
            pa.fs.copy_files(path, target, source_filesystem=self.filesystem, destination_filesystem=self.filesystem)
            self.filesystem.delete_dir(path)

    def write_folder(self, name: str, source: Path) -> None:
        """Copy a local folder, such as an adapter, into the store as `name`. On a local disk it appears in one step.

        Where writing fails, nothing is left of it.
        """
        final = f"{self.root}/{name}"
        target = final if self.is_object_store else f"{self.root}/.tmp/{uuid.uuid4().hex}"
        try:
            if target == final:
                self._clear(name)
            self.filesystem.create_dir(target, recursive=True)
            self._persist(lambda: pa.fs.copy_files(str(source), target, destination_filesystem=self.filesystem))
            if target != final:
                self._clear(name)
                self.filesystem.create_dir(final.rpartition("/")[0], recursive=True)
                self.move_any(target, final)
        except BaseException:
            with suppress(OSError):
                self.filesystem.delete_dir(target)
            raise

    def _clear(self, name: str) -> None:
        """Remove a folder of the store, where there is one."""
        if self.exists(name):
            self.filesystem.delete_dir(f"{self.root}/{name}")

    def read_folder(self, name: str, target: Path) -> None:
        """Copy a folder of the store, such as an adapter, to a local one. Raises FileNotFoundError if it is lost."""
        if not self.exists(name):
            raise FileNotFoundError(f"{self.url} must have the folder {name} but has none")
        pa.fs.copy_files(f"{self.root}/{name}", str(target), source_filesystem=self.filesystem)


def _is_a_table(name: str) -> bool:
    return name.endswith(".parquet") and not name.startswith((".", "_"))
