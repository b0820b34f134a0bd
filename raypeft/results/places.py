"""Where results are: a folder, or a URL of an object store; and patience with a store that is away for some time."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.fs

from raypeft.results.shared import HUB, shared_place
from raypeft.study.config import place_problem

STORE_PATIENCE = 120.0
"""Seconds for which an object store that does not answer is asked again."""
LONGEST_WAIT = 30.0
HOPELESS = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY", "SIGNATURE_DOES_NOT_MATCH", "PreconditionFailed")
"""What an object store answers where asking again does not help, in the words of its library."""

LOSSES = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT,
          errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH}  # fmt: skip
"""Errors of a disk or a store that is full, read-only or away: no fault of what was to be written."""

T = TypeVar("T")


def is_loss(error: BaseException) -> bool:
    """Whether an error says that a disk or a store was full, read-only or away."""
    return isinstance(error, OSError) and (error.errno in LOSSES or "AWS Error" in str(error))


def sweep_url(results: str, sweep: str) -> str:
    """The folder of a sweep in `results`. The query of a URL (s3://bucket/study?region=eu-west-1) stays at its end."""
    folder, mark, query = results.partition("?") if "://" in results else (results, "", "")
    return f"{folder.rstrip('/')}/{sweep}{mark}{query}"


def opened(url: str) -> tuple[pa.fs.FileSystem, str]:
    """The file system of a folder or URL, and the path in it. Raises ValueError where a URL cannot be read whole."""
    if "://" in url:
        if problem := place_problem(url):
            raise ValueError(f"results {problem}")
        if url.startswith(HUB):
            return shared_place(url)
        try:
            filesystem, root = pa.fs.FileSystem.from_uri(url)
        except pa.ArrowException as error:
            if "Unrecognized filesystem type" in str(error):
                return shared_place(url)
            raise ValueError(f"results must be a folder or a URL that can be read but got {url!r}: {error}") from None
        return filesystem, root.rstrip("/")
    return pa.fs.LocalFileSystem(), str(Path(url).expanduser().absolute())


def persistently(action: Callable[[], T], patience: float = STORE_PATIENCE) -> T:
    """Do something with an object store, and do it again where the store is away, for `patience` seconds at most.

    Raises OSError as the last try does, and at once where trying again does not help.
    """
    end, wait = time.monotonic() + patience, 1.0
    while True:
        try:
            return action()
        except OSError as error:
            answered = isinstance(error, FileNotFoundError | PermissionError) or any(
                word in str(error) for word in HOPELESS
            )
            if answered or time.monotonic() + wait > end:
                raise
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)
