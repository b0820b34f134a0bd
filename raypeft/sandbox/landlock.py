"""Landlock: which files a process and its children may read from now on. Nothing may be written, made or executed.

    ruleset = rules(["/usr/lib/python3.11"])       # while the folders can still be opened
    enforce(ruleset)                               # after no_new_privs

Where the kernel knows them, TCP connections (ABI 4), device ioctls (5), and signals and abstract sockets that reach
outside (6) are denied too. Source: include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

from raypeft.sandbox import linux

READ_FILE, READ_DIRECTORY = 1 << 2, 1 << 3
_RIGHTS_SINCE = {1: 13, 2: 14, 3: 15, 5: 16}
"""ABI: how many file-system rights it knows (they are the lowest bits)."""
_OTHERS = ("site-packages", "dist-packages", "test", "idlelib", "ensurepip", "turtledemo")


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def abi() -> int:
    """The Landlock ABI of this kernel, 0 where there is none."""
    try:
        return linux.syscall("landlock_create_ruleset", None, 0, 1)
    except (OSError, KeyError):
        return 0


def rules(folders: Sequence[str]) -> int:
    """A ruleset, as a descriptor, under which files in `folders` can be opened to be read, and no others at all.

    What lies in a folder's site-packages or dist-packages is left out: a standard library's folder may hold those.
    Raises OSError where the kernel has no Landlock or a path cannot be opened.
    """
    version = abi()
    rights = (1 << max(bits for since, bits in _RIGHTS_SINCE.items() if since <= max(version, 1))) - 1
    attributes = _Ruleset(rights, 0b11 if version >= 4 else 0, 0b11 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = linux.syscall("landlock_create_ruleset", ctypes.byref(attributes), size, 0)
    for folder in folders:
        _allow(ruleset, folder, READ_DIRECTORY)
        for entry in os.scandir(folder):
            if entry.name not in _OTHERS and not entry.is_symlink():
                _allow(ruleset, entry.path, READ_FILE | (READ_DIRECTORY if entry.is_dir() else 0))
    return ruleset


def enforce(ruleset: int) -> None:
    """Puts the process under the rules for good, and closes them. Needs no_new_privs; raises OSError without it."""
    linux.syscall("landlock_restrict_self", ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        linux.syscall("landlock_add_rule", ruleset, 1, ctypes.byref(_Beneath(rights, parent)), 0)
    finally:
        os.close(parent)
