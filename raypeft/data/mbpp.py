"""MBPP: 974 short tasks with three assertions each (Austin et al., arXiv 2108.07732).

https://huggingface.co/datasets/google-research-datasets/mbpp (configuration `full`), or the authors' file `mbpp.jsonl`.

    text:            Write a function to double a number.
    code:            def double(x):\\r\\n  return 2 * x
    test_list:       ["assert double(2) == 4", ...]
    test_setup_code: (code that the assertions need, mostly empty)
    task_id:         1 to 974

(The row above shows the form; it is not taken from the dataset.)

The splits are those of the paper's section 2.1: the tasks 11 to 510 are for testing, 511 to 600 for validation and 601
to 974 for training. Its tasks 1 to 10 are for prompts, and are left out here. The instruction shows the assertions, as
in the paper's section 4.1, since they name the function. All 974 official solutions pass in the sandbox.
"""

import json
from typing import Any

from raypeft.data.samples import SAMPLES
from raypeft.data.sources import require, rows_of
from raypeft.data.text import with_line_feeds
from raypeft.records import Dataset, Example, Splits
from raypeft.sandbox import parse_tests

NAME = "mbpp"
HOME = ("google-research-datasets/mbpp", "full")
COLUMNS = ("text", "code", "test_list", "task_id")
TASKS = {"train": range(601, 975), "validation": range(511, 601), "test": range(11, 511)}

INSTRUCTION = "{text}\nYour code should pass these tests:\n{tests}"


def load(source: str | None = None, revision: str | None = None) -> Splits:
    """Load the three splits from the hub, or from the authors' file, or another with the same columns.

    Raises ValueError for missing columns or broken tests, and FileNotFoundError if the source does not exist.
    """
    rows = rows_of(NAME, HOME, source, revision)
    require(NAME, rows, COLUMNS)
    by_task = {row["task_id"]: row for row in rows}
    return {split: [_example(by_task[task]) for task in tasks if task in by_task] for split, tasks in TASKS.items()}


def _example(row: dict[str, Any]) -> Example:
    asserts = [with_line_feeds(each) for each in row["test_list"]]
    tests = json.dumps({"asserts": asserts, "setup": with_line_feeds(row.get("test_setup_code") or "")})
    try:
        parse_tests(tests)
    except ValueError as error:
        raise ValueError(f"{NAME}: task {row['task_id']}: {error}") from None
    return Example(
        id=str(row["task_id"]),
        nl=INSTRUCTION.format(text=row["text"].strip(), tests="\n".join(asserts)),
        code=with_line_feeds(row["code"]).strip(),
        tests=tests,
    )


DATASET = Dataset(
    name=NAME,
    load=load,
    max_new_tokens=512,  # one of the 974 solutions is longer with the toy tokenizer, none with that of SmolLM2
    test_size=500,
    longest_tokens=1024,
    max_length=1024,
    # What an untuned model writes after its function.
    untuned_stop=("\n### Instruction:", "\n```", "\nassert ", "\nprint(", "\nif __name__"),
    judged_by=("reference", "tests"),
    decoding=SAMPLES,
)
