"""Where a running trial's files go, so that nothing finished is touched before its replacement stands.

    with attempt(store, "61da8be3c4", driver) as running:
        running.store.write_rows("trials", ...)        # None: another command runs it, or it is done

A trial without a finished row writes into the tables themselves; what an earlier attempt left is set aside first, and
the earlier row when the new one is there. A trial with a finished row, which is run again on demand, writes into
`.running/<trial id>/`, a results folder of its own. Its files take the place of the old ones, which move to
`superseded/`, when its row is written; a fault never takes the place of a row without one, and leaves there what the
next attempt goes on from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow.fs

from raypeft.results.leases import holder, leased
from raypeft.results.statuses import STATUSES, is_fault, is_settled
from raypeft.results.store import ResultStore

RUNNING = ".running"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a trial."""

    store: ResultStore
    """Where it writes."""
    number: int
    """Counted from 1 since the last row that was a result."""


@contextmanager
def attempt(
    store: ResultStore,
    trial_id: str,
    driver: str,
    seen: str | None,
    progress: Callable[[], Mapping[str, Any]] = dict,
) -> Iterator[Attempt | None]:
    """Run a trial within the block, which writes the trial's row. None: another command runs it, or has run it.

    `seen` is the `version` of the row that stood when it was decided to run the trial. `driver` names the command.
    `progress` says how far the trial is, for `raypeft status`.
    """
    with leased(store, trial_id, driver, progress) as lease:
        if lease is None:
            yield None
            return
        publish(store, trial_id)  # of an attempt that was killed after it had written its row
        standing = standing_row(store, trial_id)
        if standing is not None and is_settled(standing["status"]) and version(standing) != seen:
            yield None
            return
        number = max(lease.attempt, 1 + _attempts(standing))
        if standing is None or not is_final(standing):
            store.set_aside(trial_id, but_the_row=True)
            yield Attempt(store, number)
            return
        own = store.inside(f"{RUNNING}/{trial_id}")
        own.set_aside(trial_id, store)  # what a killed attempt left
        own.make("trials")  # so that it is among the `unpublished` from its beginning
        yield Attempt(own, number)
        publish(store, trial_id)


def _attempts(standing: Mapping[str, Any] | None) -> int:
    """The attempts that came to nothing."""
    return 0 if standing is None or is_final(standing) else standing.get("attempts") or 1


def version(row: Mapping[str, Any]) -> str:
    """Which one of a trial's rows this is."""
    return f"{row['status']} {row.get('started_at')}"


def is_final(row: Mapping[str, Any]) -> bool:
    """Whether a row is a result, which is only run again on demand."""
    return row["status"] in STATUSES and STATUSES[row["status"]].is_finished


def standing_row(store: ResultStore, trial_id: str) -> Row | None:
    """The row of a trial that is in the table now, in a file of its own or in that of all trials."""
    own = store.read_rows("trials", trial_id)
    return next(iter(own or store.rows_in_all("trials", trial_id)), None)


def left_alone(store: ResultStore, trial_id: str) -> Row:
    """What to tell, after `attempt`, of a trial that was not run: the row that another command made, or who runs it."""
    lease = holder(store, trial_id)
    if lease is not None and not lease.is_dead:
        return {"id": trial_id, "status": "elsewhere", "error": f"{lease.holder} runs it"}
    return standing_row(store, trial_id) or {"id": trial_id, "status": "elsewhere", "error": "another command runs it"}


def record_fault(store: ResultStore, row: Row, driver: str, seen: str | None) -> Row:
    """Write the row of a trial that could not write one itself, unless a result stands; returns how this run ended.

    That is the given row, also where an older result (`seen`, as for `attempt`) stays. Raises OSError where it cannot
    be written.
    """
    trial_id = row["id"]
    lease = holder(store, trial_id)
    if lease is not None and lease.driver != driver and not lease.is_dead:
        return left_alone(store, trial_id)
    publish(store, trial_id)
    standing = standing_row(store, trial_id)
    stays = standing is not None and is_final(standing)
    if standing is not None and stays and version(standing) != seen:
        return standing  # the process died after it had written this row
    number = max(lease.attempt if lease else 1, 1 + _attempts(standing))
    row = row | {"attempts": number, "started_at": datetime.now(UTC)}
    if not stays:
        store.write_rows("trials", trial_id, [row])
    return row


def publish(store: ResultStore, trial_id: str) -> None:
    """Put the files of a finished attempt in the place of the old ones. Without a row of its own, nothing is done.

    Of the old files the row goes last, and of the new ones it comes last. So the next start goes on where a process was
    killed in between: while the old row stands, nothing new is there yet, and without the new row not everything is.
    """
    own = store.inside(f"{RUNNING}/{trial_id}")
    row, standing = standing_row(own, trial_id), standing_row(store, trial_id)
    if row is None:
        return
    if standing is not None and is_fault(row["status"]) and not is_fault(standing["status"]):
        own.set_aside(trial_id, store)
        if _left_to_go_on(own):
            return  # from which the next attempt goes on
    else:
        new, has_row = _row_last(own.names_of(trial_id)), store.exists(f"trials/{trial_id}.parquet")
        store.supersede(_row_last(store.names_of(trial_id)) if has_row else filter(store.exists, new))
        _take_what_is_left(own, store)
        for name in new:
            store.take_in(own, name)
    store.filesystem.delete_dir(own.root)


def _row_last(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: name.startswith("trials/"))


def _left_to_go_on(own: ResultStore) -> list[str]:
    return [*own.names("checkpoints"), *own.names("candidates.partial")]


def _take_what_is_left(own: ResultStore, store: ResultStore) -> None:
    """Move what is kept of the checkpoints of an attempt to its own place: the last one of a finished trial, which is a
    file, or the folders from which a failed trial goes on.
    """
    for name in _left_to_go_on(own):
        store.make(name.rpartition("/")[0])
        if store.filesystem.get_file_info(f"{store.root}/{name}").type == pyarrow.fs.FileType.Directory:
            store.remove_folder(name)
        store.move_any(f"{own.root}/{name}", f"{store.root}/{name}")


def unpublished(store: ResultStore) -> list[str]:
    """Trials with a result whose next attempt has begun and has not come to its end."""
    selector = pyarrow.fs.FileSelector(f"{store.root}/{RUNNING}", allow_not_found=True)
    return [info.base_name for info in store.filesystem.get_file_info(selector)]
