"""The optimisers of training, one record each.

    OPTIMIZERS["adafactor"].make(parameters, lr=3e-4, weight_decay=0.0)

An optimiser is one entry of `OPTIMIZERS`, under the name that a sweep gives in the field `optim`; nothing else in
raypeft tests that name. Libraries are imported only when one is made, so that planning stays free of torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from raypeft.mistakes import must_be_one_of

if TYPE_CHECKING:
    from torch.nn import Parameter


class MakeOptimizer(Protocol):
    """Makes the `torch.optim.Optimizer` of some parameters; a class of torch's own will do as it is."""

    def __call__(self, parameters: list[Parameter], /, *, lr: float, weight_decay: float) -> Any: ...


@dataclass(frozen=True, slots=True)
class Optimizer:
    """What planning and training know of an optimiser."""

    name: str
    """As in `transformers.TrainingArguments.optim`, where it is known there."""
    description: str
    state_bytes: float
    """Bytes of state on the GPU for a trained parameter."""
    make: MakeOptimizer


def _adafactor(parameters: list[Parameter], /, *, lr: float, weight_decay: float) -> Any:
    from transformers.optimization import Adafactor

    return Adafactor(parameters, lr=lr, weight_decay=weight_decay, scale_parameter=False, relative_step=False)


def _adamw(parameters: list[Parameter], /, *, lr: float, weight_decay: float) -> Any:
    from torch.optim import AdamW

    return AdamW(parameters, lr=lr, weight_decay=weight_decay)


def _adamw_8bit(parameters: list[Parameter], /, *, lr: float, weight_decay: float) -> Any:
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(parameters, lr=lr, weight_decay=weight_decay)


def _paged_adamw_8bit(parameters: list[Parameter], /, *, lr: float, weight_decay: float) -> Any:
    from bitsandbytes.optim import PagedAdamW8bit

    return PagedAdamW8bit(parameters, lr=lr, weight_decay=weight_decay)


OPTIMIZERS: dict[str, Optimizer] = {
    optimizer.name: optimizer
    for optimizer in (
        # Adafactor keeps sums of rows and columns only.
        Optimizer(
            "adafactor", "Adafactor without scale_parameter and relative_step, as in the paper's code", 0.1, _adafactor
        ),
        Optimizer("adamw_torch", "AdamW of torch", 8.0, _adamw),
        Optimizer("adamw_8bit", "AdamW of bitsandbytes with 8-bit states", 2.1, _adamw_8bit),
        # Paged states leave the GPU when something else needs the memory.
        Optimizer(
            "paged_adamw_8bit",
            "8-bit AdamW whose states move to CPU memory when GPU memory runs short",
            0.0,
            _paged_adamw_8bit,
        ),
    )
}


def known_optimizer(name: Any) -> Any:
    """The name itself, for pydantic to go on with. Raises ValueError, with the known names, for any other value."""
    if name not in list(OPTIMIZERS):
        raise ValueError(must_be_one_of(OPTIMIZERS, name))
    return name
