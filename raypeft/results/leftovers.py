"""What lies in a results folder that no trial needs: files that were never finished, and trials that are not planned.

    drop_temporaries(store)
    files_by_trial(store)       # {"61da8be3c4": ["trials/61da8be3c4.parquet", "checkpoints/61da8be3c4"]}

A process that is killed while it writes leaves what it has written in `.tmp/`, a checkpoint for example.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from contextlib import suppress

import pyarrow.fs

from raypeft.results.attempts import RUNNING, unpublished
from raypeft.results.leases import running
from raypeft.results.store import TOGETHER, ResultStore

TEMPORARY = ".tmp"
OLD = 3600.0
"""Seconds since the last write after which nobody writes a temporary file any more: other commands may run now."""
LAST = ".last.pt"
"""Ending of what `keep_checkpoints: last` leaves of a finished trial. No trial goes on from it."""


def folder_of(name: str) -> str:
    """The folder of the checkpoints of a trial, or of a training that trials share, in the store."""
    return f"checkpoints/{name}"


def drop_temporaries(store: ResultStore) -> None:
    """Remove what killed processes have left half-written. What cannot be removed stays."""
    for folder in (TEMPORARY, *(f"{RUNNING}/{trial}/{TEMPORARY}" for trial in unpublished(store))):
        with suppress(OSError):
            _drop_old(store, folder)


def _drop_old(store: ResultStore, folder: str) -> None:
    """A folder is as old as the newest file in it; object stores know no other times."""
    root = f"{store.root}/{folder}"
    written: dict[str, float] = {}
    for info in store.filesystem.get_file_info(pyarrow.fs.FileSelector(root, recursive=True, allow_not_found=True)):
        name = info.path[len(root) :].strip("/").partition("/")[0]
        written[name] = max(written.get(name, 0.0), info.mtime.timestamp() if info.mtime else 0.0)
    for name, at in written.items():
        if at < time.time() - OLD:
            with suppress(OSError):  # another command may do the same
                _remove(store, f"{folder}/{name}")


def drop_trainings(store: ResultStore, trainings: Mapping[str, str], still_to_run: Collection[str]) -> None:
    """Remove what killed processes have left of trainings that trials shared, once no such trial is still to run.

    `trainings`: trial id -> id of the training. A rerun that was interrupted needs its training when it goes on, and
    what a command needs that runs now is not known.
    """
    if running(store):
        return
    needed = {trainings[trial] for trial in (*still_to_run, *unpublished(store)) if trial in trainings}
    for name in store.names("checkpoints"):
        if name.rpartition("/")[2] in set(trainings.values()) - needed:
            with suppress(OSError):
                _remove(store, name)


def _remove(store: ResultStore, name: str) -> None:
    if store.filesystem.get_file_info(f"{store.root}/{name}").type == pyarrow.fs.FileType.Directory:
        store.remove_folder(name)
    else:
        store.remove(name)


def files_by_trial(store: ResultStore) -> dict[str, list[str]]:
    """Trial id -> all its files and folders, also those of trials without a row."""
    found: dict[str, list[str]] = {}
    for folder in (*store.schemas, "adapters", "models", "checkpoints", "candidates.partial", RUNNING):
        for name in store.names(folder):
            trial = name.rpartition("/")[2].removesuffix(".parquet").removesuffix(LAST)
            if trial != TOGETHER and not trial.startswith((".", "_")):
                found.setdefault(trial, []).append(name)
    return found
