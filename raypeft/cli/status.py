"""`raypeft status`: how far a sweep is, read from its results folder, in any terminal that sees the folder.

raypeft status results/rq2              # renewed every few seconds until the sweep has ended
raypeft status results/rq2 --once
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from raypeft.analysis.folder import open_results
from raypeft.analysis.settings import labels
from raypeft.analysis.timing import Timing
from raypeft.results.declarations import Declarations
from raypeft.results.leases import Lease, running
from raypeft.results.manifest import Manifest
from raypeft.results.statuses import STATUSES
from raypeft.results.store import ResultStore
from raypeft.runner.observers.view import duration

EVERY = 5.0
"""Seconds between two looks."""
MOST = 12
"""Most lines of one kind."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class State:
    """A sweep at one moment."""

    name: str
    rows: Sequence[Row]
    leases: Mapping[str, Lease]
    manifest: Manifest | None
    declared: Declarations
    now: float = field(default_factory=time.time)

    @property
    def planned(self) -> Mapping[str, Row]:
        """Trial id -> fields."""
        return self.manifest.plan if self.manifest else {}

    @cached_property
    def done(self) -> dict[str, Row]:
        """The rows that last, of planned trials, by id: another run of the command leaves these trials alone."""
        rows = {row["id"]: row for row in self.rows if row["id"] in self.planned or not self.planned}
        return {each: row for each, row in rows.items()
                if each not in self.leases and not self.declared.status(row["status"]).runs_again}  # fmt: skip

    @cached_property
    def waiting(self) -> list[str]:
        """Planned trials that are neither done nor running."""
        return [each for each in self.planned if each not in self.done and each not in self.leases]

    @property
    def unsuggested(self) -> int:
        """Trials that a search has still to suggest."""
        return self.manifest.unsuggested if self.manifest else 0

    @property
    def is_over(self) -> bool:
        return not (self.leases or self.waiting or self.unsuggested)

    @cached_property
    def timing(self) -> Timing:
        return Timing(self.rows)

    def seconds_left(self) -> float | None:
        """A guess from the trials that ended, as many at a time as run now; None before there is anything to go by."""
        known = [self.timing.expected(fields) for fields in self.planned.values()]
        usual = [each for each in known if each is not None]
        if not usual or not self.leases:
            return None
        mean = sum(usual) / len(usual)
        of_waiting = [self.timing.expected(self.planned[each]) or mean for each in self.waiting]
        left = sum(of_waiting) + mean * self.unsuggested
        for trial, lease in self.leases.items():
            expected = self.timing.expected(self.planned.get(trial, {})) or mean
            left += max(expected - (self.now - lease.since), lease.progress.get("seconds_left") or 0.0)
        return left / len(self.leases)


def look(url: str) -> State:
    """The state of a sweep. Raises FileNotFoundError where there are no results, ValueError for a damaged manifest."""
    store, declared = open_results(url)
    return State(_name(store), store.read_rows(), running(store), store.read_manifest(), declared)


def _name(store: ResultStore) -> str:
    return store.root.rstrip("/").rpartition("/")[2]


def shown(state: State) -> Group:
    """The state for a terminal."""
    parts: list[Any] = [Text(line) for line in head(state)]
    if state.leases:
        parts.append(_running_table(state))
    parts += [Text(line) for line in (*_faults(state), *_waiting(state))]
    return Group(*parts)


def head(state: State) -> Iterator[str]:
    """How many trials are done, running and waiting, and the time left."""
    total = len(state.done) + len(state.leases) + len(state.waiting) + state.unsuggested
    counts = Counter(row["status"] for row in state.done.values())
    told = [f"{counts[status]} {status}" for status in (*STATUSES, *(counts.keys() - STATUSES)) if counts[status]]
    kinds = f" ({', '.join(told)})" if told else ""
    parts = [f"{len(state.done)} of {total} trials done{kinds}", f"{len(state.leases)} running"]
    if state.waiting:
        parts.append(f"{len(state.waiting)} waiting")
    if state.unsuggested:
        parts.append(f"{state.unsuggested} not yet suggested by the search")
    left = state.seconds_left()
    if left is not None:
        parts.append(f"about {duration(left)} left")
    yield f"{state.name}: {', '.join(parts)}"
    if not state.leases and not state.is_over:
        yield "nothing runs: the command that started the sweep has ended, and the same command goes on"


def _running_table(state: State) -> Table:
    table = Table.grid(padding=(0, 2))
    for trial, lease in list(state.leases.items())[:MOST]:
        left = lease.progress.get("seconds_left")
        told = lease.progress.get("stage", "starting") + (f", {duration(left)} left" if left is not None else "")
        since = duration(state.now - lease.since) if lease.since else ""
        heard = f"heard of {duration(max(0.0, state.now - lease.beat))} ago"
        table.add_row(Text(f"  {trial}"), Text(lease.progress.get("label", "")), Text(told), Text(since),
                      Text(f"{lease.holder}, {heard}"))  # fmt: skip
    if len(state.leases) > MOST:
        table.add_row(Text(f"  and {len(state.leases) - MOST} more"))
    return table


def _faults(state: State) -> Iterator[str]:
    """The trials that came to no result, with their errors."""
    faults = [row for row in state.rows if state.declared.status(row["status"]).is_fault]
    for row in faults[:MOST]:
        error = str(row.get("error") or "").partition("\n")[0]
        yield f"  {row['id']}  {row['status']}: {error}"
    if len(faults) > MOST:
        yield f"  and {len(faults) - MOST} more without a result"


def _waiting(state: State) -> Iterator[str]:
    """The trials that come next."""
    if not state.waiting:
        return
    fields = list(state.planned.values())
    names = dict(zip(state.planned, labels(fields, state.declared), strict=True)) if len(fields) < 1000 else {}
    next_ones = [names.get(each) or each for each in state.waiting[:3]]
    yield f"  next: {'; '.join(next_ones)}" + (" ..." if len(state.waiting) > len(next_ones) else "")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="raypeft status",
        description="How far a sweep is: done, running, waiting and failed trials, and the time left. It reads the "
        "results folder alone, so it works from another terminal or another machine. Running trials renew what they "
        "say every 15 seconds.",
    )
    parser.add_argument("results", help="results folder or URL of the sweep, e.g. results/rq2")
    parser.add_argument(
        "--once", action="store_true", help="print the state and end (default where output is no terminal)"
    )
    options = parser.parse_args(arguments)
    console = Console()
    try:
        state = look(options.results)
        if options.once or not console.is_terminal:
            console.print(shown(state), soft_wrap=True)
            return 0
        with Live(shown(state), console=console, auto_refresh=False) as live:
            while not state.is_over:
                time.sleep(EVERY)
                state = look(options.results)
                live.update(shown(state), refresh=True)
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0
