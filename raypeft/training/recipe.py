"""How a model is trained, and the same training with less memory.

recipe = Recipe(method, seed=42, pad_token_id=0)
recipe.smaller.gradient_checkpointing
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raypeft.methods import TrainedMethod


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is trained: the method's own fields, and what trial, tokenizer and memory plan add to them."""

    method: TrainedMethod
    seed: int
    pad_token_id: int
    gradient_checkpointing: bool = False
    """Compute activations a second time in the backward pass rather than keep them."""
    micro_batch_size: int | None = None
    """Sum a batch's gradients over passes of so many examples: less memory for the same gradients. None: one pass."""
    as_paper: bool = False
    """Follow the paper's code (replication package, commits e7971c0 and 3b31320), which called Transformers 4: each
    accumulated batch weighs the same, the evaluation loss is a mean over batches, and the last steps, which no
    interval ends, are not evaluated."""
    graphs: bool = False
    """On a GPU, run passes as CUDA graphs where the model allows it (`raypeft.training.graphs`)."""

    @property
    def pass_size(self) -> int:
        """Number of examples in one forward and backward pass, at most."""
        return self.micro_batch_size or self.method.per_device_train_batch_size

    @property
    def eval_batch_size(self) -> int:
        return 2 * self.pass_size

    @property
    def smaller(self) -> Recipe | None:
        """The recipe of a training with the same gradients that needs less memory: activations are computed a second
        time, then passes are halved. None: there is none."""
        method = self.method
        if not self.gradient_checkpointing and method.gradient_checkpointing is None and method.checkpoints:
            return replace(self, gradient_checkpointing=True)
        return replace(self, micro_batch_size=-(-self.pass_size // 2)) if self.pass_size > 1 else None
