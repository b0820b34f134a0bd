"""The trials of a sweep that wait for their turn: of those that share a training, one at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raypeft.study.config import Trial


class Waiting:
    """Trials in the order in which they are to begin."""

    def __init__(self, trials: Sequence[Trial], trainings: Mapping[str, str]) -> None:
        """`trainings`: trial id -> id of its training, of the trials that share one."""
        self.trials, self.trainings = list(trials), trainings
        self.busy: set[str] = set()
        """The trainings of which a trial has begun and not ended: the others find its weights when it has."""

    def __bool__(self) -> bool:
        return bool(self.trials)

    def next(self) -> Trial | None:
        """The first trial whose turn has come. None: all that are left wait for others that run."""
        trial = next((each for each in self.trials if self._training(each.id) not in self.busy), None)
        if trial is not None:
            self.trials.remove(trial)
            self.busy |= {self._training(trial.id)} - {""}
        return trial

    def ended(self, trial_id: str) -> None:
        """A trial has ended, in whatever way."""
        self.busy.discard(self._training(trial_id))

    def _training(self, trial_id: str) -> str:
        return self.trainings.get(trial_id, "")
