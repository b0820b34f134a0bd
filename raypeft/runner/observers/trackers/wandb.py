"""Weights & Biases: a project for each sweep, a run for each trial.

The key is that of `wandb login` or WANDB_API_KEY; WANDB_PROJECT, WANDB_ENTITY and WANDB_MODE=offline work as always.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from raypeft.runner.observers.trackers.backend import Run, Study

FAILED = 1
"""The exit code by which W&B marks a run as failed."""


class WeightsAndBiases:
    def __init__(self, study: Study) -> None:
        self.study = study

    def begin(self, run: Run) -> None:
        import wandb

        run.handle = wandb.init(
            project=os.environ.get("WANDB_PROJECT", self.study.name),
            id=self.study.run_id(run.trial),
            name=f"{run.label} {run.trial}",
            group=self.study.name,
            config={**run.params, "trial": run.trial, "results": self.study.place},
            resume="allow",
            reinit="create_new",  # several trials run at the same time
            settings=wandb.Settings(console="off", silent=True, init_timeout=30),
        )

    def log(self, run: Run, step: int, values: Mapping[str, float]) -> None:
        run.handle.log(dict(values), step=step)

    def end(self, run: Run, status: str, scores: Mapping[str, float]) -> None:
        run.handle.summary.update({"status": status, **{f"result/{name}": value for name, value in scores.items()}})
        run.handle.finish(exit_code=0 if status in ("ok", "pruned") else FAILED)

    def close(self) -> None:
        """Nothing: each run is finished at its trial's end."""
