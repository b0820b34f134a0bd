"""The state of a training: saved every few minutes, taken up again as if nothing had been in between.

    checkpoints = Checkpoints(place, {"seed": "42", "torch_version": "2.13"})
    Training(model, train, recipe).run(validation, checkpoints=checkpoints)

All that later steps depend on is in it: the trained weights, optimiser, schedule, random states, the number of steps
(which gives the place in the batches), the best weights so far and the losses. A training that goes on therefore ends
with the weights of one that never stopped, bit for bit on the same machine. A checkpoint is read by `torch.load` with
`weights_only`, so that a results folder from elsewhere runs no code.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from raypeft.events import Evaluated
from raypeft.gpu import larger_peak, peak_now_gb
from raypeft.stopping import Stop

if TYPE_CHECKING:
    from raypeft.training.loop import Training

State = dict[str, Any]
MINUTES = 5.0
COST = 50
"""Time between two checkpoints, in times of what the last one took: they cost no more than 2 % of the training."""
AT_EVALUATIONS = 0.5
"""Share of the interval after which an evaluation is followed by a checkpoint, so that it need not be repeated."""
WORTH_KEEPING = 0.1
"""Share of the interval from which the end of a training is saved: shorter ones are repeated instead."""
MEASURED = ("best_eval_loss", "best_step", "steps", "tokens", "train_seconds", "eval_seconds", "trained_tensors",
            "unchanged_tensors", "packed", "graphed")  # fmt: skip
"""Fields of a `TrainingResult` that are saved as they are. Losses on the test split are measured after the training."""

SAVES_MEMORY = ("gradient_checkpointing", "micro_batch_size")
"""Fields of a `Recipe` that change where memory runs out while it is followed."""

WHOLE_NUMBERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Bytes of a value -> type of the whole number of the same bits."""
BLOCK = 1 << 22
"""Values that are added up at once, so that a large tensor needs no second copy of itself: 64 MiB beside it."""


class Place(Protocol):
    """Where the one checkpoint of a training is kept."""

    owner: str
    """Who saves it."""
    is_awaited: bool
    """Whether others wait for the end of the training, which is then saved however short it was."""

    def exists(self) -> bool: ...

    def reading(self) -> AbstractContextManager[Any]:
        """A binary stream that can seek."""

    def writing(self) -> AbstractContextManager[Any]:
        """A binary stream. What is written replaces the checkpoint before in one step, when the block ends well."""


