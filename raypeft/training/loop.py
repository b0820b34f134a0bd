"""The only training loop: batches by length, the paper's optimiser and schedule, the best evaluation kept.

    result = train_model(model, pad_token_id, train, validation, method, seed=42)

Follows `transformers.Trainer` step by step on the same batches (tests/test_training.py). Against the paper's own code
it differs in cost, not in result: batches are padded to their longest example, on the right, and the vocabulary's
logits are computed only where some example of the batch has an answer token.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from raypeft.methods.optimizers import OPTIMIZERS
from raypeft.models import virtual_tokens
from raypeft.records import Prompt, Report, report_nothing

if TYPE_CHECKING:
    from raypeft.methods import TrainedMethod

IGNORED = -100
"""The label of tokens without a loss, as everywhere in Transformers."""


@dataclass(slots=True)
class Evaluation:
    """One look at the validation split. Losses are nats per answer token."""

    step: int
    epoch: float
    train_loss: float
    """Mean over the steps since the evaluation before."""
    eval_loss: float
    learning_rate: float
    seconds: float
    """Since the start of training, evaluations included."""


@dataclass(slots=True)
class TrainingResult:
    evaluations: list[Evaluation] = field(default_factory=list)
    best_eval_loss: float = math.inf
    best_step: int = 0
    steps: int = 0
    tokens: int = 0
    """Tokens trained on, padding not counted."""
    train_seconds: float = 0.0
    """Optimiser steps only."""
    eval_seconds: float = 0.0


def train_model(
    model: Any,
    pad_token_id: int,
    train: Sequence[Prompt],
    validation: Sequence[Prompt],
    method: TrainedMethod,
    seed: int,
    report: Report = report_nothing,
    gradient_checkpointing: bool = False,
    micro_batch_size: int | None = None,
) -> TrainingResult:
    """Train `model` in place and leave it with the weights of its best evaluation (lowest loss, the first on a tie).

    `gradient_checkpointing` computes activations a second time in the backward pass rather than keep them, and
    `micro_batch_size` sums a batch's gradients over passes of so many examples: less memory for the same gradients.

    Raises FloatingPointError, naming the step, where the loss is not a number.
    """
    torch.manual_seed(seed)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    steps_per_epoch = math.ceil(
        math.ceil(len(train) / method.per_device_train_batch_size) / method.gradient_accumulation_steps
    )
    total_steps = math.ceil(steps_per_epoch * method.num_train_epochs)
    eval_interval = math.ceil(steps_per_epoch * method.eval_every_epochs)
    optimizer, scheduler = make_optimizer(trainable, method, total_steps)
    result = TrainingResult()
    best_weights: list[torch.Tensor] = []
    losses: list[float] = []
    report("train", 0, total_steps)
    started = time.perf_counter()
    for step, batches in enumerate(training_steps(train, method, seed, total_steps), start=1):
        step_started = time.perf_counter()
        passes = [part for batch in batches for part in _parts(batch, micro_batch_size or len(batch))]
        with _checkpointing(model, gradient_checkpointing):
            losses.append(optimise_step(model, passes, pad_token_id, trainable, optimizer, method.max_grad_norm))
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"the training loss is {losses[-1]} at step {step} of {total_steps}; "
                                     f"lower learning_rate (it is {method.learning_rate})")  # fmt: skip
        learning_rate = scheduler.get_last_lr()[0]
        scheduler.step()
        result.steps, result.tokens = step, result.tokens + sum(len(prompt) for batch in batches for prompt in batch)
        result.train_seconds += time.perf_counter() - step_started
        report("train", step, total_steps, loss=losses[-1])
        if step % eval_interval and step != total_steps:
            continue
        eval_started = time.perf_counter()
        eval_loss = evaluate(
            model, pad_token_id, validation, 2 * (micro_batch_size or method.per_device_train_batch_size)
        )
        result.eval_seconds += time.perf_counter() - eval_started
        seconds = time.perf_counter() - started
        mean_loss = sum(losses) / len(losses)
        result.evaluations.append(
            Evaluation(step, step / steps_per_epoch, mean_loss, eval_loss, learning_rate, seconds)
        )
        losses.clear()
        if eval_loss < result.best_eval_loss:
            result.best_eval_loss, result.best_step = eval_loss, step
            best_weights = [parameter.detach().to("cpu", copy=True) for parameter in trainable]
        report("train", step, total_steps, loss=mean_loss, eval_loss=eval_loss)
    with torch.no_grad():
        for parameter, best in zip(trainable, best_weights, strict=bool(best_weights)):
            parameter.copy_(best)
    return result


@contextmanager
def _checkpointing(model: Any, enabled: bool) -> Iterator[None]:
    """Compute activations a second time in the backward pass rather than keep them."""
    if enabled:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    try:
        yield
    finally:
        if enabled:
            model.gradient_checkpointing_disable()


def make_optimizer(parameters: list[torch.nn.Parameter], method: TrainedMethod, total_steps: int) -> tuple[Any, Any]:
    """The optimiser and its learning-rate schedule, as `transformers.Trainer` makes them from the same fields."""
    from transformers import get_scheduler

    make = OPTIMIZERS[method.optim].make
    optimizer = make(parameters, lr=method.learning_rate, weight_decay=method.weight_decay)
    warmup = method.warmup_steps if method.warmup_steps >= 1 else math.ceil(total_steps * method.warmup_steps)
    scheduler = get_scheduler(
        method.lr_scheduler_type, optimizer, num_warmup_steps=int(warmup), num_training_steps=total_steps
    )
    return optimizer, scheduler


def optimise_step(
    model: Any,
    batches: Sequence[Sequence[Prompt]],
    pad_token_id: int,
    trainable: list[torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    max_grad_norm: float,
) -> float:
    """One optimiser step over one or more accumulated batches; the mean loss of their answer tokens, in nats."""
    model.train()
    answer_tokens = sum(len(prompt.answer_ids) for batch in batches for prompt in batch)
    total = 0.0
    for batch in batches:
        loss = answer_loss(model, collate_for(model, batch, pad_token_id)) / answer_tokens
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(trainable, max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    return total


def _parts(batch: Sequence[Prompt], size: int) -> Iterator[Sequence[Prompt]]:
    return (batch[start : start + size] for start in range(0, len(batch), size))


@torch.inference_mode()
def evaluate(model: Any, pad_token_id: int, prompts: Sequence[Prompt], batch_size: int) -> float:
    """Mean loss over all answer tokens of `prompts`, in nats per token."""
    model.eval()
    by_length = sorted(prompts, key=len)
    total = 0.0
    for start in range(0, len(by_length), batch_size):
        batch = by_length[start : start + batch_size]
        total += answer_loss(model, collate_for(model, batch, pad_token_id)).item()
    return total / sum(len(prompt.answer_ids) for prompt in prompts)


def answer_loss(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Sum over the batch of the answer tokens' negative log-likelihood, in nats.

    Of a decoder, logits are asked for only at the positions before some example's answer token (`logits_to_keep`): the
    vocabulary's projection is a fifth of a small model's work and, in float32, most of its activation memory. An
    encoder-decoder's decoder reads nothing but answers.
    """
    inputs: dict[str, Any] = dict(batch)
    targets = inputs.pop("labels")
    if not model.config.is_encoder_decoder:
        targets = targets[:, 1:]
        positions = (targets != IGNORED).any(dim=0).nonzero().squeeze(1)
        targets = targets[:, positions]
        inputs["logits_to_keep"] = positions + virtual_tokens.in_logits(model)
    if not virtual_tokens.needs_cache(model):
        inputs["use_cache"] = False
    device = targets.device.type
    # On a GPU the matrix products run in bfloat16; adapters and fully tuned weights stay in float32.
    with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
        output = model(**inputs)
    logits = output.logits.float()
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")


