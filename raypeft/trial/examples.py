"""The examples that a trial takes: its dataset's splits, less what a limit or a missing answer leaves out."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from raypeft.data.revision import splits_revision
from raypeft.data.text import half_of_a_pair
from raypeft.records import Column, Dataset, Example, Splits
from raypeft.study.config import Trial

LIMIT_SEED = 42
"""Seed of the sample that `limit` keeps: the same examples in every trial, whatever its own seed."""


COLUMNS = (
    Column("problems_without_tests", int, "Test problems left out because they have no usable tests", "problems"),
    Column("without_tests_because", str, "Why these problems have no usable tests, with counts"),
    Column("train_examples", int, "Number of training examples used", "examples"),
    Column("validation_examples", int, "Number of validation examples used", "examples"),
    Column("train_left_out", int, "Training examples left out because they have no answer", "examples"),
    Column(
        "train_too_long",
        int,
        "Training examples left out because they are longer than max_length or the model's context",
        "examples",
    ),
    Column("validation_left_out", int, "Validation examples left out because they have no answer", "examples"),
    Column(
        "validation_too_long",
        int,
        "Validation examples left out because they are longer than max_length or the model's context",
        "examples",
    ),
    Column("test_examples", int, "Number of test examples used", "examples"),
    Column("dataset_resolved_revision", str, "Hash of the loaded splits"),
)
"""What `load`, and `raypeft.trial.tune.training_prompts`, put into the row."""


def load(trial: Trial, dataset: Dataset) -> tuple[Splits, dict[str, Any]]:
    """The examples that the trial uses, and the columns on their version and on the number of examples left out."""
    splits = dataset.load(trial.dataset_path, trial.dataset_revision)
    check_text(splits, dataset.name)
    revision = splits_revision(splits)
    splits, left_out = usable(limited(splits, trial), dataset)
    counts = {f"{split}_examples": len(examples) for split, examples in splits.items()}
    return splits, {"dataset_resolved_revision": revision, **left_out, **counts}


def check_text(splits: Splits, name: str) -> None:
    """Raise ValueError naming the first example with half of a surrogate pair, which is no text to any tokenizer."""
    for split, examples in splits.items():
        for example in examples:
            texts = example.id, example.nl, example.code, example.starter_code, *example.other_codes
            if half := half_of_a_pair("".join(texts)):
                raise ValueError(f"{name}: {split} example {example.id!r} must be text but has {half!r}, half of a "
                                 f"surrogate pair; remove or fill it")  # fmt: skip


def limited(splits: Splits, trial: Trial) -> Splits:
    """If the trial has a limit, a random sample of each split with a fixed seed, in the order of the split."""
    limits: dict[str, int | None] = dict.fromkeys(splits, trial.limit)
    limits["test"] = min((limit for limit in (trial.limit, trial.test_limit) if limit), default=None)
    return {split: sample(examples, limits[split]) for split, examples in splits.items()}


def sample(examples: list[Example], limit: int | None) -> list[Example]:
    """So many of the examples, in their order: the same ones in every trial. None: all."""
    if limit is None or limit >= len(examples):
        return examples
    kept = set(random.Random(LIMIT_SEED).sample(range(len(examples)), limit))
    return [example for index, example in enumerate(examples) if index in kept]


def usable(splits: Splits, dataset: Dataset) -> tuple[Splits, dict[str, Any]]:
    """The examples that can be used for training or judged, and the columns on those left out.

    Raises ValueError if no test example has usable tests.
    """
    if "tests" not in dataset.judged_by:
        return splits, {}
    kept = {split: [each for each in splits[split] if each.code] for split in ("train", "validation")}
    lacks = [(each, _lack(each, dataset)) for each in splits["test"]]
    kept["test"] = [each for each, lack in lacks if not lack]
    reasons = Counter(lack for _, lack in lacks if lack)
    reasons_text = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
    if not kept["test"]:
        raise ValueError(
            f"{dataset.name} must have test examples with tests but all {len(splits['test'])} lack them: {reasons_text}"
        )
    return kept, {
        "train_left_out": len(splits["train"]) - len(kept["train"]),
        "validation_left_out": len(splits["validation"]) - len(kept["validation"]),
        "problems_without_tests": reasons.total(),
        "without_tests_because": reasons_text or None,
    }


def _lack(example: Example, dataset: Dataset) -> str:
    """Why a test example cannot be judged in every way that its dataset is; empty where it can."""
    if not example.tests:
        return example.defect or "no tests"
    return "" if example.code or "reference" not in dataset.judged_by else "no reference"
