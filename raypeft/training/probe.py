"""Whether a method can train a loaded model at all, and in what memory, by a forward and a backward pass.

    check_trainable(model, prompts[:2], pad_token_id, "prefix_tuning")

Some classes of models fail only in the backward pass, and some never read the virtual tokens that are trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch

from raypeft.gpu import is_out_of_memory, within_memory
from raypeft.methods.optimizers import OPTIMIZERS
from raypeft.records import Prompt
from raypeft.training.batches import collate_for
from raypeft.training.losses import answer_loss
from raypeft.training.recipe import Recipe
from raypeft.training.step import checkpointing

MOST = 20_000_000
"""Parameters whose gradients are computed at most; those of a few tensors are enough."""


def check_trainable(model: Any, prompts: Sequence[Prompt], pad_token_id: int, method: str) -> None:
    """Raise ValueError, with the library's message in it, where training would fail or change nothing.

    `model` has the method's adapter. Leaves weights, gradients and the state of random numbers as they were.
    """
    model.train()
    parameters = [*_smallest(model)]
    try:
        with torch.random.fork_rng():
            loss = answer_loss(model, collate_for(model, prompts, pad_token_id))
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ValueError(f"{method} must be able to train a model of the type {model.config.model_type}, but a first "
                         f"pass fails: {type(error).__name__}: {str(error)[:300]}") from error  # fmt: skip
    if not math.isfinite(loss.item()):
        return  # the loop names the step
    if not any(gradient is not None and gradient.any() for gradient in gradients):
        raise ValueError(f"{method} must change what a model of the type {model.config.model_type} says, but no "
                         f"gradient reaches what it trains: the model does not read it")  # fmt: skip


def fitted(model: Any, train: Sequence[Prompt], recipe: Recipe) -> Recipe:
    """The recipe, or the first smaller one in which the longest batch fits the GPU. Leaves the model as it was.

    One forward and one backward pass are tried, beside as much memory as the optimiser will hold. Raises torch's error
    where nothing fits.
    """
    longest = sorted(train, key=len, reverse=True)
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    state = int(OPTIMIZERS[recipe.method.optim].state_bytes * trained)
    while True:
        smaller = recipe.smaller
        one_pass = partial(_one_pass, model, longest[: recipe.pass_size], recipe, state)
        if within_memory(one_pass, is_last=smaller is None) or smaller is None:
            return recipe
        recipe = smaller


def _one_pass(model: Any, batch: Sequence[Prompt], recipe: Recipe, state: int) -> bool:
    """Try a pass. True: it fits."""
    model.train()
    held = torch.empty(state, dtype=torch.uint8, device=model.device)
    try:
        with torch.random.fork_rng(), checkpointing(model, recipe.gradient_checkpointing):
            answer_loss(model, collate_for(model, batch, recipe.pad_token_id)).backward()
    finally:
        model.zero_grad()
        del held
    return True


def _smallest(model: Any) -> Iterator[torch.nn.Parameter]:
    """The smallest trained tensors, up to `MOST` parameters, and at least one."""
    total = 0
    for parameter in sorted((each for each in model.parameters() if each.requires_grad), key=torch.numel):
        total += parameter.numel()
        if total > MOST and total != parameter.numel():
            return
        yield parameter
