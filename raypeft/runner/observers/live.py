"""The live table of a running sweep, on a terminal."""

from __future__ import annotations

import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raypeft.runner.observers.view import SweepView, duration, time_left


class LiveView(SweepView):
    """Draws a progress bar for each running trial, four times a second."""

    def __init__(self, total: int, console: Console) -> None:
        super().__init__(total, console)
        self.live = Live(get_renderable=self._table, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveView:
        self.live.start()
        return self

    def close(self) -> None:
        self.live.stop()

    def _table(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for trial in list(self.running.values()):
            bar = ProgressBar(total=trial.total, completed=trial.done, width=24)
            left = time_left(trial.seconds_left).lstrip(", ")
            table.add_row(Text(trial.label), bar, Text(trial.describe()), Text(left))
        elapsed = time.monotonic() - self.started
        line = f"{len(self.finished)} of {self.total} trials done, {len(self.running)} running, {duration(elapsed)}"
        return Group(table, Text(line + self._sweep_left(), style="bold"))

    def _sweep_left(self) -> str:
        """Estimated time to the end of the sweep, from its finished trials. Empty before the first one is done."""
        if not self.finished:
            return ""
        pace = (self.finished[-1] - self.started) / len(self.finished)
        return f", about {duration(pace * (self.total - len(self.finished)))} left"
