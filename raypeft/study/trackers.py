"""The experiment trackers that a sweep may report to (`report_to`), by the names that transformers.Trainer has.

To add one, write `raypeft/runner/observers/trackers/NAME.py` with a `Backend` called `BACKEND`, and name it in
`TRACKERS`. Planning only asks whether its package is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal


@dataclass(frozen=True, slots=True)
class Entry:
    name: str
    package: str
    """What must be installed, as it is imported."""
    extra: str
    """The extra of raypeft that installs it."""


TRACKERS = (
    Entry("tensorboard", "tensorboardX", "tensorboard"),
    Entry("mlflow", "mlflow", "mlflow"),
    Entry("wandb", "wandb", "wandb"),
    Entry("trackio", "trackio", "trackio"),
)
NAMES = ", ".join(each.name for each in TRACKERS)

if TYPE_CHECKING:
    Tracker = str
else:
    Tracker = Literal[tuple(each.name for each in TRACKERS)]
    """The name of a tracker, as pydantic checks it."""


def read_report_to(value: Any) -> Any:
    """A single name stands for a list of one; `none` for no tracker, as in Transformers."""
    if value in (None, "none", ["none"]):
        return ()
    return [value] if isinstance(value, str) else value


def missing_packages(names: Iterable[Any]) -> Iterator[str]:
    """For each named tracker whose package is not installed, what to do."""
    for each in TRACKERS:
        if each.name in names and find_spec(each.package) is None:
            yield (f"{each.name} needs the package {each.package}, which is not installed: "
                   f"pip install 'raypeft[{each.extra}]'")  # fmt: skip
