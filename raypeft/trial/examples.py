"""The examples that a trial takes: its datasets' splits, less what a limit or a missing answer leaves out."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from raypeft.data.revision import splits_revision
from raypeft.data.text import half_of_a_pair
from raypeft.records import Column, Dataset, Example, Splits
from raypeft.study.config import Trial
from raypeft.study.trainings import of_same_sources

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
    Column(
        "train_of_test_sources",
        int,
        "Examples to train or validate on that were left out because an example of test_dataset has the same source (a "
        "question of Stack Overflow). null: no sources are known that the two datasets share",
        "examples",
    ),
    Column("dataset_resolved_revision", str, "Hash of the loaded splits"),
    Column("test_resolved_revision", str, "Hash of the loaded test split"),
)
"""What `load`, and `raypeft.trial.tune.training_prompts`, put into the row."""


def load(trial: Trial) -> tuple[Splits, dict[str, Any]]:
    """The examples that the trial uses, and the columns on their version and on the number of examples left out."""
    splits = loaded(trial)
    revisions = {
        "dataset_resolved_revision": splits_revision(splits),
        "test_resolved_revision": splits_revision({"test": splits["test"]}),
    }
    splits, same = without_same_sources(splits, trial)
    splits, left_out = usable(limited(splits, trial), trial.data, trial.test_data)
    counts = {f"{split}_examples": len(examples) for split, examples in splits.items()}
    return splits, {**revisions, **same, **left_out, **counts}


def loaded(trial: Trial) -> Splits:
    """All examples of a trial's dataset; the test split is that of its `test_dataset`, where it has one.

    Raises ValueError for what is no text, and what loading raises.
    """
    splits = trial.data.load(trial.dataset_path, trial.dataset_revision)
    check_text(splits, trial.dataset)
    if trial.test_dataset:
        tested = trial.test_data.load(trial.test_dataset_path, trial.test_dataset_revision)
        check_text(tested, trial.test_dataset)
        splits = {**splits, "test": tested["test"]}
    return splits


def without_same_sources(splits: Splits, trial: Trial) -> tuple[Splits, dict[str, int]]:
    """The splits without the examples to train and validate on that were made from the source of a test example of the
    other dataset, where the two are known to share their sources; and the column on how many these are.
    """
    data, source_of, others = trial.data, trial.test_data.source_of, of_same_sources(trial)
    if source_of is None or not others:
        return splits, {}
    tested = {source_of(each.id) for each in splits["test"]}

    def is_kept(example: Example) -> bool:
        dataset, own_id = data.of(example)
        return dataset.name not in others or source_of(own_id) not in tested

    kept = {name: [each for each in splits[name] if is_kept(each)] for name in splits}
    kept["test"] = splits["test"]
    return kept, {"train_of_test_sources": sum(len(splits[name]) - len(kept[name]) for name in splits)}


def check_text(splits: Splits, name: str) -> None:
    """Raise ValueError naming the first example with half of a surrogate pair, which is no text to any tokenizer."""
    for split, examples in splits.items():
        for example in examples:
            texts = example.id, example.nl, example.code, example.starter_code, *example.other_codes
            if half := half_of_a_pair("".join(texts)):
                raise ValueError(f"{name}: {split} example {example.id!r} must be text but has {half!r}, half of a "
                                 f"surrogate pair; remove or fill it")  # fmt: skip


def limited(splits: Splits, trial: Trial) -> Splits:
    """If the trial has a limit, a random sample of each split with a fixed seed, in the order of the split; of a mix, a
    sample of each of its datasets."""
    data, tested = trial.data, min((limit for limit in (trial.limit, trial.test_limit) if limit), default=None)
    kept = {"test": sample(splits["test"], tested)}
    for split in splits.keys() - {"test"}:
        kept[split] = [each for _, found in data.divided(splits[split]) for each in sample(found, trial.limit)]
    return {split: kept[split] for split in splits}


def of_dataset(splits: Splits, trial: Trial, name: str) -> Splits:
    """Those of a trial's examples that are of one dataset: of the one that is trained on, a dataset of its mix, or the
    one that is tested."""
    data = trial.data
    found = {split: next((its for part, its in data.divided(splits[split]) if part.name == name), [])
             for split in ("train", "validation")}  # fmt: skip
    return {**found, "test": splits["test"] if trial.test_data.name == name else []}


def sample(examples: list[Example], limit: int | None) -> list[Example]:
    """So many of the examples, in their order: the same ones in every trial. None: all."""
    if limit is None or limit >= len(examples):
        return examples
    kept = set(random.Random(LIMIT_SEED).sample(range(len(examples)), limit))
    return [example for index, example in enumerate(examples) if index in kept]


def usable(splits: Splits, data: Dataset, tested: Dataset) -> tuple[Splits, dict[str, Any]]:
    """The examples that can be used for training or judged, and the columns on those left out.

    `tested` is the dataset of the test split, `data` that of the others, which may be a mix.

    Raises ValueError if no test example has usable tests.
    """
    kept, columns = dict(splits), {}
    if "tests" in data.judged_by:
        for split in ("train", "validation"):
            kept[split] = [each for each in splits[split] if each.code]
            columns[f"{split}_left_out"] = len(splits[split]) - len(kept[split])
    if "tests" not in tested.judged_by:
        return kept, columns
    lacks = [(each, _lack(each, tested)) for each in splits["test"]]
    kept["test"] = [each for each, lack in lacks if not lack]
    reasons = Counter(lack for _, lack in lacks if lack)
    reasons_text = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
    if not kept["test"]:
        raise ValueError(
            f"{tested.name} must have test examples with tests but all {len(splits['test'])} lack them: {reasons_text}"
        )
    return kept, columns | {
        "problems_without_tests": reasons.total(),
        "without_tests_because": reasons_text or None,
    }


def _lack(example: Example, dataset: Dataset) -> str:
    """Why a test example cannot be judged in every way that its dataset is; empty where it can."""
    if not example.tests:
        return example.defect or "no tests"
    return "" if example.code or "reference" not in dataset.judged_by else "no reference"
