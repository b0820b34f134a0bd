"""Packing: the examples of a batch one behind the other in long rows, where padding would cost as much as a third.

    if can_pack(model, prompts, pad_token_id):
        batch = collate_packed(prompts, pad_token_id, model.device)

Each example has positions from 0 on, by which Transformers keeps the examples of a row apart
(`masking_utils.find_packed_sequence_indices`). Not every class of models asks it to, so a training tries it first.
Losses and gradients are those of padded batches, up to rounding and the masks of dropout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from raypeft.gpu import is_out_of_memory
from raypeft.models import virtual_tokens
from raypeft.records import Prompt
from raypeft.training.batches import IGNORED, collate
from raypeft.training.losses import answer_logits

ROW_TOKENS = 512
"""Rows are about so long, or as long as the longest example. Attention compares all tokens of a row: in longer rows it
would cost more than padding does. At 512 tokens it is a tenth of the work of the smallest models that people tune."""


def collate_packed(
    prompts: Sequence[Prompt], pad_token_id: int, device: Any, multiple: int = 1
) -> dict[str, torch.Tensor]:
    """`input_ids`, `position_ids` and `labels`, each (rows, length); prompts carry no loss.

    The length is that of the longest row, rounded up to a `multiple` of so many tokens. No prompt may be empty: the
    first token of an example follows the last of another.
    """
    return _tensors(rows_of(prompts), pad_token_id, device, multiple)


def rows_of(prompts: Sequence[Prompt]) -> list[list[Prompt]]:
    """The examples in rows, so that there is least padding; padded one by one they are never less."""
    by_length = sorted(prompts, key=len, reverse=True)
    fewest = math.ceil(sum(map(len, prompts)) / max(ROW_TOKENS, len(by_length[0])))
    ways = (_spread(by_length, count) for count in range(fewest, len(prompts) + 1))
    return min(ways, key=lambda rows: len(rows) * _longest(rows))


def _spread(by_length: Sequence[Prompt], count: int) -> list[list[Prompt]]:
    """So many rows of about one length: the longest example first, each to the shortest row (LPT; Graham 1969)."""
    rows: list[list[Prompt]] = [[] for _ in range(count)]
    for prompt in by_length:
        min(rows, key=lambda row: sum(map(len, row))).append(prompt)
    return rows


def _longest(rows: Sequence[Sequence[Prompt]]) -> int:
    """Tokens of the longest row."""
    return max(sum(map(len, row)) for row in rows)


def _tensors(
    rows: Sequence[Sequence[Prompt]], pad_token_id: int, device: Any, multiple: int = 1
) -> dict[str, torch.Tensor]:
    longest = -(-_longest(rows) // multiple) * multiple
    columns: dict[str, list[list[int]]] = {"input_ids": [], "position_ids": [], "labels": []}
    for row in rows:
        padding = longest - sum(map(len, row))
        ids: list[int] = []
        positions: list[int] = []
        labels: list[int] = []
        for prompt in row:
            ids += [*prompt.prompt_ids, *prompt.answer_ids]
            positions += range(len(prompt))
            labels += [*[IGNORED] * len(prompt.prompt_ids), *prompt.answer_ids]
        columns["input_ids"].append(ids + [pad_token_id] * padding)
        columns["position_ids"].append(positions + [0] * padding)
        columns["labels"].append(labels + [IGNORED] * padding)
    return {name: torch.tensor(each, device=device) for name, each in columns.items()}


@torch.inference_mode()
def can_pack(model: Any, prompts: Sequence[Prompt], pad_token_id: int) -> bool:
    """Whether `model` keeps the examples of a row apart. It is tried with two examples, in evaluation mode.

    The second example's losses must be the same whatever stands before it, and those that it has alone. The first is
    exact also where a model computes in few digits, since the shapes are equal.
    """
    is_other_kind = model.config.is_encoder_decoder or virtual_tokens.count(model)
    first, second, *_ = [*sorted(prompts, key=len)[:2], None, None]
    if is_other_kind or first is None or second is None or any(each.padding or not each.prompt_ids for each in prompts):
        return False
    model.eval()
    try:
        losses, beside_other = (_last_losses(model, _tensors([[before, second]], pad_token_id, model.device), second)
                                for before in (first, _other(first, model)))  # fmt: skip
    except Exception as error:  # a class may refuse positions in any way
        if is_out_of_memory(error):
            raise
        return False
    alone = _last_losses(model, collate([second], pad_token_id, model.device), second)
    is_exact = model.device.type == "cpu" and next(model.parameters()).dtype == torch.float32
    same = torch.allclose(losses, beside_other, rtol=1e-5, atol=1e-5)
    return same and torch.allclose(losses, alone, rtol=0, atol=1e-3 if is_exact else 0.1)


def _last_losses(model: Any, batch: dict[str, torch.Tensor], prompt: Prompt) -> torch.Tensor:
    """The losses of the answer tokens of `prompt`, which stands last in a batch of one row."""
    logits, targets = answer_logits(model, batch)
    losses = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return losses[-len(prompt.answer_ids) :]


def _other(prompt: Prompt, model: Any) -> Prompt:
    """A prompt of the same length with other tokens."""
    count = model.get_input_embeddings().num_embeddings
    prompt_ids, answer_ids = ([(token + 1) % count for token in ids] for ids in (prompt.prompt_ids, prompt.answer_ids))
    return Prompt(prompt.example, prompt_ids, answer_ids)
