"""MBPP, HumanEval and ODEX: their splits, prompts and tests, and their official solutions in the sandbox."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from raypeft.data import DATASETS, humaneval, mbpp, odex
from raypeft.prompting.forms import render
from raypeft.records import Example
from raypeft.sandbox import Limits, Sandbox, SandboxUnavailable, parse_tests

MBPP = {"text": "Double a number.", "code": "def f(x):\r\n  return 2 * x", "test_list": ["assert f(2) == 4"]}
HUMANEVAL = {
    "task_id": "HumanEval/0", "prompt": 'def f(x):\n    """Twice."""\n', "canonical_solution": "    return 2 * x\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n", "entry_point": "f",
}  # fmt: skip
ODEX = {
    "task_id": 1, "intent": "double `x`", "prompt": "def f_1(x):\n\treturn ", "canonical_solution": "2 * x",
    "suffix": "", "test_start": "\ndef check(candidate):", "test": ["\n    assert candidate(2) == 4\n"],
    "entry_point": "f_1", "library": [],
}  # fmt: skip
FILES = {"mbpp": "mbpp/mbpp.jsonl", "humaneval": "humaneval/HumanEval.jsonl", "odex": "odex/en_test.jsonl"}


def write(folder: Path, *rows: dict[str, object]) -> str:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "rows.jsonl")


def test_mbpp_is_split_by_its_task_numbers_as_in_its_paper(tmp_path: Path) -> None:
    source = write(tmp_path, *({**MBPP, "task_id": task} for task in (10, 11, 510, 511, 600, 601, 974)))
    found = {split: [each.id for each in examples] for split, examples in mbpp.load(source).items()}
    assert found == {"train": ["601", "974"], "validation": ["511", "600"], "test": ["11", "510"]}


def test_an_instruction_of_mbpp_shows_its_tests_and_its_code_has_line_feeds_alone(tmp_path: Path) -> None:
    (example,) = mbpp.load(write(tmp_path, {**MBPP, "task_id": 11}))["test"]
    assert example.nl == "Double a number.\nYour code should pass these tests:\nassert f(2) == 4"
    assert example.code == "def f(x):\n  return 2 * x"


def test_a_problem_of_humaneval_is_continued_and_its_answer_is_the_whole_program(tmp_path: Path) -> None:
    (example,) = humaneval.load(write(tmp_path, HUMANEVAL))["test"]
    assert render(example, (), humaneval.COMPLETION) == HUMANEVAL["prompt"]
    assert example.code == 'def f(x):\n    """Twice."""\n    return 2 * x\n'


def test_a_problem_of_odex_is_continued_below_its_intent(tmp_path: Path) -> None:
    (example,) = odex.load(write(tmp_path, ODEX))["test"]
    assert render(example, (), odex.COMPLETION) == "# double `x`\ndef f_1(x):\n\treturn "


def test_a_problem_of_odex_that_needs_a_library_has_no_tests_and_says_why(tmp_path: Path) -> None:
    (example,) = odex.load(write(tmp_path, {**ODEX, "library": ["numpy", "pandas"]}))["test"]
    assert (example.tests, example.defect) == ("", "needs pandas, which the sandbox has not")


@pytest.mark.parametrize(("dataset", "row"), [(mbpp, {**MBPP, "task_id": 11}), (humaneval, HUMANEVAL), (odex, ODEX)])
def test_a_missing_column_and_a_broken_test_are_told(tmp_path: Path, dataset: object, row: dict[str, object]) -> None:
    tests = "test_list" if dataset is mbpp else "test"
    with pytest.raises(ValueError, match=f"row 0 .* must have .* but lacks {tests}"):
        dataset.load(write(tmp_path, {key: value for key, value in row.items() if key != tests}))  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="must be Python"):
        dataset.load(write(tmp_path, {**row, tests: "def (" if dataset is humaneval else ["def ("]}))  # type: ignore[attr-defined]


def official(name: str, folder: Path) -> Iterator[tuple[Example, str]]:
    """The test problems that have tests, and their official programs without what the tests add."""
    for example in DATASETS[name].load(str(folder / FILES[name]), None)["test"]:
        if not example.defect:
            yield example, example.code.removesuffix(parse_tests(example.tests).get("suffix") or "")


def judged(solutions: Sequence[tuple[Example, str]]) -> tuple[list[str], Counter[str]]:
    """The problems whose official solution fails, and how many tests were judged where."""
    failed, places = [], Counter[str]()
    try:
        sandbox = Sandbox(Limits(seconds_per_test=20))
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    with sandbox:
        for example, program in solutions:
            results = sandbox.run(program, parse_tests(example.tests)).tests
            places.update(result.judged for result in results)
            failed += [example.id] if not all(result.passed for result in results) else []
    return failed, places


@pytest.mark.parametrize(
    ("name", "passing", "left_out"),
    [("mbpp", 500, {}), ("humaneval", 164, {}), ("odex", 322, {"needs": 78, "the official solution": 39})],
)
def test_every_tenth_official_solution_passes_its_tests_in_the_sandbox(
    real_data: Path, name: str, passing: int, left_out: dict[str, int]
) -> None:
    examples = DATASETS[name].load(str(real_data / FILES[name]), None)["test"]
    reasons = Counter(next(key for key in ("needs", "the official solution") if each.defect.startswith(key))
                      for each in examples if each.defect)  # fmt: skip
    solutions = list(official(name, real_data))
    assert (reasons, len(solutions)) == (left_out, passing)
    assert judged(solutions[::10])[0] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tests"),
    [
        ("mbpp", {"outside": 1500}),
        ("humaneval", {"outside": 1083, "inside": 23}),
        ("odex", {"outside": 422, "inside": 260}),
    ],
)
def test_all_official_solutions_pass_their_tests_in_the_sandbox(
    real_data: Path, name: str, tests: dict[str, int]
) -> None:
    assert judged(list(official(name, real_data))) == ([], tests)


@pytest.mark.slow
def test_the_official_solutions_of_all_other_tasks_of_mbpp_pass_as_well(real_data: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (real_data / FILES["mbpp"]).read_text("utf-8").splitlines()]
    others = [row for row in rows if row["task_id"] not in mbpp.TASKS["test"]]
    (tmp_path / "mbpp").mkdir()
    write(tmp_path / "mbpp", *({**row, "task_id": number} for number, row in enumerate(others, start=11)))
    (tmp_path / "mbpp" / "rows.jsonl").rename(tmp_path / FILES["mbpp"])
    solutions = list(official("mbpp", tmp_path))
    assert len(solutions) == 474 and judged(solutions) == ([], {"outside": 1419, "inside": 3})
