"""What a sweep shows while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raypeft.analysis.report import headline

STAGE_WORDS = {
    "load": "loading",
    "retrieve": "picking shots",
    "train": "training",
    "generate": "generating",
    "test": "waiting for tests",
    "score": "scoring",
}
LINE_INTERVAL = 30.0
"""Seconds between two lines about the same trial where there is no terminal."""


@dataclass(slots=True)
class RunningTrial:
    """What is known of a trial in flight."""

    label: str
    started: float
    stage: str = "load"
    stage_started: float = 0.0
    done: int = 0
    total: int = 1
    figures: dict[str, float] = field(default_factory=dict)
    last_line: float = 0.0

    def update(self, stage: str, done: int, total: int, figures: dict[str, float]) -> None:
        if stage != self.stage:
            self.stage, self.stage_started, self.figures = stage, time.monotonic(), {}
        self.done, self.total = done, total
        self.figures |= figures

    @property
    def seconds_left(self) -> float | None:
        """Of the present stage, from its pace so far."""
        elapsed = time.monotonic() - self.stage_started
        return elapsed / self.done * (self.total - self.done) if self.done else None

    def describe(self) -> str:
        words = [STAGE_WORDS.get(self.stage, self.stage)]
        if self.total > 1:
            words.append(f"{'step' if self.stage == 'train' else 'example'} {self.done}/{self.total}")
        words += [f"{name.replace('_', ' ')} {value:.3f}" for name, value in self.figures.items()]
        return " ".join(words)


class ProgressView:
    """Follows a sweep's trials; a context manager. `update` and `finish` may be called from one thread at a time."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.total = total
        self.started = time.monotonic()
        self.running: dict[str, RunningTrial] = {}
        self.finished: list[float] = []
        self.live = Live(get_renderable=self._table, console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> ProgressView:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def start(self, trial_id: str, label: str) -> None:
        now = time.monotonic()
        self.running[trial_id] = RunningTrial(label, now, stage_started=now, last_line=now)
        if not self.console.is_terminal:
            self._say(f"started  {label}")

    def update(self, trial_id: str, stage: str, done: int, total: int, figures: dict[str, float]) -> None:
        trial = self.running.get(trial_id)
        if trial is None:
            return
        trial.update(stage, done, total, figures)
        now = time.monotonic()
        if not self.console.is_terminal and now - trial.last_line >= LINE_INTERVAL:
            trial.last_line = now
            self._say(f"running  {trial.label}: {trial.describe()}{_left(trial.seconds_left)}")

    def finish(self, trial_id: str, row: dict[str, Any]) -> None:
        trial = self.running.pop(trial_id, None)
        self.finished.append(time.monotonic())
        label = trial.label if trial else trial_id
        seconds = f" in {_duration(time.monotonic() - trial.started)}" if trial else ""
        outcome = headline(row) if row["status"] == "ok" else f"{row['status']}: {row['error']}"
        self._say(f"[{len(self.finished)}/{self.total}]  {label}{seconds}: {outcome}")

    def _say(self, line: str) -> None:
        say(self.console, line)

    def _table(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for trial in list(self.running.values()):
            bar = ProgressBar(total=trial.total, completed=trial.done, width=24)
            table.add_row(Text(trial.label), bar, Text(trial.describe()), Text(_left(trial.seconds_left).lstrip(", ")))
        elapsed = time.monotonic() - self.started
        line = f"{len(self.finished)} of {self.total} trials done, {len(self.running)} running, {_duration(elapsed)}"
        return Group(table, Text(line + self._sweep_left(), style="bold"))

    def _sweep_left(self) -> str:
        """From the pace of the finished trials; nothing before the first is done."""
        if not self.finished:
            return ""
        pace = (self.finished[-1] - self.started) / len(self.finished)
        return f", about {_duration(pace * (self.total - len(self.finished)))} left"


def say(console: Console, line: str) -> None:
    """One line as it is: not wrapped, and brackets are no markup."""
    console.print(Text(line), soft_wrap=True)


def print_progress(stage: str, done: int, total: int, **figures: float) -> None:
    """One line for every tenth of a stage."""
    if done == total or done % max(1, total // 10) == 0:
        print(
            f"  {stage} {done}/{total}" + "".join(f"  {name} {value:.4g}" for name, value in figures.items()),
            flush=True,
        )


def _left(seconds: float | None) -> str:
    return f", {_duration(seconds)} left" if seconds is not None else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
