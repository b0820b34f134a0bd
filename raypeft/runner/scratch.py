"""The folder in which Tune keeps its own books while a sweep runs."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raypeft.machine import is_running

PREFIX = "raypeft-tune"


@contextmanager
def scratch_folder() -> Iterator[str]:
    """A temporary folder of this process. Those that killed processes of this machine left are removed first."""
    host = socket.gethostname()
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}+{host}+*"):
        owner = left.name.split("+")[2]
        if owner.isdigit() and not is_running(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}+{host}+{os.getpid()}+", ignore_cleanup_errors=True) as folder:
        yield folder
