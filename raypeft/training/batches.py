"""Which examples an optimiser step takes, in which order, and the tensors that the model reads."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from raypeft.records import Prompt

if TYPE_CHECKING:
    from raypeft.methods import TrainedMethod

IGNORED = -100
"""The label of tokens without a loss, as everywhere in Transformers."""
BATCHES_PER_BUCKET = 50
"""Batches that are made of one bucket of examples sorted by length, as in Transformers."""


def training_steps(
    train: Sequence[Prompt], method: TrainedMethod, seed: int, total_steps: int
) -> Iterator[list[list[Prompt]]]:
    """`total_steps` optimiser steps, each a list of `gradient_accumulation_steps` batches (fewer at an epoch's end)."""
    lengths, size = [len(prompt) for prompt in train], method.per_device_train_batch_size
    given = 0
    for epoch in range(math.ceil(method.num_train_epochs)):
        shuffler = epoch_shuffler(seed, epoch)
        if method.train_sampling_strategy == "group_by_length":
            batches = batches_by_length(lengths, size, shuffler)
        else:
            batches = random_batches(len(train), size, shuffler)
        for start in range(0, len(batches), method.gradient_accumulation_steps):
            if given == total_steps:
                return
            given += 1
            yield [
                [train[index] for index in batch]
                for batch in batches[start : start + method.gradient_accumulation_steps]
            ]


def epoch_shuffler(seed: int, epoch: int) -> random.Random:
    """A generator of its own for every seed and epoch, so that no two seeds share the order of an epoch."""
    return random.Random(f"{seed}/{epoch}")


def random_batches(examples: int, batch_size: int, shuffler: random.Random) -> list[list[int]]:
    """Indices of every example once, in batches, in random order, as `transformers.Trainer` takes them."""
    order = list(range(examples))
    shuffler.shuffle(order)
    return [order[start : start + batch_size] for start in range(0, examples, batch_size)]


def batches_by_length(lengths: Sequence[int], batch_size: int, shuffler: random.Random) -> list[list[int]]:
    """Indices of every example once, in batches of similar length, in random order. Padding then costs a few percent.

    As `group_by_length` of Transformers: the examples are shuffled, cut into buckets of `BATCHES_PER_BUCKET` batches,
    sorted by length within each, and the batches are shuffled again.
    """
    order = list(range(len(lengths)))
    shuffler.shuffle(order)
    bucket = batch_size * BATCHES_PER_BUCKET
    batches: list[list[int]] = []
    for start in range(0, len(order), bucket):
        by_length = sorted(order[start : start + bucket], key=lambda index: lengths[index])
        batches.extend(by_length[at : at + batch_size] for at in range(0, len(by_length), batch_size))
    shuffler.shuffle(batches)
    return batches


def parts(batch: Sequence[Prompt], size: int) -> Iterator[Sequence[Prompt]]:
    """A batch cut into passes of at most `size` examples."""
    return (batch[start : start + size] for start in range(0, len(batch), size))


def collate_for(model: Any, prompts: Sequence[Prompt], pad_token_id: int) -> dict[str, torch.Tensor]:
    """The batch that `model` trains on: prompts and answers in one sequence, or, for an encoder-decoder, in two."""
    if not model.config.is_encoder_decoder:
        return collate(prompts, pad_token_id, model.device)
    config = model.config
    start = config.pad_token_id if config.decoder_start_token_id is None else config.decoder_start_token_id
    return collate_pairs(prompts, pad_token_id, start, model.device)


def collate(prompts: Sequence[Prompt], pad_token_id: int, device: Any) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask` and `labels`, each (batch, longest), padded on the right; prompts carry no loss.

    `Prompt.padding` comes on the left in addition.
    """
    longest = max(prompt.padding + len(prompt) for prompt in prompts)
    input_ids, attention_mask, labels = [], [], []
    for prompt in prompts:
        left, right = prompt.padding, longest - prompt.padding - len(prompt)
        input_ids.append([*[pad_token_id] * left, *prompt.prompt_ids, *prompt.answer_ids, *[pad_token_id] * right])
        attention_mask.append([0] * left + [1] * len(prompt) + [0] * right)
        before = left + len(prompt.prompt_ids)
        labels.append([*[IGNORED] * before, *prompt.answer_ids, *[IGNORED] * right])
    columns = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
    return {name: torch.tensor(rows, device=device) for name, rows in columns.items()}


def collate_pairs(
    prompts: Sequence[Prompt], pad_token_id: int, decoder_start_token_id: int, device: Any
) -> dict[str, torch.Tensor]:
    """An encoder-decoder's batch: `input_ids` and `attention_mask` (batch, longest prompt), and the answers as
    `decoder_input_ids`, which lag one token behind `labels`, (batch, longest answer). All padded on the right.
    """
    longest = max(len(prompt.prompt_ids) for prompt in prompts)
    longest_answer = max(len(prompt.answer_ids) for prompt in prompts)
    columns: dict[str, list[list[int]]] = {
        "input_ids": [], "attention_mask": [], "decoder_input_ids": [], "labels": []
    }  # fmt: skip
    for prompt in prompts:
        padding, answer_padding = longest - len(prompt.prompt_ids), longest_answer - len(prompt.answer_ids)
        columns["input_ids"].append([*prompt.prompt_ids, *[pad_token_id] * padding])
        columns["attention_mask"].append([1] * len(prompt.prompt_ids) + [0] * padding)
        columns["decoder_input_ids"].append(
            [decoder_start_token_id, *prompt.answer_ids[:-1], *[pad_token_id] * answer_padding]
        )
        columns["labels"].append([*prompt.answer_ids, *[IGNORED] * answer_padding])
    return {name: torch.tensor(rows, device=device) for name, rows in columns.items()}
