"""The optimisers, one record each.

    OPTIMIZERS["adafactor"].make([{"params": parameters}], lr=3e-4, weight_decay=0.0)

To add an optimiser, add an entry to `OPTIMIZERS`. Its name is a value of the field `optim`; no other code of raypeft
depends on it. Libraries are imported only when an optimiser is made, so planning does not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from raypeft.mistakes import must_be_one_of

Groups = list[dict[str, Any]]
"""Groups of parameters as `torch.optim` takes them, each with its learning rate."""


class MakeOptimizer(Protocol):
    """A function that makes a `torch.optim.Optimizer` for some parameters. The class itself fits as well."""

    def __call__(self, groups: Groups, /, *, lr: float, weight_decay: float) -> Any: ...


@dataclass(frozen=True, slots=True)
class Optimizer:
    """An optimiser, as planning and training need it."""

    name: str
    """The name in `transformers.TrainingArguments.optim`, if it has one there."""
    description: str
    state_bytes: float
    """Bytes of optimiser state on the GPU for each trained parameter."""
    make: MakeOptimizer
    leaves_memory: bool = False
    """Whether its states stay where they are until the process ends, also once the optimiser is gone."""


def _adafactor(groups: Groups, /, *, lr: float, weight_decay: float) -> Any:
    from raypeft.methods.adafactor import StackedAdafactor

    return StackedAdafactor(groups, lr=lr, weight_decay=weight_decay)


def _adamw(groups: Groups, /, *, lr: float, weight_decay: float) -> Any:
    from torch.optim import AdamW

    return AdamW(groups, lr=lr, weight_decay=weight_decay)


def _adamw_8bit(groups: Groups, /, *, lr: float, weight_decay: float) -> Any:
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(groups, lr=lr, weight_decay=weight_decay)


def _paged_adamw_8bit(groups: Groups, /, *, lr: float, weight_decay: float) -> Any:
    from bitsandbytes.optim import PagedAdamW8bit

    return PagedAdamW8bit(groups, lr=lr, weight_decay=weight_decay)


OPTIMIZERS: dict[str, Optimizer] = {
    optimizer.name: optimizer
    for optimizer in (
        # Adafactor stores only sums of rows and columns.
        Optimizer(
            "adafactor", "Adafactor without scale_parameter and relative_step, as in the paper's code", 0.1, _adafactor
        ),
        Optimizer("adamw_torch", "AdamW of torch", 8.0, _adamw),
        Optimizer("adamw_8bit", "AdamW of bitsandbytes with 8-bit states", 2.1, _adamw_8bit),
        # Paged states leave the GPU when something else needs the memory. bitsandbytes asks the driver for it, past
        # PyTorch's cap and peaks, and never gives it back.
        Optimizer(
            "paged_adamw_8bit",
            "8-bit AdamW whose states move to CPU memory when GPU memory runs short",
            0.0,
            _paged_adamw_8bit,
            leaves_memory=True,
        ),
    )
}


def known_optimizer(name: Any) -> Any:
    """Validate the name of an optimiser for pydantic. Raises ValueError that lists the known names."""
    if name not in list(OPTIMIZERS):
        raise ValueError(must_be_one_of(OPTIMIZERS, name))
    return name
