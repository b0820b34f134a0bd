"""CoNaLa judged by tests: its training and validation splits, and those of its test examples that ODEX has tests for.

ODEX (arXiv 2212.10481) was made from CoNaLa's questions. An example of CoNaLa's test split is paired with the problem
of ODEX that has the same question of Stack Overflow and the same intent, but for case and white space. Its answer is
a snippet, and becomes the body of the function that ODEX's tests call (`raypeft.sandbox.assert_driver.as_function`).

    nl:    double a number `x`
    code:  2 * x
    tests: {"asserts": ["assert candidate(2) == 4"], "setup": "candidate = f_1", "head": "def f_1(x):", "suffix": ""}

(The row above shows the form; it is not taken from the dataset.)

An example is left out, and counted in `problems_without_tests`, where ODEX's problem cannot be judged in the sandbox
(`raypeft.data.odex.left_out`), where the intent does not name an argument of the function, so that no snippet can use
it, and where CoNaLa's own reference does not pass. So an exact match always passes.
"""

import json
import re
from dataclasses import replace
from typing import Any

from raypeft.data import conala, odex
from raypeft.data.samples import SAMPLES
from raypeft.data.stack_overflow import question_of
from raypeft.data.text import plain
from raypeft.records import Example, Splits

NAME = "conala_tests"
ODEX_FILE = "en_test.jsonl"
FAILING = frozenset(
    """
    1592158-5 16296643-89#2 17960441-39 8908287-54 16193578-72 7373219-3 1960516-75 26441253-42 21887754-31 21887754-88
    21887754-21 3964681-43 3964681-18 3964681-62
    """.split()  # noqa: SIM905 - a list of ids is read as text
)
"""Ids of examples whose reference does not pass: it is Python 2, uses a name that nothing defines, leaves its result
nowhere, or does something else than ODEX's solution."""


def load(source: str | None = None, revision: str | None = None) -> Splits:
    """Load both datasets from the hub, or from a folder with the splits of CoNaLa and ODEX's file `en_test.jsonl`.

    `revision` is CoNaLa's. Raises ValueError for missing columns or broken tests, and FileNotFoundError if a file does
    not exist.
    """
    splits = conala.load(source, revision)
    problems: dict[tuple[str, str], list[tuple[str, odex.Row]]] = {}
    for name, row in odex.problems(f"{source}/{ODEX_FILE}" if source else None):
        problems.setdefault((question_of(name), plain(row["intent"])), []).append((name, row))
    paired = ((each, problems.get((question_of(each.id), plain(each.nl)))) for each in splits["test"])
    return {**splits, "test": [_tested(each, *_best(each, found)) for each, found in paired if found]}


def _best(example: Example, found: list[tuple[str, odex.Row]]) -> tuple[str, odex.Row]:
    """Of ODEX's problems with one intent, that with the example's own answer, or else the first one."""
    same = (each for each in found if each[1]["canonical_solution"].strip() == example.code.strip())
    return next(same, found[0])


def _tested(example: Example, name: str, row: odex.Row) -> Example:
    head = row["prompt"].partition("\n")[0]
    arguments = re.findall(r"\w+", head.partition("(")[2])
    unnamed = [each for each in arguments if not re.search(rf"\b{re.escape(each)}\b", example.nl)]
    if defect := odex.left_out(name, row):
        return replace(example, defect=defect)
    if unnamed:
        return replace(example, defect="the intent does not name an argument of the tested function")
    if example.id in FAILING:
        return replace(example, defect="the reference does not pass")
    tests: dict[str, Any] = {**odex.tests_of(name, row), "head": head}
    return replace(example, tests=json.dumps(tests))


DATASET = replace(
    conala.DATASET, name=NAME, load=load, test_size=52, judged_by=("reference", "tests"), decoding=SAMPLES
)
