"""Progress in plain lines, for a log file or a pipe: of a sweep, or of a single trial."""

from __future__ import annotations

import time

from raypeft.events import Evaluated, Event, Noted, Stage, Step
from raypeft.runner.observers import Observer
from raypeft.runner.observers.view import RunningTrial, SweepView, say, time_left

LINE_INTERVAL = 30.0
"""Minimum time between two lines about the same stage of a trial, in seconds."""


class LineView(SweepView):
    """Prints a line when a trial starts, one every half minute, and one when it ends.

    Once a trial has had such a line, each further stage of several steps begins with one. The first step of a stage may
    take minutes, and the last line, of the stage before, would stand as if it were still true.
    """

    def show_start(self, trial: RunningTrial) -> None:
        say(self.console, f"started  {trial.label}")

    def show_update(self, trial: RunningTrial) -> None:
        now = time.monotonic()
        begins = trial.total > 1 and bool(trial.told) and trial.stage not in trial.told
        if begins or now - trial.last_line >= LINE_INTERVAL:
            trial.last_line = now
            trial.told.add(trial.stage)
            say(self.console, f"running  {trial.label}: {trial.describe()}{time_left(trial.seconds_left)}")


class TrialLines(Observer):
    """Prints a line for each tenth of a stage of one trial, and one for each evaluation."""

    def hear(self, trial_id: str, event: Event) -> None:
        if isinstance(event, Stage) and event.total == 1:
            print(f"  {event.name}", flush=True)
        elif isinstance(event, Stage) and event.done and _is_tenth(event.done, event.total):
            print(f"  {event.name} {event.done}/{event.total}", flush=True)
        elif isinstance(event, Step) and _is_tenth(event.step, event.total):
            print(f"  train {event.step}/{event.total}  loss {event.loss:.4g}", flush=True)
        elif isinstance(event, Noted):
            print(f"  {event.text}", flush=True)
        elif isinstance(event, Evaluated):
            print(f"  evaluated at step {event.step}  loss {event.train_loss:.4g}  "
                  f"validation loss {event.eval_loss:.4g}", flush=True)  # fmt: skip


def _is_tenth(done: int, total: int) -> bool:
    """Whether a further tenth is reached."""
    return 10 * done // total > 10 * (done - 1) // total
