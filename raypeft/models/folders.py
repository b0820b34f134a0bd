"""What the folder of a model tells without its weights: its config.json, and how many parameters its files hold."""

from __future__ import annotations

import json
import struct
import time
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

SETTLED = 2_000_000_000
"""Nanoseconds after which a change of a file shows in its time stamp, however coarse the file system's clock is."""


def read_config(folder: Path) -> Any:
    """A folder's config.json as plain data, read again only where the file has changed. Not to be changed in place.

    Raises OSError where it cannot be read, and ValueError where it is no JSON.
    """
    file = folder / "config.json"
    state = file.stat()
    if time.time_ns() - state.st_mtime_ns < SETTLED:
        return _parse(file)  # a second change within the clock's step would leave the stamp as it is
    return _parse_once(file, (state.st_mtime_ns, state.st_size, state.st_ino))


def _parse(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


@lru_cache
def _parse_once(file: Path, stamp: tuple[int, int, int]) -> Any:
    return _parse(file)


def has_chat_template(folder: Path) -> bool | None:
    """Whether the tokenizer of a model's folder has a chat template; None where the folder does not tell.

    Transformers reads it from a file of its own (chat_template.jinja, or chat_template.json of older versions) or from
    tokenizer_config.json.
    """
    if any((folder / name).exists() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    if not (folder / "tokenizer.json").exists():
        return None  # only a part of the model was downloaded, or the tokenizer is of another kind
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return bool(config.get("chat_template")) if isinstance(config, dict) else None


LFS_BEGINNING = b"version https://git-lfs.github.com/spec/"


def is_lfs_pointer(content: bytes) -> bool:
    """Whether the beginning of a file says that it is a pointer of Git LFS, which stands for a file not fetched yet."""
    return content.startswith(LFS_BEGINNING)


def lfs_pointers(folder: Path) -> list[str]:
    """The names of the files in a folder that are pointers of Git LFS."""
    pointers = []
    for file in sorted(each for each in folder.iterdir() if each.is_file()):
        with file.open("rb") as stream:
            if is_lfs_pointer(stream.read(len(LFS_BEGINNING))):
                pointers.append(file.name)
    return pointers


def safetensors_params(folder: Path) -> int | None:
    """The parameters in a folder's .safetensors files by their headers; None where there are none, or damaged ones."""
    shapes = safetensors_shapes(folder)
    return sum(map(prod, shapes.values())) or None if shapes else None


def safetensors_shapes(folder: Path) -> dict[str, tuple[int, ...]] | None:
    """The shapes of the tensors in a folder's .safetensors files; None where there are none, or damaged ones."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in folder.glob("*.safetensors"):
        header = _header(file)
        if header is None:
            return None
        shapes |= {name: tuple(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"}
    return shapes or None


def _header(file: Path) -> dict[str, Any] | None:
    """The header of a .safetensors file: (dtype, shape, place) of each tensor. None where the file is damaged."""
    with file.open("rb") as stream:
        try:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length)) if length < file.stat().st_size else None
        except (struct.error, ValueError):
            return None
    return header if isinstance(header, dict) else None
