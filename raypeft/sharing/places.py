"""Shared results in a folder, or at any URL that pyarrow or fsspec reads: a copy of the staged folders.

copy_to(staged, "s3://bucket/rq2")
copy_from("s3://bucket/rq2", Path("staging"))
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from raypeft.results.places import opened
from raypeft.sharing.hub import TAKEN, TAKEN_OF_ADAPTERS
from raypeft.sharing.readmes import MARK
from raypeft.sharing.staged import TABLES, Staged


def check_target(url: str) -> None:
    """Raises ValueError where a place holds anything else than results that were shared before."""
    filesystem, root = opened(url)
    if filesystem.get_file_info(root).type == pa.fs.FileType.File:
        raise ValueError(f"--to must be a folder or a URL of one but got the file {url}")
    found = filesystem.get_file_info(pa.fs.FileSelector(root, allow_not_found=True))
    if not found:
        return
    card = f"{root}/README.md"
    if filesystem.get_file_info(card).type == pa.fs.FileType.File:
        with filesystem.open_input_file(card) as stream:
            if MARK in stream.read(1000).decode("utf-8", "replace"):
                return
    name = found[0].base_name
    raise ValueError(f"--to must be a new or empty place, or one of an earlier push, but {url} holds {name}")


def copy_to(staged: Staged, url: str) -> str:
    """Copy staged folders to a place, in place of what an earlier push left there; returns the place.

    Raises OSError where it cannot be written.
    """
    filesystem, root = opened(url)
    filesystem.create_dir(root, recursive=True)
    for name in (*TABLES, "adapters"):  # what is not shared this time must not stay
        if filesystem.get_file_info(f"{root}/{name}").type == pa.fs.FileType.Directory:
            filesystem.delete_dir(f"{root}/{name}")
    if staged.model:
        pa.fs.copy_files(str(staged.model), root, destination_filesystem=filesystem)
    pa.fs.copy_files(str(staged.dataset), root, destination_filesystem=filesystem)  # its README is that of the whole
    return url


def copy_from(url: str, folder: Path) -> None:
    """Copy the shared results at a place into `folder`: only the kinds of files that shared results have.

    Raises ValueError where the place cannot be read, and OSError.
    """
    filesystem, root = opened(url)
    for info in filesystem.get_file_info(pa.fs.FileSelector(root, recursive=True, allow_not_found=True)):
        name = info.path[len(root) :].lstrip("/")
        is_taken = any(Path(name).match(pattern) for pattern in (*TAKEN, *TAKEN_OF_ADAPTERS))
        # `match` looks at the end of a path only.
        if info.type == pa.fs.FileType.File and is_taken and name.count("/") <= 2 and ".." not in name:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with filesystem.open_input_stream(info.path) as source, target.open("wb") as written:
                shutil.copyfileobj(source, written)
