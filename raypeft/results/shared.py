"""Results that others share: a dataset repository of the Hugging Face Hub, or a place that only fsspec knows.

    filesystem, root = shared_place("hf://owner/name")          # the dataset repository owner/name
    filesystem, root = shared_place("hf://owner/name@v1.0")     # at a tag, a branch or a commit

They can be read by every command that reads results, and never written: `raypeft push` does that.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.fs

HUB = "hf://"
PRIVATE = "; a private one is read with a token (HF_TOKEN, or `hf auth login`)"


def hub_repository(url: str) -> tuple[str, str | None]:
    """The repository of `hf://owner/name` and its revision, if `@` names one. Raises ValueError for another URL."""
    found = re.fullmatch(r"hf://(?:datasets/)?([\w.-]+/[\w.-]+)(?:@([^/@]+))?/?", url)
    if found is None or found[1].startswith(("models/", "spaces/", "datasets/", "buckets/")):
        raise ValueError(f"a place on the hub must be hf://OWNER/NAME but got {url!r}")
    return found[1], found[2]


def refuse_offline(url: str) -> None:
    """Raises ValueError where the hub's library was told to ask no network."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise ValueError(f"{url} is on the hub, but HF_HUB_OFFLINE is set: unset it")


def shared_place(url: str) -> tuple[pa.fs.FileSystem, str]:
    """A file system that reads `url`, and the path in it.

    Raises ValueError where no library for such a URL is installed, and where the hub must not be asked.
    """
    if url.startswith(HUB):
        repository, revision = hub_repository(url)
        refuse_offline(url)
        from huggingface_hub import HfFileSystem

        root = f"datasets/{repository}" + (f"@{revision}" if revision else "")
        return pa.fs.PyFileSystem(ReadOnly(HfFileSystem(), url)), root
    import fsspec

    try:
        filesystem, root = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise ValueError(f"results must be a folder or a URL that can be read but got {url!r}: {error}") from None
    return pa.fs.PyFileSystem(ReadOnly(filesystem, url)), root.rstrip("/")


class ReadOnly(pa.fs.FSSpecHandler):
    """What pyarrow asks of an fsspec file system, as far as it is reading."""

    def __init__(self, filesystem: Any, url: str) -> None:
        super().__init__(filesystem)
        self.url = url

    def _refuse(self, *_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, f"{self.url} can only be read; raypeft push writes such a place")

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = _refuse
    move = copy_file = open_output_stream = open_append_stream = _refuse

    @contextmanager
    def _told(self) -> Iterator[None]:
        """A place that does not answer is told as a mistake in naming it: its library has tried several times."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise
        except Exception as error:
            raise ValueError(f"{self.url} cannot be read: {error}") from error

    def get_file_info(self, paths: Any) -> Any:
        with self._told():
            return super().get_file_info(paths)

    def get_file_info_selector(self, selector: Any) -> Any:
        with self._told():
            return super().get_file_info_selector(selector)

    def open_input_stream(self, path: str) -> Any:
        with self._told():
            return super().open_input_stream(path)

    def open_input_file(self, path: str) -> Any:
        with self._told():
            return super().open_input_file(path)
