"""Trackio: a project for each sweep, a run for each trial, in a database on this machine.

    trackio show --project rq2

TRACKIO_DIR, TRACKIO_SPACE_ID and TRACKIO_SERVER_URL work as always. A Space that has to be made is a private one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any

from raypeft.runner.observers.trackers.backend import ReportedSweep, Run


class Trackio:
    def __init__(self, sweep: ReportedSweep, say: Callable[[str], None]) -> None:
        import trackio

        for module in (trackio, trackio.run, trackio.utils):
            # It has no option to be quiet, and this thread must not turn the output of the others away.
            module.print = _silent
        self.sweep, self.project = sweep, os.environ.get("TRACKIO_PROJECT", sweep.name)

    def begin(self, run: Run) -> None:
        import trackio

        # In a context of its own: Trackio ends the run that it began before in the same one.
        run.handle = Context().run(
            trackio.init,
            self.project,
            name=f"{run.label} {run.trial}",
            group=self.sweep.name,
            config={**run.params, "trial": run.trial, **self.sweep.links},
            resume="allow",
            private=True,
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, run: Run, step: int, values: Mapping[str, float]) -> None:
        run.handle.log(dict(values), step=step)

    def end(self, run: Run, status: str, scores: Mapping[str, float]) -> None:
        values: dict[str, Any] = {f"result/{name}": value for name, value in scores.items()}
        run.handle.log({**values, "status": status}, step=run.step)
        run.handle.finish()

    def interrupt(self, run: Run) -> None:
        run.handle.finish()

    def close(self) -> None:
        """Nothing: each run is finished at its trial's end."""


def _silent(*args: Any, **kwargs: Any) -> None:
    """In the place of `print`."""


BACKEND = Trackio
