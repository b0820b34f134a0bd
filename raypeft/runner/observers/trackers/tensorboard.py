"""TensorBoard, by tensorboardX, which needs no TensorFlow: a folder of events for each trial.

tensorboard --logdir results/rq2/tensorboard
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from raypeft.markdown import markdown_table
from raypeft.runner.observers.trackers.backend import ReportedSweep, Run


class TensorBoard:
    """Writes into `tensorboard/` of the results folder, or into `runs/` where results are at a URL."""

    def __init__(self, sweep: ReportedSweep, say: Callable[[str], None]) -> None:
        is_local = "://" not in sweep.results
        self.folder = Path(sweep.results).expanduser() / "tensorboard" if is_local else Path("runs") / sweep.name
        self.sweep = sweep

    def begin(self, run: Run) -> None:
        from tensorboardX import SummaryWriter

        run.handle = SummaryWriter(str(self.folder / run.trial), flush_secs=10)
        links = {name: f"[{url}]({url})" for name, url in self.sweep.links.items()}
        told = {"trial": run.trial, **run.params, **links}
        run.handle.add_text("trial", "\n".join(markdown_table(("field", "value"), told.items())))

    def log(self, run: Run, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            run.handle.add_scalar(name, value, step)

    def end(self, run: Run, status: str, scores: Mapping[str, float]) -> None:
        for name, value in scores.items():
            run.handle.add_scalar(f"result/{name}", value, run.step)
        run.handle.add_text("status", status)
        kept = {name: value if isinstance(value, (bool, int, float, str)) else str(value)
                for name, value in run.params.items()}  # fmt: skip
        # The parallel coordinates of the tab HParams.
        run.handle.add_hparams(kept, {f"result/{name}": value for name, value in scores.items()}, name="hparams")
        run.handle.close()

    def interrupt(self, run: Run) -> None:
        run.handle.close()

    def close(self) -> None:
        """Nothing: each trial's file is closed at its end."""


BACKEND = TensorBoard
