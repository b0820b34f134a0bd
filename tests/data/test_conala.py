"""CoNaLa, by its columns and, where they lie, by its real files."""

import json
from pathlib import Path

import pytest

from raypeft.data import DATASETS, conala
from raypeft.records import Example, Splits


@pytest.fixture(scope="module")
def splits(real_data: Path) -> Splits:
    return conala.load(str(real_data / "conala"))


def test_conala_is_known_by_its_name() -> None:
    assert DATASETS["conala"] is conala.DATASET


def test_the_columns_of_docprompting_become_examples(tmp_path: Path) -> None:
    row = {"nl": "reverse `x`", "cmd": "x[::-1]", "question_id": "12-3", "cmd_name": "", "oracle_man": []}
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(row) + "\n")
    assert conala.load(str(tmp_path))["test"] == [Example("12-3", "reverse `x`", "x[::-1]")]


def test_an_untuned_answer_is_one_line_of_at_most_64_tokens() -> None:
    assert (conala.DATASET.untuned_stop, conala.DATASET.max_new_tokens) == (("\n",), 64)


def test_the_real_splits_have_their_published_sizes(splits: Splits) -> None:
    assert {split: len(examples) for split, examples in splits.items()} == {
        "train": 2135,
        "validation": 201,
        "test": 543,
    }


def test_every_real_example_has_an_intent_and_an_answer(splits: Splits) -> None:
    assert all(example.nl.strip() and example.code.strip() for examples in splits.values() for example in examples)


def test_33_real_test_answers_have_several_lines(splits: Splits) -> None:
    assert sum("\n" in example.code.strip() for example in splits["test"]) == 33


def test_no_real_test_pair_is_in_the_training_split(splits: Splits) -> None:
    pairs = {(example.nl, example.code) for example in splits["train"]}
    assert not pairs & {(example.nl, example.code) for example in splits["test"]}
