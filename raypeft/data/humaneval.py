"""HumanEval: 164 functions to complete, with tests (Chen et al., arXiv 2107.03374). It has a test split only.

https://huggingface.co/datasets/openai/openai_humaneval, or the authors' file `HumanEval.jsonl`.

    prompt:             def double(x: int) -> int:\\n    \\"\\"\\"Twice the number.\\"\\"\\"\\n
    canonical_solution: (four blanks) return 2 * x
    test:               def check(candidate):\\n    assert candidate(2) == 4\\n
    entry_point:        double

(The row above shows the form; it is not taken from the dataset.)

The prompt is the beginning of the program, which the model continues, as in the paper; under `prompt_form: chat` or
`fenced` it stands below an instruction. All 164 official solutions pass in the sandbox. The checks of 12 problems run
inside it, since they have loops or tolerances; those of the others are compared outside (`raypeft.sandbox.asserts`).
"""

import json
from typing import Any

from raypeft.data.samples import SAMPLES
from raypeft.data.sources import require, rows_of
from raypeft.records import Dataset, Example, Form, Forms, Splits
from raypeft.sandbox.asserts import from_check

NAME = "humaneval"
HOME = ("openai/openai_humaneval", None)
COLUMNS = ("task_id", "prompt", "canonical_solution", "test", "entry_point")

INSTRUCTION = "Complete this Python function. Answer with the whole program."


def load(source: str | None = None, revision: str | None = None) -> Splits:
    """Load the test split from the hub, or from the authors' file; the other splits are empty.

    Raises ValueError for missing columns or broken tests, and FileNotFoundError if the source does not exist.
    """
    rows = rows_of(NAME, HOME, source, revision)
    require(NAME, rows, COLUMNS)
    return {"train": [], "validation": [], "test": [_example(row) for row in rows]}


def _example(row: dict[str, Any]) -> Example:
    try:
        tests = from_check(row["test"], row["entry_point"])
    except ValueError as error:
        raise ValueError(f"{NAME}: {row['task_id']}: {error}") from None
    return Example(
        id=row["task_id"],
        nl=INSTRUCTION,
        code=row["prompt"] + row["canonical_solution"],
        starter_code=row["prompt"],
        tests=json.dumps(tests),
    )


COMPLETION = Form(
    query="",
    shot="{code}\n\n",
    starter="prefilled",
    stop=("\nclass", "\ndef", "\n#", "\nif", "\nprint"),  # the paper's section 3.1
)

DATASET = Dataset(
    name=NAME,
    load=load,
    max_new_tokens=512,
    test_size=164,
    longest_tokens=1024,
    untuned_stop=("\n### Instruction:",),
    forms=Forms(COMPLETION, COMPLETION, COMPLETION),
    judged_by=("tests",),
    splits=("test",),
    decoding=SAMPLES,
)
