"""What all views of a running sweep share: the progress of each running trial, and how many trials are done."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from raypeft.analysis.report.terminal import headline
from raypeft.analysis.warnings import decoded_slowly
from raypeft.events import Evaluated, Event, Finished, Noted, Stage, Started, Step
from raypeft.runner.observers import Observer
from raypeft.trial.stages import STAGES

SETTLED = 0.05
"""Share of a stage after which its speed tells when it ends: before, it is that of warming up."""


@dataclass(slots=True)
class RunningTrial:
    """The progress of a running trial."""

    label: str
    started: float
    stage: str = "load"
    stage_started: float = 0.0
    begun_at: int = 0
    """What the stage had done when it began: it goes on from a checkpoint or from stored parts."""
    done: int = 0
    total: int = 1
    figures: dict[str, float] = field(default_factory=dict)
    """Name of a loss -> its last value."""
    last_line: float = 0.0
    told: set[str] = field(default_factory=set)
    """The stages that a line was printed about."""

    def update(self, event: Event) -> None:
        """Take in an event of the running trial."""
        if isinstance(event, Stage):
            self._come_to(event.name, event.done, event.total)
        elif isinstance(event, Step):
            self._come_to("train", event.step, event.total)
            self.figures["loss"] = event.loss
        elif isinstance(event, Evaluated):
            self.figures |= {"loss": event.train_loss, "validation loss": event.eval_loss}

    def _come_to(self, stage: str, done: int, total: int) -> None:
        if (stage, total) != (self.stage, self.total):
            self.stage, self.stage_started, self.figures = stage, time.monotonic(), {}
            self.begun_at = done
        self.done, self.total = done, total

    @property
    def seconds_left(self) -> float | None:
        """Estimated time to the end of the current stage, from its speed so far. None: too little of it is done."""
        done = self.done - self.begun_at
        if done <= SETTLED * (self.total - self.begun_at):
            return None
        return (time.monotonic() - self.stage_started) / done * (self.total - self.done)

    def describe(self) -> str:
        stage = STAGES[self.stage]
        words = [stage.words]
        if self.total > 1:
            words.append(f"{stage.counts} {self.done}/{self.total}")
        words += [f"{name} {value:.3f}" for name, value in self.figures.items()]
        return " ".join(words)


class SweepView(Observer):
    """Follows the trials of a sweep. Subclasses show their progress."""

    def __init__(self, total: int, console: Console) -> None:
        self.total, self.console = total, console
        self.started = time.monotonic()
        self.running: dict[str, RunningTrial] = {}
        self.finished: list[float] = []
        """Time at which each finished trial ended."""

    def hear(self, trial_id: str, event: Event) -> None:
        if isinstance(event, Started):
            now = time.monotonic()
            self.running[trial_id] = RunningTrial(event.label, now, stage_started=now, last_line=now)
            self.show_start(self.running[trial_id])
        elif isinstance(event, Finished):
            self.finish(trial_id, event.row)
        elif isinstance(event, Noted):
            label = self.running[trial_id].label if trial_id in self.running else trial_id
            say(self.console, f"note     {label}: {event.text}")
        elif trial_id in self.running:
            self.running[trial_id].update(event)
            self.show_update(self.running[trial_id])

    def finish(self, trial_id: str, row: Any) -> None:
        trial = self.running.pop(trial_id, None)
        self.finished.append(time.monotonic())
        label = trial.label if trial else trial_id
        seconds = f" in {duration(time.monotonic() - trial.started)}" if trial else ""
        outcome = headline(row) if row["status"] == "ok" else f"{row['status']}: {row['error']}"
        note = decoded_slowly(row)
        say(self.console, f"[{len(self.finished)}/{self.total}]  {label}{seconds}: {outcome}" + (note and f"; {note}"))

    def show_start(self, trial: RunningTrial) -> None:
        """A trial begins."""

    def show_update(self, trial: RunningTrial) -> None:
        """A running trial has new progress. This is called often."""


def say(console: Console, line: str) -> None:
    """Print one line unchanged: it is not wrapped, and brackets are not read as markup."""
    console.print(Text(line), soft_wrap=True)


def time_left(seconds: float | None) -> str:
    return f", {duration(seconds)} left" if seconds is not None else ""


def duration(seconds: float) -> str:
    """Seconds for people: 5 s, 2 min 05 s, 1 h 04 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