def collate_for(model: Any, prompts: Sequence[Prompt], pad_token_id: int) -> dict[str, torch.Tensor]:
    """The batch that `model` trains on: prompts and answers in one sequence, or, for an encoder-decoder, in two."""
    if not model.config.is_encoder_decoder:
        return collate(prompts, pad_token_id, model.device)
    config = model.config
    start = config.pad_token_id if config.decoder_start_token_id is None else config.decoder_start_token_id
    return collate_pairs(prompts, pad_token_id, start, model.device)


def collate(prompts: Sequence[Prompt], pad_token_id: int, device: Any) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask` and `labels`, each (batch, longest), padded on the right; prompts carry no loss."""
    longest = max(len(prompt) for prompt in prompts)
    input_ids, attention_mask, labels = [], [], []
    for prompt in prompts:
        padding = longest - len(prompt)
        input_ids.append([*prompt.prompt_ids, *prompt.answer_ids, *[pad_token_id] * padding])
        attention_mask.append([1] * len(prompt) + [0] * padding)
        labels.append([*[IGNORED] * len(prompt.prompt_ids), *prompt.answer_ids, *[IGNORED] * padding])
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


def training_steps(
    train: Sequence[Prompt], method: TrainedMethod, seed: int, total_steps: int
) -> Iterator[list[list[Prompt]]]:
    """`total_steps` optimiser steps, each a list of `gradient_accumulation_steps` batches (fewer at an epoch's end)."""
    lengths = [len(prompt) for prompt in train]
    given = 0
    for epoch in range(math.ceil(method.num_train_epochs)):
        batches = bucketed_batches(lengths, method.per_device_train_batch_size, seed + epoch)
        for start in range(0, len(batches), method.gradient_accumulation_steps):
            if given == total_steps:
                return
            given += 1
            yield [
                [train[index] for index in batch]
                for batch in batches[start : start + method.gradient_accumulation_steps]
            ]


def bucketed_batches(
    lengths: Sequence[int], batch_size: int, seed: int, batches_per_bucket: int = 50
) -> list[list[int]]:
    """Indices of every example once, in batches of similar length, in random order.

    As `group_by_length` of Transformers: the examples are shuffled, cut into buckets of `batches_per_bucket` batches,
    sorted by length within each, and the batches are shuffled again. Padding then costs a few percent.
    """
    shuffler = random.Random(seed)
    order = list(range(len(lengths)))
    shuffler.shuffle(order)
    bucket = batch_size * batches_per_bucket
    batches: list[list[int]] = []
    for start in range(0, len(order), bucket):
        by_length = sorted(order[start : start + bucket], key=lambda index: lengths[index])
        batches.extend(by_length[at : at + batch_size] for at in range(0, len(by_length), batch_size))
    shuffler.shuffle(batches)
    return batches
