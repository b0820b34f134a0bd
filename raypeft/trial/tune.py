"""A trial's training: its examples as token ids, the loop, the adapter of the best evaluation.

Torch is imported only when something is trained: the columns declared here are read by planning.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypeft import gpu
from raypeft.events import Pruned, Stage
from raypeft.methods import Adapter, TrainedMethod
from raypeft.models.loading import Base
from raypeft.prompting.encoding import cut_as_paper, padded_as_paper
from raypeft.prompting.room import Room, check_ids
from raypeft.records import Column, Dataset, Prompt, Splits
from raypeft.study.config import Trial
from raypeft.trial.checkpoints import training_checkpoints
from raypeft.trial.context import TrialContext
from raypeft.trial.encoders import encoded_once, trial_encoder
from raypeft.trial.reloading import reload_difference
from raypeft.trial.scores import write_example_scores

if TYPE_CHECKING:
    from raypeft.training.loop import Training

COLUMNS = (
    Column(
        "kept",
        str,
        "Folder of the results with the trained adapter (adapters/ID), or with all weights (models/ID). null: not kept",
    ),
    Column("trainable_params", int, "Number of trained parameters", "parameters"),
    Column(
        "total_params",
        int,
        "Number of parameters of base model and adapter, counted without quantisation",
        "parameters",
    ),
    Column("adapted_layers", list[str], "Names of the layers that have an adapter"),
)
"""`counted_params`."""


LARGEST_FILE = "4GB"
"""Larger weights are kept as several files. S3 copies none beyond 5 GB."""


def counted_params(model: Any) -> dict[str, Any]:
    """What is trained of a loaded model: numbers of parameters, where nf4 weights count as what they stand for, and
    the names of the layers with an adapter.
    """
    counts = [(each, each.quant_state.shape if hasattr(each, "quant_state") else each.shape)
              for each in model.parameters()]  # fmt: skip
    return {
        "trainable_params": sum(math.prod(shape) for each, shape in counts if each.requires_grad),
        "total_params": sum(math.prod(shape) for _, shape in counts),
        "adapted_layers": _adapted_layers(model),
    }


def _adapted_layers(model: Any) -> list[str] | None:
    """The names of the layers that PEFT adapts; None where it adapts none."""
    found = [getattr(each, "target_modules", None) for each in getattr(model, "peft_config", {}).values()]
    names = {name for names in found if names for name in ([names] if isinstance(names, str) else names)}
    return sorted({name.rpartition(".")[2] for name in names}) or None


def check_training(context: TrialContext, model: Any, base: Base, splits: Splits) -> None:
    """Raise ValueError where the trial's method cannot train `model`, the base with its adapter.

    It is tried with the shortest example. Whether examples fit the model, `training_prompts` says.
    """
    from raypeft.models import virtual_tokens
    from raypeft.training.probe import check_trainable

    answered = sorted(
        (each for each in splits["train"] if each.code.strip()), key=lambda each: len(each.nl + each.code)
    )
    room = Room(base.context_length, base.is_encoder_decoder, virtual_tokens.count(model))
    encoded = (trial_encoder(context, base, context.trial.data.of(each)[0]).encode(each) for each in answered[:1])
    prompts = fitting([*encoded], room)
    if prompts:
        check_trainable(model, prompts, base.tokenizer.pad_token_id, context.trial.tuning_method)


def tune(context: TrialContext, method: TrainedMethod, model: Any, base: Base, splits: Splits) -> dict[str, Any]:
    """Train `model`, keep the adapter of the best evaluation in PEFT's format; what was measured, by column."""
    from raypeft.models import virtual_tokens
    from raypeft.training.loop import Training
    from raypeft.training.probe import fitted
    from raypeft.training.recipe import Recipe

    trial, plan = context.trial, context.memory_plan
    recipe = Recipe(
        method,
        trial.seed,
        base.tokenizer.pad_token_id,
        gradient_checkpointing=bool(plan.gradient_checkpointing if plan else method.gradient_checkpointing),
        micro_batch_size=plan.micro_batch_size if plan else None,
        as_paper=trial.fidelity == "paper",
        graphs=context.options.graphs == "auto",
    )
    encoded, left_out = training_prompts(context, base, splits, virtual_tokens.count(model))
    for prompts in encoded.values():
        check_ids(prompts, base.token_count, base.tokenizer)
    if gpu.has_gpu():  # the plan is a prediction
        recipe = fitted(model, encoded["train"], recipe)
    training = Training(model, encoded["train"], recipe)
    checkpoints = training_checkpoints(context, base, encoded)
    try:
        with turn(context):
            result = training.run(encoded["validation"], encoded["test"], context.listener, checkpoints)
    except Pruned as pruned:
        pruned.measured = {**left_out, **training_columns(training)}
        raise
    finally:
        context.earlier["train"] = training.result.earlier_seconds
    if not math.isfinite(result.best_eval_loss):
        raise FloatingPointError(f"the validation loss must have been measured but was not in {result.steps} steps; "
                                 f"lower eval_every_epochs")  # fmt: skip
    context.meter.note("train", result.peak_memory_gb)
    record_test_losses(context, encoded["test"], result.test_losses)
    kept = keep_weights(context, method, model, base, min(encoded["train"], key=len))
    narrow(method, model)
    return {
        **kept,
        **left_out,
        **training_columns(training),
    }


