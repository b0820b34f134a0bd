"""What a trial does, stage by stage: the examples it takes, tuning, decoding with tests running beside it.

`raypeft.trial.run.run_trial` calls them in turn; each gives back what it measured, by column.
"""

from __future__ import annotations

import itertools
import math
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from raypeft.data import DATASETS
from raypeft.data.revision import splits_revision
from raypeft.methods import Adapter, TrainedMethod
from raypeft.metrics.exact_match import matches
from raypeft.models.loading import Base
from raypeft.prompting import prompts
from raypeft.prompting.shots import Shots, encode_queries
from raypeft.records import Candidate, Column, Dataset, Example, Prompt, Report, Splits
from raypeft.results.store import ResultStore
from raypeft.study.config import Trial
from raypeft.study.memory import Prediction
from raypeft.trial.tests import CandidateTests

LIMIT_SEED = 42
"""Seed of the sample that `limit` keeps: the same examples in every trial, whatever its own seed."""
EXAMPLE_COLUMNS = (
    Column("problems_without_tests", int, "test problems left out, since nothing can judge them", "problems"),
    Column("without_tests_because", str, "what is wrong with the tests of these problems, with counts"),
    Column("train_examples", int, "examples of the training split that were used", "examples"),
    Column("validation_examples", int, "examples of the validation split that were used", "examples"),
    Column("train_left_out", int, "training examples left out for want of an answer", "examples"),
    Column("train_too_long", int, "training examples left out as longer than max_length", "examples"),
    Column("validation_left_out", int, "validation examples left out for want of an answer", "examples"),
    Column("validation_too_long", int, "validation examples left out as longer than max_length", "examples"),
    Column("test_examples", int, "examples of the test split that were used", "examples"),
    Column("dataset_resolved_revision", str, "hash of the splits as they were loaded"),
)
"""What `load` and `training_prompts` put into the row."""
PARAMETER_COLUMNS = (
    Column("trainable_params", int, "parameters that the method trains", "parameters"),
    Column("total_params", int, "parameters of base and adapter, unquantised", "parameters"),
)
"""`counted_params`."""
CANDIDATES = (
    Column("id", str, "the trial's id"),
    Column("example_id", str, "the example's id in its dataset"),
    Column("rank", int, "place among the example's candidates; 0 is the model's first choice"),
    Column("text", str, "the generated code, up to its stop"),
    Column("reference", str, "the dataset's answer"),
    Column("matches", bool, "whether the text equals the reference, outer white space aside"),
    Column("token_count", int, "generated tokens, the stopping token included", "tokens"),
    Column("stop_reason", str, "eos, stop (a stop string) or length (max_new_tokens)"),
    Column("log_probability", float, "sum over its tokens, the stopping one included", "nats"),
    Column("prompt_tokens", int, "length of the prompt, shots included", "tokens"),
    Column("shots", list[str], "ids of the training examples in the prompt, in its order"),
    Column("dropped_shots", int, "shots that the prompt had no room for", "shots"),
)
"""The table `candidates`: `candidate_rows`."""


def load(trial: Trial, dataset: Dataset) -> tuple[Splits, dict[str, Any]]:
    """The examples that the trial takes, and by column which data they are and how many were left out."""
    splits = dataset.load(trial.dataset_path, trial.dataset_revision)
    revision = splits_revision(splits)
    splits, left_out = usable(limited(splits, trial), dataset)
    counts = {f"{split}_examples": len(examples) for split, examples in splits.items()}
    return splits, {"dataset_resolved_revision": revision, **left_out, **counts}


def limited(splits: Splits, trial: Trial) -> Splits:
    """A seeded sample of each split where the trial has a limit, in the split's own order."""

    def sample(examples: list[Example], limit: int | None) -> list[Example]:
        if limit is None or limit >= len(examples):
            return examples
        kept = set(random.Random(LIMIT_SEED).sample(range(len(examples)), limit))
        return [example for index, example in enumerate(examples) if index in kept]

    limits: dict[str, int | None] = dict.fromkeys(splits, trial.limit)
    limits["test"] = min((limit for limit in (trial.limit, trial.test_limit) if limit), default=None)
    return {split: sample(examples, limits[split]) for split, examples in splits.items()}