class Checkpoints:
    """When a training is saved, and what it may go on from."""

    def __init__(
        self,
        place: Place | None,
        made_by: Mapping[str, str],
        minutes: float | None = MINUTES,
        stop: Stop | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`made_by` names all that must be the same in a training that goes on: fields, data, code, versions.

        `minutes` is the least time between two checkpoints; 0 saves after every step, None never. `stop` is polled
        after each step. `say` is told in words what a user should know.
        """
        self.place = None if minutes is None else place
        self.made_by, self.seconds, self.stop, self.say = dict(made_by), 60 * (minutes or 0.0), stop or Stop(), say
        self.saved_at = time.monotonic()
        self.cost = 0.0
        """Seconds that the last checkpoint took."""

    def load(self, training: Training) -> State | None:
        """The state to go on from; None, and a word on why, where there is none that fits the training."""
        self.saved_at = time.monotonic()
        if self.place is None or not self.place.exists():
            return None
        try:
            with self.place.reading() as stream:
                state: State = torch.load(stream, map_location="cpu", weights_only=True)
            problem = self._refusal(state, training)
        except Exception as error:  # a damaged file fails in many ways, and none of them may end the trial
            problem = f"it cannot be read ({type(error).__name__}: {str(error)[:200]})"
        if problem:
            self.say(f"a checkpoint is left out: {problem}; the training starts anew")
            return None
        if state["is_trained"] and state["owner"] != self.place.owner:
            training.result.trained_by = state["owner"]
            self.say(f"the training is that of {state['owner']}")
        else:
            self.say(f"the training goes on from its checkpoint at step {state['result']['steps']} "
                     f"of {training.total_steps}")  # fmt: skip
        return state

    def _refusal(self, state: State, training: Training) -> str | None:
        """Why a state does not belong to a training; None if it does."""
        theirs = state["made_by"]
        for name in sorted(theirs.keys() | self.made_by.keys()):
            if theirs.get(name) != self.made_by.get(name):
                return f"its {name} is {theirs.get(name)} where it is now {self.made_by.get(name)}"
        if state["shapes"] != _shapes(training.trainable):
            return "its weights have other shapes"
        if state["at_first"] != training.at_first:
            return "its training began with other weights"
        return None

    def after_step(self, training: Training, evaluated: bool) -> None:
        """Save the training if it is time to. Saves and raises Stopped if it was told to stop."""
        if not training.result.steps:
            self.stop.check()
            return
        if self.stop.number is not None:
            self.save(training)
            self.stop.check()
        elapsed = time.monotonic() - self.saved_at
        least = max(self.seconds, COST * self.cost) if self.seconds else 0.0
        if elapsed >= least * (AT_EVALUATIONS if evaluated else 1):
            self.save(training)

    def after_training(self, training: Training) -> None:
        """Save the weights, so that what follows can be repeated without training."""
        is_awaited = self.place is not None and self.place.is_awaited
        if is_awaited or time.monotonic() - self.saved_at >= WORTH_KEEPING * self.seconds:
            self.save(training)

    def save(self, training: Training) -> None:
        """Write a checkpoint in place of the one before. One that cannot be written costs a word and nothing else."""
        if self.place is None:
            return
        started = time.monotonic()
        try:
            with self.place.writing() as stream:
                torch.save(state_of(training) | {"made_by": self.made_by, "owner": self.place.owner}, stream)
        except (OSError, RuntimeError) as error:  # torch wraps the stream's errors
            self.say(f"a checkpoint of step {training.result.steps} cannot be written ({str(error)[:200]}); "
                     f"the training goes on")  # fmt: skip
        self.saved_at = time.monotonic()
        self.cost = self.saved_at - started


NO_CHECKPOINTS = Checkpoints(None, {})


def state_of(training: Training) -> State:
    """All that the rest of a training depends on, as tensors and plain values; at its end the weights alone."""
    result = training.result
    best_is_now = not training.best_weights or result.best_step == result.steps
    state: State = {
        "weights": [_alone(parameter.detach()) for parameter in training.trainable],
        "shapes": _shapes(training.trainable),
        "best_weights": None if best_is_now else training.best_weights,
        "at_first": training.at_first,
        "recipe": {name: getattr(training.recipe, name) for name in SAVES_MEMORY},
        "result": {name: getattr(result, name) for name in MEASURED},
        "evaluations": [asdict(each) for each in result.evaluations],
        "losses": training.losses,
        "learning_rate": training.learning_rate,
        "seconds": time.perf_counter() - training.started,
        "is_trained": training.is_trained,
        "peak_memory_gb": larger_peak(result.peak_memory_gb, peak_now_gb()),
    }
    if not training.is_trained:
        state["optimizer"] = training.optimizer.state_dict()
        state["scheduler"] = training.scheduler.state_dict()
        state["scaler"] = training.scaler.state_dict()
        state["random"] = random_state()
    return state


def restore(training: Training, state: State) -> None:
    """Bring a training that has not begun into a state of `state_of`."""
    result, measured = training.result, dict(state["result"])
    for name in MEASURED:
        setattr(result, name, measured[name])
    training.recipe = replace(training.recipe, **state["recipe"])
    result.evaluations = [Evaluated(**each) for each in state["evaluations"]]
    result.resumed_from_step = result.steps
    result.earlier_seconds = result.train_seconds + result.eval_seconds
    training.losses, training.learning_rate = list(state["losses"]), state["learning_rate"]
    training.started = time.perf_counter() - state["seconds"]
    training.is_trained, result.peak_memory_gb = state["is_trained"], state["peak_memory_gb"]
    with torch.no_grad():
        for parameter, weight in zip(training.trainable, state["weights"], strict=True):
            parameter.copy_(weight)
    if state["best_weights"] is not None:
        training.best_weights = state["best_weights"]
    elif result.evaluations:
        training.best_weights = state["weights"]
    if state["is_trained"]:
        return
    training.optimizer.load_state_dict(state["optimizer"])
    training.scheduler.load_state_dict(state["scheduler"])
    if state["scaler"]:
        training.scaler.load_state_dict(state["scaler"])
    set_random_state(state["random"])


def random_state() -> State:
    """The states of all generators of random numbers that a library may draw from."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (kind, keys.tolist(), position, has_gauss, gauss),  # type: ignore[union-attr]
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: State) -> None:
    """What `random_state` gave; of GPUs as many as there are now."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    for index, each in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(each, index)


def fingerprints(parameters: Sequence[torch.nn.Parameter]) -> list[tuple[int, int]]:
    """For each tensor two sums that a change of its values, or of their order, changes. They are exact, so they do not
    depend on the number of threads that add up."""
    return [_fingerprint(each.detach()) for each in parameters]


def _fingerprint(tensor: torch.Tensor) -> tuple[int, int]:
    """The sums of a tensor's bits as whole numbers, plain and weighted by their places, up to multiples of 2**64."""
    bits = tensor.reshape(-1).view(WHOLE_NUMBERS[tensor.element_size()])
    total = weighted = 0
    for number, block in enumerate(bits.split(BLOCK)):
        places = torch.arange(1, len(block) + 1, device=block.device)
        plain = int(block.sum())
        total += plain
        weighted += int((block * places).sum()) + number * BLOCK * plain
    return total, weighted


def _alone(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor with memory of its own: `torch.save` writes all of the memory that a tensor is a part of."""
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _shapes(parameters: Sequence[torch.nn.Parameter]) -> list[list[int]]:
    return [list(each.shape) for each in parameters]
