"""What a running trial says of itself, as a stream of typed events. It is whole: whoever shows it thins it out.

    def listener(event: Event) -> None:
        if isinstance(event, Evaluated):
            print(event.step, event.eval_loss)

A trial tells its events to one `Listener`, in order and in its own process. `raypeft.runner.observers` has the readers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Started:
    """A trial begins."""

    label: str
    """A short name for people."""
    fields: Mapping[str, Any]
    """The trial's fields, by the names of their columns."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of the trial begins (`done` is 0) or has come this far."""

    name: str
    """One of `raypeft.trial.stages.STAGES`."""
    done: int = 0
    total: int = 1
    """Steps, examples or programs, whatever the stage counts."""


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser step is done."""

    step: int
    """Counted from 1."""
    total: int
    loss: float
    """Of the step's batch, in nats per answer token."""
    learning_rate: float


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One look at the validation split. Losses are in nats per answer token."""

    step: int
    epoch: float
    train_loss: float
    """Mean over the steps since the evaluation before."""
    eval_loss: float
    learning_rate: float
    seconds: float
    """Since the start of training, evaluations included."""


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that a user should know, and that is no fault: a checkpoint that is used, or left out."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A trial is over, whatever came of it."""

    row: Mapping[str, Any]
    """Its row of results."""


Event = Started | Stage | Step | Evaluated | Noted | Finished
Listener = Callable[[Event], None]


class Pruned(Exception):
    """Raised by a listener that ends a training early. The trial is over, with a row of what it has measured so far."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.measured: dict[str, Any] = {}
        """What was measured until then, by column."""


KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Started, Stage, Step, Evaluated, Noted, Finished)}


def ignore(event: Event) -> None:
    """A `Listener` for callers that do not watch."""


def to_plain(event: Event) -> dict[str, Any]:
    """The event as plain data, for another process."""
    return {"event": type(event).__name__, **asdict(event)}


def from_plain(plain: Mapping[str, Any]) -> Event:
    """The event that `to_plain` made plain. Raises KeyError for a kind of event that is not known here."""
    fields = {name: value for name, value in plain.items() if name != "event"}
    return KINDS[plain["event"]](**fields)
