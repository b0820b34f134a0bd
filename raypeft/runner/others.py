"""Trials that other commands run on the same results folder: waited for, and taken over where their holder dies."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console

from raypeft.results.leases import running_elsewhere
from raypeft.results.standing import look_at
from raypeft.results.store import ResultStore
from raypeft.runner.observers.view import say
from raypeft.stopping import Stop
from raypeft.study.config import Trial

POLL = 5.0
"""Seconds between two looks at the trials that other commands run."""


def await_others(driver: str, trials: Sequence[Trial], store: ResultStore, console: Console, stop: Stop) -> list[Trial]:
    """Wait for the trials that other commands run; returns those that they left without a row. Raises Stopped."""
    ours = {trial.id: trial for trial in trials}
    awaited: set[str] = set()
    while others := {trial: lease for trial, lease in running_elsewhere(store, driver).items() if trial in ours}:
        if not awaited:
            holders = ", ".join(sorted({lease.holder for lease in others.values()}))
            say(console, f"waiting for {len(others)} trials that another command runs ({holders})")
        awaited |= others.keys()
        time.sleep(POLL)
        stop.check()
    if not awaited:
        return []
    standing = look_at(store)
    return [ours[trial] for trial in standing.to_run(sorted(awaited))]
