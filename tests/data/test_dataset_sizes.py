"""What all built-in datasets have in common: the size of the test split, which planning takes from here."""

from pathlib import Path

import pytest

from raypeft.data import DATASETS

FILES = {"conala": "conala", "mbpp": "mbpp/mbpp.jsonl", "humaneval": "humaneval/HumanEval.jsonl",
         "odex": "odex/en_test.jsonl"}  # fmt: skip


def usable(name: str, source: str | None) -> int:
    return sum(not example.defect for example in DATASETS[name].load(source, None)["test"])


def test_every_dataset_says_how_large_its_test_split_is() -> None:
    assert [name for name, each in DATASETS.items() if not each.test_size] == []


@pytest.mark.parametrize("name", [name for name, each in DATASETS.items() if each.embedded])
def test_the_test_split_of_an_embedded_dataset_has_the_size_it_says(name: str) -> None:
    assert DATASETS[name].test_size == usable(name, None)


@pytest.mark.parametrize("name", FILES)
def test_the_real_test_split_has_the_size_it_says(name: str, real_data: Path) -> None:
    assert DATASETS[name].test_size == usable(name, str(real_data / FILES[name]))