def usable(splits: Splits, dataset: Dataset) -> tuple[Splits, dict[str, Any]]:
    """The examples that can be learned from or judged, and how many the others are, by column.

    Raises ValueError where the tests of no test example can be run.
    """
    if "tests" not in dataset.judged_by:
        return splits, {}
    kept = {split: [each for each in splits[split] if each.code] for split in ("train", "validation")}
    kept["test"] = [each for each in splits["test"] if each.tests]
    reasons = Counter(each.defect or "no tests" for each in splits["test"] if not each.tests)
    told = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
    if not kept["test"]:
        raise ValueError(
            f"{dataset.name} must have test examples with tests but all {len(splits['test'])} lack them: {told}"
        )
    return kept, {
        "train_left_out": len(splits["train"]) - len(kept["train"]),
        "validation_left_out": len(splits["validation"]) - len(kept["validation"]),
        "problems_without_tests": reasons.total(),
        "without_tests_because": told or None,
    }


def counted_params(model: Any) -> dict[str, int]:
    """`trainable_params` and `total_params` of a loaded model; nf4 weights count as what they stand for."""
    counts = [(each, each.quant_state.shape if hasattr(each, "quant_state") else each.shape)
              for each in model.parameters()]  # fmt: skip
    return {
        "trainable_params": sum(math.prod(shape) for each, shape in counts if each.requires_grad),
        "total_params": sum(math.prod(shape) for _, shape in counts),
    }


def tune(
    trial: Trial,
    method: TrainedMethod,
    model: Any,
    base: Base,
    splits: Splits,
    planned: Prediction | None,
    store: ResultStore,
    report: Report,
) -> dict[str, Any]:
    """Train, keep the evaluations, save the adapter of the best one in PEFT's format.

    `planned` says how to save memory; None: as the method asks.
    """
    from raypeft.models import virtual_tokens
    from raypeft.training.loop import train_model

    checkpointing = planned.gradient_checkpointing if planned else method.gradient_checkpointing
    micro_batch_size = planned.micro_batch_size if planned else None
    encoded, left_out = training_prompts(trial, base, splits, virtual_tokens.count(model))
    result = train_model(
        model,
        base.tokenizer.pad_token_id,
        encoded["train"],
        encoded["validation"],
        method,
        trial.seed,
        report,
        gradient_checkpointing=bool(checkpointing),
        micro_batch_size=micro_batch_size,
    )
    store.write_rows("evals", trial.id, [{"id": trial.id, **asdict(each)} for each in result.evaluations])
    if isinstance(method, Adapter):
        save_adapter(trial.id, method, model, base, store)
    return {
        **left_out,
        "gradient_checkpointing_used": bool(checkpointing),
        "micro_batch_size": micro_batch_size or method.per_device_train_batch_size,
        "best_eval_loss": result.best_eval_loss,
        "best_step": result.best_step,
        "steps": result.steps,
        "train_seconds": result.train_seconds,
        "eval_seconds": result.eval_seconds,
        "train_tokens_per_second": result.tokens / result.train_seconds,
    }


def training_prompts(
    trial: Trial, base: Base, splits: Splits, virtual_tokens: int
) -> tuple[dict[str, list[Prompt]], dict[str, int]]:
    """`train` and `validation` as token ids, and by column how many examples were too long for `max_length`.

    Raises ValueError where an example exceeds the context and the dataset leaves none out, or where it leaves out all.
    """
    dataset, paper = DATASETS[trial.dataset], trial.fidelity == "paper"
    form = prompts.form_of(trial.fidelity, True, base.is_encoder_decoder, training=True, own=dataset.forms)
    longest = trial.max_length or dataset.max_length
    if longest and base.context_length:
        longest = min(longest, base.context_length - virtual_tokens)
    pick = random.Random(trial.seed) if paper and dataset.paper_training == "drawn" else None
    encoded: dict[str, list[Prompt]] = {}
    left_out: dict[str, int] = {}
    for split in ("train", "validation"):
        found, missing = prompts.encode_answers(
            splits[split], base.tokenizer, longest, base.is_encoder_decoder, form, pick
        )
        if paper and dataset.paper_training == "cut":
            found = [prompts.cut_as_paper(each, dataset.max_new_tokens, base.is_encoder_decoder) for each in found]
        if not found:
            raise ValueError(f"{split} must have examples of at most {longest} tokens, prompt and answer, but all "
                             f"{missing} are longer; raise max_length")  # fmt: skip
        prompts.check_fits(found, base.context_length, virtual_tokens=virtual_tokens)
        encoded[split] = found
        if longest:
            left_out |= {f"{split}_too_long": missing, f"{split}_examples": len(found)}
    return encoded, left_out


