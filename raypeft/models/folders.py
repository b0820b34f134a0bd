"""What the folder of a model tells without its weights: its config.json, and how many parameters its files hold."""

from __future__ import annotations

import hashlib
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


WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""What Transformers loads weights from: the first that is there (modeling_utils of 5.23)."""
FLOATS = ("F64", "F32", "F16", "BF16")
"""How .safetensors files name the types of plain weights."""


def weight_files(folder: Path) -> list[Path]:
    """The files of weights that Transformers loads from a folder, whether they are there or not; empty without any.

    An adapter, a trainer's state, or the same weights in another format may lie beside them.
    """
    first = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if first is None or first.suffix != ".json":
        return [first] if first else []
    try:
        return sorted({folder / name for name in json.loads(first.read_text(encoding="utf-8"))["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def weights_revision(source: Path) -> str:
    """`sha256:` and twelve digits of the weights in a folder, or in a GGUF file. Reads all of them: 1 to 2 GB/s."""
    digest = hashlib.sha256()
    for file in _files(source):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:12]}"


def weights_changed_at(source: Path) -> float:
    """The last time, in seconds since 1970, at which these files may have been written, moved or replaced.

    Reads none of them. Time stamps of modification would not tell, since a copy may bring them along; nor would the
    files alone, where their folder was renamed, or a link on the way to it points to another one.
    """
    times = [0.0]
    for file in _files(source):
        links = [each.lstat() for each in (file, *file.parents) if each.is_symlink()]
        times += [state.st_ctime for state in (file.stat(), file.parent.stat(), *links)]
    return max(times)


def _files(source: Path) -> list[Path]:
    return [source] if source.is_file() else weight_files(source)


def weights_problem(folder: Path) -> str | None:
    """Why the weights in a folder cannot be taken as they are stored, by names and headers of files; None if they may.

    Integers for weights are the codes of a quantised model, whatever is said beside them, and so are floats of 8 bits.
    """
    files = weight_files(folder)
    if not files:
        adapter = " (adapter_config.json is there: give the model that the adapter was trained on)"
        beside = adapter if (folder / "adapter_config.json").is_file() else ""
        return f"must hold weights (one of {', '.join(WEIGHTS)}) but has none that can be read{beside}"
    if missing := [file.name for file in files if not file.is_file()]:
        return f"must hold all files of its weights but lacks {', '.join(missing)}; was the download interrupted?"
    for file in [each for each in files if each.suffix == ".safetensors"]:
        header = _header(file)
        if header is None:
            return (f"must hold weights that can be read but {file.name} is damaged, or no .safetensors file; was the "
                    f"download interrupted?")  # fmt: skip
        for name, tensor in header.items():
            if name.endswith(".weight") and tensor["dtype"] not in FLOATS:
                return (f"must hold plain weights but stores {name} as {tensor['dtype']}, as quantised checkpoints do; "
                        f"give the checkpoint that it was made from")  # fmt: skip
    return None


def safetensors_params(folder: Path) -> int | None:
    """The parameters in a folder's .safetensors files, by their headers; None where there are none, or damaged ones."""
    shapes = safetensors_shapes(folder)
    return sum(map(prod, shapes.values())) or None if shapes else None


def safetensors_shapes(folder: Path) -> dict[str, tuple[int, ...]] | None:
    """The shapes of the tensors in a folder's .safetensors files; None where there are none, or damaged ones."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(folder):
        header = _header(file) if file.suffix == ".safetensors" and file.is_file() else None
        if header is None:
            return None
        shapes |= {name: tuple(tensor["shape"]) for name, tensor in header.items()}
    return shapes or None


def _header(file: Path) -> dict[str, Any] | None:
    """(dtype, shape, place) of each tensor in a .safetensors file. None where the file is damaged or not whole."""
    with file.open("rb") as stream:
        try:
            (length,) = struct.unpack("<Q", stream.read(8))
            size = file.stat().st_size
            if length >= size:
                return None
            header: dict[str, Any] = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            ends = [tensor["data_offsets"][1] for tensor in header.values()]
        except (struct.error, ValueError, KeyError, TypeError, AttributeError):
            return None
    return header if max(ends, default=0) + length + 8 == size else None
