"""Who runs a trial at this moment: `.leases/<trial id>.json`, so that two commands on one folder share the work.

    with leased(store, "61da8be3c4", driver) as lease:     # None: another command runs it
        ...

A lease names its holder's machine and process, and a time that the holder renews every `BEAT` seconds. It is free for
others where its process is gone from this machine, or where it was not renewed for `DEAD_AFTER` seconds (machines must
agree on the time to less than that). On a file system a lease is made in one step that only one process can win. Object
stores have no such step here: two commands that ask for the same trial within a second may both run it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from raypeft.machine import is_running
from raypeft.results.store import ResultStore

FOLDER = ".leases"
BEAT = 15.0
"""Seconds between two signs of life."""
DEAD_AFTER = 120.0
"""Seconds without a sign of life after which a trial is free for others."""
SETTLING = 1.0
"""Seconds after which an object store shows which of two writers came last."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A trial that is being run, and by whom."""

    trial: str
    token: str
    """Of this one run of the trial."""
    driver: str
    """Of the command: its own trials are free for it again when their process is gone."""
    machine: str
    host: str
    pid: int
    beat: float
    """When the holder last gave a sign of life, in seconds since 1970."""
    attempt: int = 1
    """How many times the trial was started until now, as far as leases tell."""
    since: float = 0.0
    """When the trial was started, in seconds since 1970."""
    progress: Mapping[str, Any] = field(default_factory=dict)
    """How far the trial was at the last sign of life, as `raypeft.runner.observers.progress` tells it."""

    @property
    def holder(self) -> str:
        """For people: the process and its machine."""
        return f"process {self.pid} on {self.host}"

    @property
    def is_dead(self) -> bool:
        """Whether its holder is gone."""
        return time.time() - self.beat > DEAD_AFTER or (self.machine == process_space() and not is_running(self.pid))


@contextmanager
def leased(
    store: ResultStore, trial_id: str, driver: str, progress: Callable[[], Mapping[str, Any]] = dict
) -> Iterator[Lease | None]:
    """Hold the lease of a trial while the block runs. None: another command holds it.

    `progress` says how far the trial is, as JSON has it; each sign of life carries it.
    """
    lease = take(store, trial_id, driver, progress())
    if lease is None:
        yield None
        return
    stop = threading.Event()
    beating = threading.Thread(target=_beat, args=(store, lease, stop, progress), daemon=True)
    beating.start()
    try:
        yield lease
    finally:
        stop.set()
        beating.join()
        with contextlib.suppress(OSError):
            found = holder(store, trial_id)
            if found is not None and found.token == lease.token:
                store.filesystem.delete_file(_path(store, trial_id))


def take(store: ResultStore, trial_id: str, driver: str, progress: Mapping[str, Any] = {}) -> Lease | None:
    """The lease of a trial, made now. None: another command holds it, or was faster.

    Raises OSError where the folder cannot be written.
    """
    found = holder(store, trial_id)
    if found is not None and not (found.is_dead or found.driver == driver):
        return None
    lease = Lease(trial_id, uuid.uuid4().hex, driver, process_space(), socket.gethostname(), os.getpid(), time.time(),
                  found.attempt + 1 if found else 1, time.time(), progress)  # fmt: skip
    if not store.is_local:
        _write(store, lease)
        time.sleep(SETTLING)
        last = holder(store, trial_id)
        return lease if last is not None and last.token == lease.token else None
    if found is not None and not _removed(store, found):
        return None
    return lease if _made(store, lease) else None


def holder(store: ResultStore, trial_id: str) -> Lease | None:
    """The lease of a trial as it stands, of a live holder or of a dead one."""
    try:
        return _lease(json.loads(store.read_bytes(f"{FOLDER}/{trial_id}.json")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def running_elsewhere(store: ResultStore, driver: str) -> dict[str, Lease]:
    """Trial id -> the lease, of the trials that other live commands run."""
    return {trial: lease for trial, lease in running(store).items() if lease.driver != driver}


def running(store: ResultStore) -> dict[str, Lease]:
    """Trial id -> the lease, of the trials that live commands run."""
    from pyarrow.fs import FileSelector

    files = store.filesystem.get_file_info(FileSelector(f"{store.root}/{FOLDER}", allow_not_found=True))
    names = [info.base_name.removesuffix(".json") for info in files if info.base_name.endswith(".json")]
    leases = [lease for name in names if (lease := holder(store, name)) is not None]
    return {lease.trial: lease for lease in leases if not lease.is_dead}


def _lease(plain: Mapping[str, Any]) -> Lease:
    return Lease(**{name: plain[name] for name in Lease.__dataclass_fields__ if name in plain})


def _path(store: ResultStore, trial_id: str) -> str:
    return f"{store.root}/{FOLDER}/{trial_id}.json"


def _write(store: ResultStore, lease: Lease) -> None:
    with store.writing(f"{FOLDER}/{lease.trial}.json") as stream:
        stream.write(json.dumps(asdict(lease)).encode())


def _made(store: ResultStore, lease: Lease) -> bool:
    """Make the file of a lease on a file system, whole and in one step. False: there is one already."""
    path = Path(_path(store, lease.trial))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{lease.token}")
    draft.write_text(json.dumps(asdict(lease)), "utf-8")
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        try:
            with path.open("x", encoding="utf-8") as stream:
                json.dump(asdict(lease), stream)
        except FileExistsError:
            return False
    finally:
        draft.unlink()
    return True


def _removed(store: ResultStore, dead: Lease) -> bool:
    """Remove the file of a dead lease on a file system. False: another command was faster."""
    path = Path(_path(store, dead.trial))
    with (path.parent / ".lock").open("w") as lock:
        with contextlib.suppress(OSError):  # a file system without locks: two may take over at the same moment
            fcntl.flock(lock, fcntl.LOCK_EX)
        found = holder(store, dead.trial)
        if found is None or found.token != dead.token:
            return False
        path.unlink()
        return True


def _beat(store: ResultStore, lease: Lease, stop: threading.Event, progress: Callable[[], Mapping[str, Any]]) -> None:
    """Give a sign of life until `stop`, or until another command has taken over. A store that is away may come back."""
    while not stop.wait(BEAT):
        with contextlib.suppress(OSError):
            found = holder(store, lease.trial)
            if found is not None and found.token != lease.token:
                return
            _write(store, replace(lease, beat=time.time(), progress=progress()))


@cache
def process_space() -> str:
    """What two processes share that see each other's numbers: the host, its boot, and the namespace of processes."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return " ".join(parts)
