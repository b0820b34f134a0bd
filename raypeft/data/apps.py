"""APPS: programming problems with tests and human solutions (Hendrycks et al., arXiv 2105.09938).

https://huggingface.co/datasets/codeparrot/apps: 5,000 problems to train on and 5,000 to test, in three levels, read
from its files train.jsonl and test.jsonl (its loading script does not work with current versions of `datasets`).

    question:     Given two integers on one line, print their sum.
    solutions:    ["a, b = map(int, input().split())\\nprint(a + b)"]             (JSON text)
    input_output: {"inputs": ["1 2\\n"], "outputs": ["3\\n"]}                      (JSON text)
    difficulty:   introductory
    starter_code: (empty, or the beginning of a class Solution where input_output names a function)

(The row above shows the form; it is not taken from the dataset.)

The splits are those of the paper (replication package of arXiv 2308.10462v3, commit 3b31320). `train` is shuffled with
seed 42; its first 500 problems are the validation split. The test split has the first 250 problems of each level. Of a
smaller `train` file a tenth is for validation.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from raypeft.data.samples import SAMPLES
from raypeft.data.sources import FORMATS, find_split, hub_file, read_rows, unique
from raypeft.records import Dataset, Example, Form, Forms, Splits
from raypeft.sandbox import parse_tests

NAME = "apps"
LEVELS = ("introductory", "interview", "competition")
"""Levels of difficulty."""
HUB_ID = "codeparrot/apps"
SPLIT_SEED = 42
VALIDATION_ROWS, VALIDATION_SHARE = 500, 0.1
TEST_ROWS_A_LEVEL = 250
COLUMNS = ("question", "solutions", "input_output", "difficulty", "starter_code")

INSTRUCTION = (
    "Write a python code to solve the following coding problem that obeys the constraints and passes the example test "
    "cases. The output code needs to {guide}:\n{question}"
)
"""The instruction of the paper (RQ4), which is the one of CodeLlama (arXiv 2308.12950, appendix F)."""
CALL_GUIDE = "use the provided function signature"
STDIN_GUIDE = "read from and write to standard IO"


def load(source: str | None = None, revision: str | None = None) -> Splits:
    """Load the three splits from the hub, or from a folder or URL with a `train` and a `test` file of the same columns.

    If the folder also has a `validation` file, its splits are used unchanged. If the tests of a test example are
    missing or broken, its `defect` says why. A training example without a solution has an empty `code`.

    Raises ValueError for missing columns or an empty question, and FileNotFoundError if the source does not exist.
    """
    if source is not None and source.endswith(FORMATS):
        raise ValueError(
            f"{NAME}: dataset_path must be a folder with a train and a test file but got the file {source}"
        )
    tables = {split: _rows(source, split, revision) for split in ("train", "test")}
    validation = _validation_rows(source)
    if validation is None:
        validation, tables["train"] = split_train(tables["train"])
        tables["test"] = first_of_each_level(tables["test"])
    origin = source or HUB_ID
    return {
        "train": _examples(tables["train"], f"{origin} train"),
        "validation": _examples(validation, f"{origin} validation"),
        "test": _examples(tables["test"], f"{origin} test", tested=True),
    }


def _rows(source: str | None, split: str, revision: str | None) -> list[dict[str, Any]]:
    path = hub_file(NAME, HUB_ID, f"{split}.jsonl", revision) if source is None else find_split(NAME, source, split)
    return read_rows(NAME, path)


def _validation_rows(source: str | None) -> list[dict[str, Any]] | None:
    try:
        return read_rows(NAME, find_split(NAME, source, "validation")) if source is not None else None
    except FileNotFoundError:
        return None


def split_train(rows: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(validation, train): rows shuffled as by `datasets.Dataset.shuffle(seed=42)`, the first ones for validation."""
    order = np.random.default_rng(SPLIT_SEED).permutation(len(rows))
    count = min(VALIDATION_ROWS, math.ceil(VALIDATION_SHARE * len(rows)))
    shuffled = [rows[place] for place in order]
    return shuffled[:count], shuffled[count:]


