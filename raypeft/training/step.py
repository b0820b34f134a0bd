"""One step of an optimiser: the gradients of a batch, clipped, and the schedule; and how activations are kept.

optimizer, scheduler = make_optimizer(model, method, total_steps)
passes = Passes(model, collate)
optimise_step(passes, passes.add_gradients([batch]), optimizer, method.max_grad_norm)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch

from raypeft.gpu import half
from raypeft.methods.optimizers import OPTIMIZERS
from raypeft.records import Prompt
from raypeft.training.losses import answer_loss, answer_tokens

if TYPE_CHECKING:
    from raypeft.methods import TrainedMethod


@contextmanager
def checkpointing(model: Any, enabled: bool) -> Iterator[None]:
    """Compute activations a second time in the backward pass rather than keep them."""
    if enabled:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    try:
        yield
    finally:
        if enabled:
            model.gradient_checkpointing_disable()


def make_optimizer(model: torch.nn.Module, method: TrainedMethod, total_steps: int) -> tuple[Any, Any]:
    """The optimiser of a model's trained parameters and its learning-rate schedule, as `transformers.Trainer` makes
    them from the same fields: weights decay, biases and norms do not. Parameters of one learning rate and decay are a
    group, those of the method's own the first.
    """
    from transformers import get_scheduler

    decaying = _decaying(model) if method.weight_decay else set()
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {(method.learning_rate, method.weight_decay): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = method.learning_rate_of(name, parameter), method.weight_decay if name in decaying else 0.0
            groups.setdefault(key, []).append(parameter)
    optimizer = OPTIMIZERS[method.optim].make(
        [
            {"params": parameters, "lr": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
            if parameters
        ],
        lr=method.learning_rate,
        weight_decay=method.weight_decay,
    )
    warmup = method.warmup_steps if method.warmup_steps >= 1 else math.ceil(total_steps * method.warmup_steps)
    scheduler = get_scheduler(
        method.lr_scheduler_type, optimizer, num_warmup_steps=int(warmup), num_training_steps=total_steps
    )
    return optimizer, scheduler


def _decaying(model: torch.nn.Module) -> set[str]:
    """The names of the parameters that `weight_decay` makes smaller."""
    from transformers import Trainer  # takes a second to import

    return {*Trainer.get_decay_parameter_names(cast("Trainer", None), model)}  # it does not ask for itself


LEAST_SCALE = 2.0**-10
"""A scaler that has come down to this finds no gradient finite."""


def make_scaler(device: Any) -> torch.amp.GradScaler:
    """What makes gradients large enough for float16, on a GPU that computes in it; elsewhere it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=device.type == "cuda" and half() == torch.float16)


class Passes:
    """Forward and backward passes over batches, as PyTorch runs them: one operation after the other."""

    keeps_gradients: ClassVar[bool] = False
    """Whether gradients must stay in the same tensors from step to step."""

    def __init__(
        self,
        model: Any,
        collate: Callable[[Sequence[Prompt]], dict[str, torch.Tensor]],
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        """`collate` makes the model's inputs of a batch. `scaler` None: gradients are computed as they are."""
        self.model, self.collate = model, collate
        self.scaler = scaler or torch.amp.GradScaler(enabled=False)
        self.graphed = 0
        """Passes that ran as CUDA graphs."""

    def __call__(self, batch: Sequence[Prompt], divisor: float) -> torch.Tensor:
        """Add the gradients of the batch's summed loss over `divisor`, as large as the scaler makes them, to those that
        there are; that loss, in nats."""
        loss = answer_loss(self.model, self.collate(batch)) / divisor
        self.scaler.scale(loss).backward()
        return loss.detach()

    def add_gradients(
        self, batches: Sequence[Sequence[Prompt]], divisors: float | Sequence[float] | None = None
    ) -> float:
        """Add the gradients of one or more accumulated batches; the mean loss of their answer tokens, in nats.

        The model must be in training mode. The loss that is minimised is the sum over the answer tokens, divided by
        `divisors` (None: by their number). With one divisor for each batch, the loss that is minimised is what is
        returned.
        """
        number, total = sum(map(answer_tokens, batches)), 0.0
        each = divisors if isinstance(divisors, Sequence) else [divisors or number] * len(batches)
        for batch, divisor in zip(batches, each, strict=True):
            total += self(batch, divisor).item()
        return total * divisors / number if isinstance(divisors, float) else total

    @property
    def holds_graphs(self) -> bool:
        """Whether memory is held by passes that were recorded."""
        return False

    def close(self) -> None:
        """Give memory back that passes held."""


def optimise_step(passes: Passes, loss: float, optimizer: torch.optim.Optimizer, max_grad_norm: float) -> bool:
    """One step with the gradients that `passes` have added up, of a loss that is `loss`. False: it was left out.

    Raises FloatingPointError where the loss has no finite gradient. With a scaler the step is then left out, and later
    gradients are scaled less (Micikevicius et al., arXiv 1710.03740, section 3.2), until the scale is below
    `LEAST_SCALE`.
    """
    scaler = passes.scaler
    scaler.unscale_(optimizer)
    trainable = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(trainable, max_grad_norm).item()
    overflows = not math.isfinite(norm)  # also where the sum of finite squares does
    if overflows and scaler.is_enabled() and scaler.get_scale() > LEAST_SCALE:
        scaler.update(scaler.get_scale() / 2)
    elif overflows and math.isfinite(loss):
        raise FloatingPointError(f"the norm of the gradients must be finite but is {norm}")
    else:
        scaler.step(optimizer)
        scaler.update()
    optimizer.zero_grad(set_to_none=not passes.keeps_gradients)
    return not overflows