def turn(context: TrialContext) -> AbstractContextManager[None]:
    """The trial's turn to train: at once, but where another command trains what it shares."""
    if context.shared is None:
        return nullcontext()
    return context.shared.turn(context.trial.id, context.stop, lambda: context.listener(Stage("train")))


def narrow(method: TrainedMethod, model: Any) -> None:
    """On a GPU, put fully tuned weights into 16 bits. They are in float32 to be trained; losses were measured with
    products in 16 bits, and answers are decoded so. Buffers stay as they are, as in a model that is loaded in 16 bits:
    the angles of rotary positions need more digits."""
    if gpu.has_gpu() and method.base_weights == "float32":
        for parameter in model.parameters():
            parameter.data = parameter.data.to(gpu.half())


def training_columns(training: Training) -> dict[str, Any]:
    """What came of a training, or of the part of it that was run, by column."""
    result, recipe = training.result, training.recipe
    return {
        "gradient_checkpointing_used": recipe.gradient_checkpointing,
        "packed": result.packed,
        "graphed": result.graphed,
        "micro_batch_size": recipe.pass_size,
        "best_eval_loss": result.best_eval_loss,
        "best_step": result.best_step,
        "test_loss": result.test_loss,
        "test_loss_last": result.test_loss_last,
        "first_eval_step": result.evaluations[0].step,
        "last_eval_loss": result.evaluations[-1].eval_loss,
        "trained_tensors": result.trained_tensors,
        "unchanged_tensors": result.unchanged_tensors,
        "steps": result.steps,
        "resumed_from_step": result.resumed_from_step,
        "trained_by": result.trained_by,
        "train_seconds": result.train_seconds,
        "eval_seconds": result.eval_seconds,
        "train_tokens_per_second": result.tokens / result.train_seconds,
    }


def training_prompts(
    context: TrialContext, base: Base, splits: Splits, virtual: int
) -> tuple[dict[str, list[Prompt]], dict[str, int]]:
    """The splits as token ids, and by column how many examples were too long for `max_length`.

    `virtual` tokens stand before every prompt. What exceeds the model's context is left out as well. Raises ValueError
    where all are left out.
    """
    trial, dataset, paper = context.trial, context.trial.data, context.trial.fidelity == "paper"
    longest = {each.name: _longest(trial, each, base, virtual) for each in dataset.joined}
    room = Room(base.context_length, base.is_encoder_decoder, virtual)
    pick = random.Random(trial.seed) if paper and dataset.paper_training == "drawn" else None
    answer_room = dataset.max_new_tokens or context.max_new_tokens
    encoded: dict[str, list[Prompt]] = {}
    left_out: dict[str, int] = {}
    for split in ("train", "validation"):
        found: list[Prompt] = []
        for part, its_own in dataset.divided(splits[split]):
            encoder, most = trial_encoder(context, base, part), longest[part.name]
            found += encoder.encode_answers(its_own, most, pick) if pick else encoded_once(base, encoder, its_own, most)
        missing = len(splits[split]) - len(found)
        if paper and dataset.paper_training == "cut":
            found = [cut_as_paper(each, answer_room, base.is_encoder_decoder) for each in found]
            if virtual and not base.is_encoder_decoder:  # without virtual tokens such padding changes no loss
                found = [padded_as_paper(each, answer_room) for each in found]
        encoded[split] = fitting(found, room)
        missing += len(found) - len(encoded[split])
        if not encoded[split]:
            limits = max(each or math.inf for each in longest.values()), (base.context_length or math.inf) - virtual
            raise ValueError(f"{split} must have examples of at most {min(limits)} tokens, prompt and answer, but all "
                             f"{missing} are longer; raise max_length")  # fmt: skip
        if any(longest.values()) or base.context_length:
            left_out |= {f"{split}_too_long": missing, f"{split}_examples": len(encoded[split])}
    encoder = trial_encoder(context, base, None if trial.test_dataset else dataset)
    most = _longest(trial, trial.test_data, base, virtual)
    # The loss on the test split is that of the examples with an answer.
    answered = [each for each in splits["test"] if each.code.strip()]
    encoded["test"] = fitting(encoded_once(base, encoder, answered, most), room)
    return encoded, left_out


