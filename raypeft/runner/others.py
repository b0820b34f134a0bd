"""Trials that other commands run on the same results folder: waited for, and taken over where their holder dies."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console

from raypeft.results.leases import running_elsewhere
from raypeft.results.standing import look_at
from raypeft.results.store import ResultStore
from raypeft.runner.observers.view import say
from raypeft.runner.run import SweepRun
from raypeft.stopping import Stop
from raypeft.study.config import Trial
from raypeft.trial.declarations import suggested_trials

POLL = 5.0
"""Seconds between two looks at the trials that other commands run."""


def await_others(
    run: SweepRun, trials: Sequence[Trial], store: ResultStore, console: Console, stop: Stop
) -> tuple[list[Trial], bool]:
    """Wait for the trials that other commands run; returns those that were left without a row, and whether another
    command ran one. Raises Stopped.

    `trials` are those that were this command's to run. Beside them, what others have suggested meanwhile is awaited.
    """
    ours = {trial.id: trial for trial in (*trials, *suggested_meanwhile(run, store))}
    awaited: set[str] = set()
    while others := {trial: lease for trial, lease in running_elsewhere(store, run.driver).items() if trial in ours}:
        if not awaited:
            holders = ", ".join(sorted({lease.holder for lease in others.values()}))
            say(console, f"waiting for {len(others)} trials that another command runs ({holders})")
        awaited |= others.keys()
        time.sleep(POLL)
        stop.check()
    standing = look_at(store)
    # A command that died before it was awaited has left no row either.
    left = {*standing.to_run(awaited), *(ours.keys() - standing.rows.keys())}
    return [trial for trial in ours.values() if trial.id in left], bool(awaited)


def suggested_meanwhile(run: SweepRun, store: ResultStore) -> list[Trial]:
    """The suggestions of Optuna's, also in other commands, that have no row yet."""
    if run.search is None or not run.search.unsuggested:
        return []
    ended = store.statuses()
    return [trial for trial in suggested_trials(store, run.search.points) if trial.id not in ended]
