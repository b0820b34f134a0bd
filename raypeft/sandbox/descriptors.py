"""What the supervisor does with descriptors: files without a name, and the process that a pidfd stands for.

with anonymous_file() as descriptor: write_all(descriptor, b"1 2")
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def anonymous_file() -> Iterator[int]:
    """A file without a name, as a descriptor: a memfd where there is one. Nobody can seal it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("sandbox", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def pid_of(pidfd: int) -> int | None:
    """The pid, in this process's pid namespace, that a pidfd stands for."""
    try:
        lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text("ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return int(fields["Pid"]) or None
    except (OSError, KeyError, ValueError):
        return None