def first_of_each_level(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first 250 rows of each level, easiest level first, and then all rows with an unknown level."""
    by_level = {level: [row for row in rows if row.get("difficulty") == level] for level in LEVELS}
    others = [row for row in rows if row.get("difficulty") not in LEVELS]
    return [row for level in LEVELS for row in by_level[level][:TEST_ROWS_A_LEVEL]] + others


def _examples(rows: Sequence[dict[str, Any]], origin: str, tested: bool = False) -> list[Example]:
    columns = dict.fromkeys(column for row in rows for column in row)
    if missing := [column for column in COLUMNS if rows and column not in columns]:
        raise ValueError(f"{NAME}: {origin} must have the columns {', '.join(COLUMNS)} but lacks {', '.join(missing)}; "
                         f"it has {', '.join(columns)}")  # fmt: skip
    ids = unique([str(row.get("problem_id", place)) for place, row in enumerate(rows)])
    return [_example(each, row, origin, tested) for each, row in zip(ids, rows, strict=True)]


def _example(example_id: str, row: dict[str, Any], origin: str, tested: bool) -> Example:
    question = row["question"]
    if not isinstance(question, str) or not question.strip():
        raise ValueError(f"{NAME}: {origin} problem {example_id}: question must have text but got {question!r}")
    text, solutions = _text(row["input_output"]), read_solutions(_text(row["solutions"]))
    defect = _defect(text) if tested else ""
    guide = CALL_GUIDE if _fn_name(text) else STDIN_GUIDE
    return Example(
        id=example_id,
        nl=INSTRUCTION.format(guide=guide, question=question),
        code=solutions[0] if solutions else "",
        other_codes=tuple(solutions[1:]),
        starter_code=_text(row["starter_code"]),
        level=_text(row["difficulty"]),
        tests=text if tested and not defect else "",
        defect=defect,
    )


def _fn_name(text: str) -> str | None:
    """The function that the tests call, if there is one. The instruction depends on it, even for broken tests."""
    tests = _parsed(text)
    name = tests.get("fn_name") if isinstance(tests, dict) else None
    return name if isinstance(name, str) else None


def _defect(text: str) -> str:
    """What is wrong with the tests. Empty if all of them can be read."""
    if not text.strip():
        return "no input_output"
    try:
        parse_tests(text)
    except ValueError as error:
        return str(error)
    return ""


def read_solutions(text: str) -> list[str]:
    """The official solutions that are not empty, in the dataset's order. None if they are missing or broken."""
    solutions = _parsed(text)
    return [each for each in solutions if isinstance(each, str) and each.strip()] if isinstance(solutions, list) else []


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_int=str)
    except (ValueError, RecursionError):
        return None


def _text(value: Any) -> str:
    """A field as text. Re-uploads of APPS hold lists and objects where the dataset has JSON text."""
    if isinstance(value, list | dict):
        return json.dumps(value)
    return value if isinstance(value, str) else ""


_ASKED = "[INST] {nl}\n[/INST]\n"
_FENCED = "```python\n{code}\n```"
FORMS = Forms(
    # Training and generation use the same template. It has a code fence because untuned models write one anyway.
    corrected=Form(
        query="### Instruction:\n{nl}\n### Response:\n```python\n",
        shot="### Instruction:\n{nl}\n### Response:\n```python\n{code}\n```\n\n",
        answer="{code}\n```",
        stop=("```",),
    ),
    # The loss of the paper's code begins after the fence's "```python", with the line break, and ends with the fence:
    # its text also had </s>, whose label its collator ignored, since it was the padding token as well.
    paper_training=Form(
        query=_ASKED + "```python",
        shot=_ASKED + _FENCED + "\n\n",
        answer="\n{code}\n```",
        starter="left out",
        joined=True,
    ),
    paper_generation=Form(
        query=_ASKED + "```python\n",
        shot=_ASKED + _FENCED + "\n\n",
        before="<s>",
        stop=("```",),
        starter="asked",  # its predictions are what was generated, without the starter code
    ),
)
"""The paper's templates: replication package, commit 3b31320. It used no shots on APPS; here they look the same."""

DATASET = Dataset(
    name=NAME,
    load=load,
    max_new_tokens=1024,
    test_size=TEST_ROWS_A_LEVEL * len(LEVELS),  # fewer, if some of them have no usable tests
    longest_tokens=1024,
    max_length=1024,  # the paper's own bound
    decoding=SAMPLES,
    forms=FORMS,
    untuned_stop=("\n### Instruction:",),  # of a plain prompt: untuned models go on with a next one
    levels=LEVELS,
    judged_by=("tests",),
    paper_training="drawn",
    # The package's table of targets at the commit of RQ4; RQ2's has the query, key and value projections only.
    paper_defaults={name: {"target_modules": ("all-linear",)} for name in ("lora", "qlora_8bit", "qlora_4bit")},
)
