"""ASHA over the trials of each search, by Tune's own scheduler; a trial that lags behind ends its training itself.

Tune would end the trial's process, and its row with it. So what ASHA decides is left as a note in the results folder;
the trial, which waits in its report of the evaluation until the decision has been made, reads it and writes its row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from raypeft.events import Evaluated, Event, Pruned
from raypeft.results.store import ResultStore
from raypeft.runner.ending import STOP
from raypeft.runner.observers import Observer
from raypeft.runner.relay import events_of
from raypeft.study.parameters import Asha

SHARE, LOSS = "share", "eval_loss"
END = 1 - 1e-9
"""The share of its training at which a trial has been trained: it is not stopped any more."""


def note_of(driver: str, trial_id: str) -> str:
    """Name of the note that ends the training of a trial, in the results folder."""
    return f"{STOP}/{driver}-{trial_id}"


def share_of(event: Evaluated, fields: Mapping[str, Any]) -> float:
    """How much of its training a trial has had."""
    return event.epoch / float(fields["num_train_epochs"])


class Halving(FIFOScheduler):
    """One ASHA for each search: trials of different searches are not held against each other."""

    def __init__(self, asha: Asha, store: ResultStore, driver: str) -> None:
        super().__init__()
        self.asha, self.store, self.driver = asha, store, driver
        self.searches: dict[str, AsyncHyperBandScheduler] = {}
        self.best: dict[str, float] = {}
        """Trial id -> its lowest validation loss."""
        self.stopped: set[str] = set()
        """Ids of the trials that were told to end."""

    def remember(self, search: str, curves: Mapping[str, Iterable[tuple[float, float]]]) -> None:
        """Take in trials of earlier commands: id -> share of the training and validation loss, of each evaluation.

        One that goes on is not decided about again where it has been.
        """
        for trial_id, curve in curves.items():
            for share, loss in curve:
                self._decision(search, trial_id, share, loss)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        planned = trial.config["planned"]
        for event in events_of(result):
            if isinstance(event, Evaluated) and planned["search"] and planned["id"] not in self.stopped:
                fields = {**planned["trial"], **planned["trial"]["method"]}
                share = share_of(event, fields)
                if self._decision(planned["search"], planned["id"], share, event.eval_loss):
                    self._stop(planned["id"], share)
        return TrialScheduler.CONTINUE

    def _search(self, search: str) -> AsyncHyperBandScheduler:
        if search not in self.searches:
            self.searches[search] = AsyncHyperBandScheduler(
                time_attr=SHARE, metric=LOSS, mode="min", max_t=1, grace_period=self.asha.grace_period,
                reduction_factor=self.asha.reduction_factor, stop_last_trials=False,
            )  # fmt: skip
        return self.searches[search]

    def _decision(self, search: str, trial_id: str, share: float, loss: float) -> bool:
        """Whether ASHA would stop the trial here. It goes by the lowest loss so far: the best weights are kept."""
        self.best[trial_id] = min(loss, self.best.get(trial_id, loss))
        if share >= END:
            return False
        known = SimpleNamespace(trial_id=trial_id)  # under Tune's own id it would be another in each command
        asha, result = self._search(search), {SHARE: share, LOSS: self.best[trial_id]}
        asha.on_trial_add(None, known)
        return asha.on_trial_result(None, known, result) == TrialScheduler.STOP

    def _stop(self, trial_id: str, share: float) -> None:
        self.stopped.add(trial_id)
        reason = (f"after {100 * share:.0f} % of its training its validation loss, {self.best[trial_id]:.4g}, was not "
                  f"among the best 1 in {self.asha.reduction_factor:g}")  # fmt: skip
        with suppress(OSError):  # an error here would end the sweep; the trial only trains longer
            self.store.put(note_of(self.driver, trial_id), reason.encode())

    def forget(self, trial_id: str) -> None:
        """Remove the note of a trial that has ended."""
        if trial_id in self.stopped:
            with suppress(OSError):
                self.store.remove(note_of(self.driver, trial_id))


class HalvingNotes(tune.Callback):
    """Removes the notes of trials that have ended."""

    def __init__(self, halving: Halving) -> None:
        self.halving = halving

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self.halving.forget(trial.config["planned"]["id"])

    on_trial_error = on_trial_complete


class PrunedByNote(Observer):
    """Ends the training of a trial for which there is a note. It must hear an evaluation after `Relay` reported it."""

    def __init__(self, store: ResultStore, driver: str) -> None:
        self.store, self.driver = store, driver

    def hear(self, trial_id: str, event: Event) -> None:
        """Raises Pruned."""
        note = note_of(self.driver, trial_id)
        if isinstance(event, Evaluated):
            self.store.look_anew(STOP)
            if self.store.exists(note):
                with self.store.reading(note) as stream:
                    raise Pruned(stream.read().decode())
