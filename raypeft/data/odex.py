"""ODEX: 439 questions of Stack Overflow with tests (Wang et al., arXiv 2212.10481). It has a test split only.

https://huggingface.co/datasets/neulab/odex (configuration `en`), or the authors' file `en_test.jsonl`.

    intent:             double a number `x`
    prompt:             def f_1(x):\\n\\treturn
    canonical_solution: 2 * x
    suffix:             (the end of the function, after the solution; mostly empty)
    test_start:         \\ndef check(candidate):
    test:               ["\\n    assert candidate(2) == 4\\n", ...]
    library:            []

(The row above shows the form; it is not taken from the dataset.)

The model continues the function below a comment with the intent. The sandbox has the standard library and numpy, and no
program may read or write files or use the network there. So 78 problems that need another library are left out, and 39
more whose official solution does not pass, mostly since it opens a file. The row counts both in
`problems_without_tests`. The official solutions of the other 322 pass.

The questions are those of CoNaLa: 333 of the 439 stand in CoNaLa's training split. A trial that trains on CoNaLa and
tests on ODEX (`test_dataset`) leaves their training examples out.
"""

import ast
import json
import sys
from typing import Any

from raypeft.data.samples import SAMPLES
from raypeft.data.sources import require, rows_of, unique
from raypeft.data.stack_overflow import question_of
from raypeft.records import Dataset, Example, Form, Forms, Splits
from raypeft.sandbox.asserts import from_check, parse_code

Row = dict[str, Any]

NAME = "odex"
HOME = ("neulab/odex", "en")
COLUMNS = (
    "task_id",
    "intent",
    "prompt",
    "canonical_solution",
    "suffix",
    "test_start",
    "test",
    "entry_point",
    "library",
)
GONE = {"asynchat", "asyncore", "distutils", "imp", "smtpd"}
"""Modules of Python 3.11 that 3.12 has no longer. The problems must be the same with both."""
AT_HAND = {*sys.stdlib_module_names, "numpy"} - GONE
FAILING = frozenset(
    """
    8315209 17977584 22676 22676#2 40133826 20211942 17438096 7138686 4914277 273192 273192#2 273192#3 2011048 17021863
    3880399 14695134 574236 7011291 4454298 7856296 34945274 39112645 8577137 35622945 12330522 4710067 2545397
    4290716 2212433#2 2805231 3925614 8691311 6375343 7243750 18367007 6159900 6159900#2 6159900#3 5838735
    """.split()  # noqa: SIM905 - a list of ids is read as text
)
"""Ids of problems that need no other library, and whose official solution does not pass in the sandbox."""


def load(source: str | None = None, revision: str | None = None) -> Splits:
    """Load the test split from the hub, or from the authors' file; the other splits are empty.

    Raises ValueError for missing columns or broken tests, and FileNotFoundError if the source does not exist.
    """
    return {"train": [], "validation": [], "test": [_example(*each) for each in problems(source, revision)]}


def problems(source: str | None = None, revision: str | None = None) -> list[tuple[str, Row]]:
    """All rows, each with its id, which is the question's, with a number behind it for its further problems."""
    rows = rows_of(NAME, HOME, source, revision)
    require(NAME, rows, COLUMNS)
    return [*zip(unique([str(row["task_id"]) for row in rows]), rows, strict=True)]


def _example(example_id: str, row: Row) -> Example:
    defect = left_out(example_id, row)
    return Example(
        id=example_id,
        nl=row["intent"],
        code=row["prompt"] + row["canonical_solution"] + row["suffix"],
        starter_code=row["prompt"],
        tests="" if defect else json.dumps(tests_of(example_id, row)),
        defect=defect,
    )


def tests_of(example_id: str, row: Row) -> dict[str, Any]:
    """The tests of a problem. Raises ValueError, which names the problem, where they are broken."""
    try:
        return _tests(row)
    except ValueError as error:
        raise ValueError(f"{NAME}: {example_id}: {error}") from None


def left_out(example_id: str, row: Row) -> str:
    """Why a problem cannot be judged in the sandbox. Empty if it can."""
    others = sorted({name.partition(".")[0] for name in row["library"]} - AT_HAND)
    if others:
        return f"needs {', '.join(others)}, which the sandbox has not"
    return "the official solution does not pass in the sandbox" if example_id in FAILING else ""


def _tests(row: Row) -> dict[str, Any]:
    """All tests of a problem. Where each is its own set of assertions, they are joined; else each check runs whole."""
    parts = [from_check(row["test_start"] + part, row["entry_point"]) for part in row["test"]]
    setups = list(dict.fromkeys(part["setup"] for part in parts))
    if len(setups) > 1:  # each check has helpers of its own: they follow each other as statements of one test each
        codes = [ast.unparse(parse_code("\n".join([part["setup"], *part["asserts"]]))) for part in parts]
        return {"asserts": codes, "setup": "", "suffix": row["suffix"]}
    return {
        "asserts": [code for part in parts for code in part["asserts"]],
        "setup": setups[0],
        "suffix": row["suffix"],
    }


COMPLETION = Form(
    query="# {nl}\n",
    shot="# {nl}\n{code}\n\n",
    starter="prefilled",
    stop=("\nclass", "\ndef", "\n#", "\nif", "\nprint", "\n\n"),
)

DATASET = Dataset(
    name=NAME,
    load=load,
    max_new_tokens=128,
    test_size=322,
    longest_tokens=256,
    untuned_stop=("\n### Instruction:",),
    forms=Forms(COMPLETION, COMPLETION, COMPLETION),
    judged_by=("tests",),
    splits=("test",),
    decoding=SAMPLES,
    source_of=question_of,
)
