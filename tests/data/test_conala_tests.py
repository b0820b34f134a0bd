"""CoNaLa judged by ODEX's tests: which examples are paired, and which of CoNaLa's references pass in the sandbox."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from raypeft.data import conala, conala_tests
from raypeft.records import Example
from raypeft.sandbox import Limits, Sandbox, SandboxUnavailable, parse_tests

PROBLEM: dict[str, Any] = {
    "task_id": 7, "intent": "Double  `x`", "prompt": "def f_7(x):\n\treturn ", "canonical_solution": "2 * x",
    "suffix": "", "test_start": "\ndef check(candidate):", "test": ["\n    assert candidate(2) == 4\n"],
    "entry_point": "f_7", "library": [],
}  # fmt: skip
DOUBLE = {"question_id": "7-1", "nl": "double `x`", "cmd": "x + x"}


def made(folder: Path, rows: list[dict[str, Any]], problems: list[dict[str, Any]]) -> list[Example]:
    other = {"question_id": "1-1", "nl": "print `x`", "cmd": "print(x)"}
    files = {"train": [other], "validation": [other], "test": rows, "en_test": problems}
    for name, lines in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return conala_tests.load(str(folder))["test"]


def test_an_example_is_paired_with_the_problem_of_its_question_and_intent(tmp_path: Path) -> None:
    others = [{**DOUBLE, "question_id": "70-1"}, {**DOUBLE, "nl": "double `y`"}]
    (example,) = made(tmp_path, [DOUBLE, *others], [PROBLEM])
    assert (example.id, example.nl, example.code) == ("7-1", "double `x`", "x + x")
    assert parse_tests(example.tests)["head"] == "def f_7(x):"


def test_of_two_problems_with_one_intent_that_with_the_same_answer_is_taken(tmp_path: Path) -> None:
    second = {**PROBLEM, "canonical_solution": "x + x", "test": ["\n    assert candidate(3) == 6\n"]}
    (example,) = made(tmp_path, [DOUBLE], [PROBLEM, second])
    assert "candidate(3)" in example.tests


def test_an_intent_that_does_not_name_an_argument_has_no_tests_and_says_why(tmp_path: Path) -> None:
    row, problem = {**DOUBLE, "nl": "double it"}, {**PROBLEM, "intent": "double it"}
    (example,) = made(tmp_path, [row], [problem])
    assert (example.tests, example.defect) == ("", "the intent does not name an argument of the tested function")


def test_training_and_validation_are_those_of_conala(real_data: Path, tmp_path: Path) -> None:
    both = with_odex(real_data, tmp_path)
    of_conala, of_both = conala.load(str(both)), conala_tests.load(str(both))
    assert [of_conala[split] == of_both[split] for split in of_conala] == [True, True, False]


def with_odex(real_data: Path, folder: Path) -> Path:
    shutil.copytree(real_data / "conala", folder / "both")
    shutil.copy(real_data / "odex" / "en_test.jsonl", folder / "both")
    return folder / "both"


def test_references_of_conala_pass_as_bodies_of_the_functions_of_odex(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conala_tests, "FAILING", frozenset())
    examples = conala_tests.load(str(with_odex(real_data, tmp_path)))["test"]
    reasons = Counter(next((key for key in ("needs", "the official", "the intent") if each.defect.startswith(key)), "")
                      for each in examples)  # fmt: skip
    assert reasons == {"": 66, "needs": 18, "the official": 9, "the intent": 1}
    monkeypatch.undo()
    try:
        sandbox = Sandbox(Limits(seconds_per_test=20))
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    with sandbox:
        failed = {
            each.id
            for each in examples
            if each.tests and not sandbox.run(each.code, parse_tests(each.tests)).all_passed
        }
    assert failed == conala_tests.FAILING and len(failed) == 14
    assert reasons[""] - len(failed) == conala_tests.DATASET.test_size
