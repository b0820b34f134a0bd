"""Experiment trackers: one file each, which makes a `Backend`; `reporter` runs one beside a sweep.

To add a tracker, write a file with a `Backend` here, and name it in `BACKENDS` and in `raypeft.study.trackers`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from raypeft.runner.observers.trackers.backend import Backend, Reporter, Study

BACKENDS = {"tensorboard": "TensorBoard", "mlflow": "MLflow", "wandb": "WeightsAndBiases"}
"""Name of a tracker, which is that of its file here -> its class."""


def reporter(name: str, study: Study, say: Callable[[str], None]) -> Reporter:
    """An observer that reports a sweep to a tracker. `say` is given a warning where the tracker does not answer."""

    def make() -> Backend:
        found: Any = getattr(import_module(f"{__name__}.{name}"), BACKENDS[name])
        return found(study)

    return Reporter(name, make, say, study.row)
