"""A wrong value is told with what was expected, what was there, and the nearest known name."""

import re
from pathlib import Path

import pytest

import raypeft
from raypeft.mistakes import described, must_be_one_of, nearest, page


def test_a_wrong_name_is_told_the_known_ones_and_the_nearest() -> None:
    assert must_be_one_of(["full", "lora"], "lara") == "must be one of full, lora but got 'lara'; did you mean lora?"


def test_a_name_unlike_any_other_gets_no_suggestion() -> None:
    assert nearest("qqq", ["full", "lora"]) == ""


@pytest.mark.parametrize(
    ("value", "told"),
    [(None, "nothing"), ([1, 2], "a list ([1, 2])"), ({"a": 1}, 'a mapping ({"a": 1})'), ("8", "'8'"), (True, "True")],
)
def test_a_value_is_described_as_its_writer_would(value: object, told: str) -> None:
    assert described(value) == told


def test_a_long_list_is_cut() -> None:
    assert len(described(list(range(1000)))) < 80


@pytest.mark.parametrize(
    ("word", "meant"),
    [("lr", "learning_rate"), ("LoRA", "lora"), ("rank", "lora_r"), ("r", "lora_r"), ("epochs", "num_train_epochs"),
     ("qlora", "qlora_4bit"), ("lora_alph", "lora_alpha")],
)  # fmt: skip
def test_a_name_of_another_tool_or_in_other_letters_leads_to_ours(word: str, meant: str) -> None:
    known = ["learning_rate", "lora", "lora_r", "lora_alpha", "num_train_epochs", "qlora_4bit", "qlora_8bit"]
    assert nearest(word, known) == f"; did you mean {meant}?"


def test_a_page_is_told_from_the_current_folder_where_it_lies_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).parents[1]
    monkeypatch.chdir(root)
    assert page("sandbox.md") == "docs/sandbox.md"
    monkeypatch.chdir(tmp_path)
    assert page("sandbox.md") == str(root / "docs/sandbox.md")


def test_every_page_that_a_message_names_exists() -> None:
    package = Path(raypeft.__file__).parent
    text = "".join(file.read_text("utf-8") for file in package.rglob("*.py"))
    named = set(re.findall(r"page\(['\"]([\w.]+)['\"]\)", text))
    assert named and {name for name in named if not (package.parent / "docs" / name).is_file()} == set()
