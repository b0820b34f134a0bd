"""A training that several trials of a sweep share: the first trains, the others take the weights of its last step.

    with shared.turn(trial.id, context.stop, say):
        training.run(..., checkpoints)          # goes on from what another trial has saved: mostly, from the end

They share its checkpoint, `checkpoints/<training id>/` in the results, so that whatever holds of a training that goes
on holds of them. A sweep hands out one of them at a time; for two commands on one folder, a training has a lease.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from raypeft.results.attempts import is_final, standing_row, version
from raypeft.results.leases import leased
from raypeft.results.leftovers import folder_of
from raypeft.results.store import ResultStore
from raypeft.stopping import Stop

LOOK = 2.0
"""Seconds between two looks at whether another command still trains."""


@dataclass(frozen=True, slots=True)
class SharedTraining:
    """A training, and who else needs it."""

    id: str
    """Of the training (`raypeft.study.trainings`)."""
    store: ResultStore
    """The sweep's folder, also for a trial that is run again apart."""
    driver: str
    """The command, for leases."""
    others: Mapping[str, str | None] = field(default_factory=dict)
    """Trials of the same command that share the training -> the version of the row that they had before it."""

    @property
    def folder(self) -> str:
        """Where the training is saved."""
        return folder_of(self.id)

    @property
    def is_awaited(self) -> bool:
        """Whether another trial has still to run."""
        return any(not self._has_run(trial, seen) for trial, seen in self.others.items())

    def _has_run(self, trial: str, seen: str | None) -> bool:
        row = standing_row(self.store, trial)
        return row is not None and is_final(row) and version(row) != seen

    @contextmanager
    def turn(self, trial_id: str, stop: Stop, still_here: Callable[[], None]) -> Iterator[None]:
        """Wait until nobody else trains, and let nobody else train while the block runs.

        `still_here` is called while it waits. Raises Stopped where the trial is told to stop.
        """
        while True:
            # A command's own trials are told apart: a lease of its own would be free for each of them.
            with leased(self.store, f"trainings/{self.id}", f"{self.driver} {trial_id}") as lease:
                if lease is not None:
                    yield
                    return
            stop.check()
            still_here()
            time.sleep(LOOK)

    def drop(self) -> None:
        """Remove what is saved of the training, if no other trial needs it."""
        with suppress(OSError):  # the next command removes what is left
            if not self.is_awaited and self.store.exists(self.folder):
                self.store.remove_folder(self.folder)