def save_adapter(trial_id: str, method: Adapter, model: Any, base: Base, store: ResultStore) -> None:
    """Write the adapter as PEFT reads it, with a note where the base is not the checkpoint as it is stored."""
    with tempfile.TemporaryDirectory() as folder:
        method.save(model, Path(folder))
        if base.adapter_note:
            from raypeft.models.codegen2 import write_adapter_note

            write_adapter_note(Path(folder), base.adapter_note)
        store.write_folder(f"adapters/{trial_id}", Path(folder))


def answer(
    trial: Trial,
    model: Any,
    base: Base,
    splits: Splits,
    shots: Shots,
    batch_size: int,
    store: ResultStore,
    report: Report,
    tests: CandidateTests | None = None,
) -> tuple[list[Prompt], list[list[Candidate]]]:
    """The test split's prompts with the trial's shots, and the candidates for each.

    Each batch's candidates are stored as they come, so that a trial that is killed keeps what it made, and their
    `tests`, if any, begin while the next batch is decoded.
    """
    from raypeft.decoding.generation import generate
    from raypeft.models import virtual_tokens

    dataset, method = DATASETS[trial.dataset], trial.method
    max_new_tokens = trial.max_new_tokens or dataset.max_new_tokens
    form = prompts.form_of(trial.fidelity, method.trains, base.is_encoder_decoder, own=dataset.forms)
    queries = encode_queries(splits["test"], shots, method, form, base, max_new_tokens, virtual_tokens.count(model))
    parts = itertools.count()

    def keep(places: Sequence[int], found: list[list[Candidate]]) -> None:
        rows = candidate_rows(trial.id, [queries[place] for place in places], found)
        store.write_part("candidates", trial.id, next(parts), rows)
        if tests is not None:
            for place, candidates in zip(places, found, strict=True):
                tests.begin(queries[place].example, candidates)

    candidates = generate(
        model,
        base.tokenizer,
        queries,
        num_beams=trial.num_beams,
        num_return_sequences=trial.num_return_sequences,
        do_sample=trial.do_sample,
        temperature=trial.temperature,
        top_p=trial.top_p,
        seed=trial.seed,
        max_new_tokens=max_new_tokens,
        stop=stop_strings(trial, form),
        stop_together=trial.fidelity == "paper" and not trial.do_sample,
        batch_size=batch_size,
        keep=keep,
        report=report,
    )
    # Before they are scored, so that a fault in a metric loses no candidate.
    store.write_rows("candidates", trial.id, candidate_rows(trial.id, queries, candidates))
    store.drop_parts("candidates", trial.id)
    return queries, candidates


def stop_strings(trial: Trial, form: prompts.Form) -> tuple[str, ...]:
    """What ends an answer besides the end-of-sequence token."""
    if form.stop is not None:
        return form.stop
    dataset = DATASETS[trial.dataset]
    if trial.fidelity == "paper":
        return dataset.paper_stop
    return () if trial.method.trains else dataset.untuned_stop


def candidate_rows(
    trial_id: str, queries: Sequence[Prompt], candidates: Sequence[Sequence[Candidate]]
) -> Iterator[dict[str, Any]]:
    for query, found in zip(queries, candidates, strict=True):
        reference = query.example.code
        for candidate in found:
            yield {
                "id": trial_id,
                **asdict(candidate),
                "reference": reference,
                "matches": matches(candidate.text, reference),
                "prompt_tokens": len(query.prompt_ids),
                "shots": query.shots,
                "dropped_shots": query.dropped_shots,
            }
