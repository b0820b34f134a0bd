"""The loss of answers: of a batch for training, of a split, of single examples.

    answer_loss(model, collate_for(model, prompts, pad_token_id))

The vocabulary's logits are computed only where some example of the batch has an answer token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from raypeft.gpu import batches_within_memory, half
from raypeft.models import virtual_tokens
from raypeft.records import Prompt
from raypeft.training.batches import IGNORED, collate_for


def answer_tokens(prompts: Sequence[Prompt]) -> int:
    """How many tokens of the prompts' answers carry a loss."""
    return sum(len(prompt.answer_ids) for prompt in prompts)


@torch.inference_mode()
def evaluate(model: Any, pad_token_id: int, prompts: Sequence[Prompt], batch_size: int) -> float:
    """Mean loss over all answer tokens of `prompts`, in nats per token. Raises what `batches_within_memory` raises."""
    model.eval()

    def loss(batch: Sequence[Prompt]) -> float:
        return answer_loss(model, collate_for(model, batch, pad_token_id)).item()

    losses = batches_within_memory(sorted(prompts, key=len), batch_size, loss)
    return sum(found for _, found in losses) / answer_tokens(prompts)


@torch.inference_mode()
def example_losses(
    model: Any, pad_token_id: int, prompts: Sequence[Prompt], batch_size: int
) -> list[tuple[float, int]]:
    """For each prompt the sum of its answer tokens' losses, in nats, and their number.

    Raises what `batches_within_memory` raises.
    """
    model.eval()

    def losses(places: Sequence[int]) -> list[float]:
        return _losses(model, [prompts[place] for place in places], pad_token_id)

    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    by_place = {place: loss for places, found in batches_within_memory(order, batch_size, losses)
                for place, loss in zip(places, found, strict=True)}  # fmt: skip
    return [(by_place[place], len(prompt.answer_ids)) for place, prompt in enumerate(prompts)]


def _losses(model: Any, batch: Sequence[Prompt], pad_token_id: int) -> list[float]:
    """The sum of the answer tokens' losses of each example of a batch, in nats."""
    logits, targets = answer_logits(model, collate_for(model, batch, pad_token_id))
    losses = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
    return losses.view(targets.shape).sum(dim=1).tolist()


def answer_loss(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Sum over the batch of the answer tokens' negative log-likelihood, in nats."""
    logits, targets = answer_logits(model, batch)
    return summed_loss(logits, targets)


def summed_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The negative log-likelihoods of targets (batch, positions) that are answer tokens, summed, in nats."""
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")


def answer_positions(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The columns before an answer token of some row, and what stands there, (batch, positions), of labels of a
    decoder."""
    targets = labels[:, 1:]
    positions = (targets != IGNORED).any(dim=0).nonzero().squeeze(1)
    return positions, targets[:, positions]


def answer_logits(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (batch, positions, vocabulary) in float32, and targets (batch, positions), where there is an answer.

    Of a decoder, logits are asked for only at the positions before some example's answer token (`logits_to_keep`): the
    vocabulary's projection is a fifth of a small model's work and, in float32, most of its activation memory. An
    encoder-decoder's decoder reads nothing but answers.
    """
    inputs: dict[str, Any] = dict(batch)
    targets = inputs.pop("labels")
    if not model.config.is_encoder_decoder:
        positions, targets = answer_positions(targets)
        inputs["logits_to_keep"] = positions + virtual_tokens.in_logits(model)
    return logits_of(model, inputs), targets


def logits_of(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """The logits in float32 that `model` gives for its inputs, which carry no labels."""
    if not virtual_tokens.needs_cache(model):
        inputs = {**inputs, "use_cache": False}
    device = model.device.type
    # On a GPU the matrix products run in 16 bits; adapters and fully tuned weights stay in float32. A graph must not
    # hold on to copies of weights that autocast made before it.
    keeps = device == "cpu" or not torch.cuda.is_current_stream_capturing()
    dtype = half() if device == "cuda" else None
    with torch.autocast(device, dtype=dtype, enabled=device == "cuda", cache_enabled=keeps):
        output = model(**inputs)
    return output.logits.float()