def _longest(trial: Trial, dataset: Dataset, base: Base, virtual: int) -> int | None:
    """Tokens that an example of a dataset may have, prompt and answer. None: as many as fit the model."""
    longest = trial.max_length or dataset.max_length
    if longest and base.context_length and not base.is_encoder_decoder:
        return min(longest, base.context_length - virtual)
    return longest


def fitting(prompts: Sequence[Prompt], room: Room) -> list[Prompt]:
    """The prompts that fit the model's context with their answers."""
    return [each for each in prompts if room.fits(len(each.prompt_ids), len(each.answer_ids))]


def record_test_losses(context: TrialContext, test: Sequence[Prompt], losses: Sequence[tuple[float, int]]) -> None:
    """Write what each test example contributes to the test loss, for paired comparisons.

    The test loss is a ratio of sums over tokens. An example's value is its linear part in that ratio (the infinitesimal
    jackknife; Efron and Tibshirani 1993, section 22.5); the mean of the values is the test loss.
    """
    tokens = sum(count for _, count in losses)
    mean = sum(loss for loss, _ in losses) / tokens if tokens else 0.0
    values = [mean + len(losses) / tokens * (loss - mean * count) for loss, count in losses]
    by_example = {prompt.example.id: value for prompt, value in zip(test, values, strict=True)}
    write_example_scores(context.trial.id, context.store, {"test_loss": by_example})


def keep_weights(
    context: TrialContext, method: TrainedMethod, model: Any, base: Base, prompt: Prompt
) -> dict[str, Any]:
    """Store what the trial trained, as far as `keep` asks for it; the folder's name, by column, and, of an adapter,
    whether it answers `prompt` as before once it is loaded again."""
    keep, trial_id = context.options.keep, context.trial.id
    if isinstance(method, Adapter) and keep != "nothing":
        difference = save_adapter(context, method, model, base, prompt)
        return {"kept": f"adapters/{trial_id}", "adapter_reload_difference": difference}
    if keep != "model" or isinstance(method, Adapter):
        return {"kept": None}
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, max_shard_size=LARGEST_FILE)
        base.tokenizer.save_pretrained(folder)
        context.store.write_folder(f"models/{trial_id}", Path(folder))
    return {"kept": f"models/{trial_id}"}


def save_adapter(context: TrialContext, method: Adapter, model: Any, base: Base, prompt: Prompt) -> float | None:
    """Write the adapter as PEFT reads it and its tokenizer, with a note where the base is not the checkpoint as it is
    stored; returns `reload_difference`, where the saved adapter is one for the base as it is in memory."""
    with tempfile.TemporaryDirectory() as folder:
        method.save(model, Path(folder))
        base.tokenizer.save_pretrained(folder)
        if base.adapter_note:
            from raypeft.models.codegen2 import write_adapter_note

            write_adapter_note(Path(folder), base.adapter_note)
        context.store.write_folder(f"adapters/{context.trial.id}", Path(folder))
        if method.changes_base:
            return None
        return reload_difference(model, Path(folder), prompt, base.tokenizer.pad_token_id)
