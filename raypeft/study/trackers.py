"""The experiment trackers that a sweep may report to (`report_to`), by the names that transformers.Trainer has.

Their own code is in `raypeft.runner.observers.trackers`; planning only asks whether the package is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any, Literal

Tracker = Literal["tensorboard", "mlflow", "wandb"]
PACKAGES: dict[str, str] = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "wandb": "wandb"}
"""Name of a tracker -> the package that it needs. An extra of raypeft has the tracker's name."""


def read_report_to(value: Any) -> Any:
    """A single name stands for a list of one; `none` for no tracker, as in Transformers."""
    if value in (None, "none", ["none"]):
        return ()
    return [value] if isinstance(value, str) else value


def missing_packages(names: Iterable[Any]) -> Iterator[str]:
    """For each named tracker whose package is not installed, what to do."""
    for name in names:
        if name in PACKAGES and find_spec(PACKAGES[name]) is None:
            yield f"{name} needs the package {PACKAGES[name]}, which is not installed: pip install 'raypeft[{name}]'"
