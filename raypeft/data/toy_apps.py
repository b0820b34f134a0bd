"""
The embedded dataset of tested problems: small tasks in English and Python programs that solve them, similar to APPS
(Hendrycks et al., arXiv 2105.09938). Nothing is downloaded: problems, solutions and tests are generated, and are the
same on every machine. An example from the train split:

    nl: take integers `scores` from a line, print the smallest of odd ones or 0 by default
    code:
        scores = list(map(int, input().split()))
        print(min([x for x in scores if x % 2 == 1], default=0))
    tests:
        {"inputs": ["4\\n", "0 0 0\\n", "18 -9 -9 -9\\n", "7 10 2 9 14\\n", "-7 -8 -5 -8\\n", "-5 -2 -9\\n"],
        "outputs": ["0\\n", "0\\n", "-9\\n", "7\\n", "-7\\n", "-9\\n"]}

A problem consists of a form of input, up to two steps (a filter, a change of each value) and an end. Each part has its
code, its phrasings, and a function that does the same with values. Expected outputs come from these functions, never
from the text of the solution. The levels differ in the number of parts: `introductory` has a simple form and an end;
`interview` also has one step, or a harder form; `competition` has a filter, a change and an end.

Some pairs of neighbouring parts (form and end, filter and change, step and end) are held out: each test program has a
pair that no train or validation program has. No form, part or word is new in the test split, but many phrasings are.
The tests contain inputs that nearly correct programs get wrong: values equal or close to a number in the task, negative
numbers, ties, a single element, and inputs for which a filter leaves nothing. A program that skips one of the steps
fails at least one test.

The difficulty suits a tiny model. The dataset says nothing about real models.
"""

import json
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from random import Random
from typing import Any

from raypeft.data.apps import LEVELS
from raypeft.data.samples import SAMPLES
from raypeft.data.toy import expand, pick, put
from raypeft.data.toy_apps_parts import (
    CHANGES,
    ENDS,
    FILTERS,
    FORMS,
    FUNCTIONS,
    LETTERS,
    SIMPLE,
    VARIABLES,
    WORDS,
    Form,
    Kind,
    Part,
    fits,
    follows,
    key,
    neighbours,
    work,
    write,
)
from raypeft.records import Dataset, Example, Splits

SPLIT_SEED = 35
"""The seed from 20 to 49 whose train split contains its rarest part most often (16 times), with four held-out
introductory pairs in the test split. No model was used for this choice."""
ROWS = {"train": (90, 190, 130), "validation": (14, 14, 14), "test": (24, 30, 30)}
"""Number of problems of each level."""
HELD_OUT_SHARE = 0.3
"""Share of held-out pairs among the pairs of each kind: two thirds of them for test, one third for validation."""
TESTS, MOST_ALIKE = 6, 2
"""Number of tests of a problem, and how many of them may have the same answer."""
HARD_FORM_SHARE = 0.35
"""Share of interview problems that have a harder form of input instead of a step."""

Tests = dict[str, Any]


SMALLEST, LARGEST = -9, 20
"""Of the numbers in tests."""
SIZES = (2, 3, 4, 5, 6, 7, 8)
"""How many values a test has, all but the first, which has one."""


@dataclass(frozen=True, slots=True)
class Problem:
    form: Form
    parts: tuple[Part, ...]
    """The steps and the end, in the order in which they work."""
    arguments: tuple[Any, ...]
    """The number or letter of each part; None where it has none."""
    nl: str
    starter_code: str
    code: str
    tests: Tests

    @property
    def pairs(self) -> tuple[str, ...]:
        return neighbours(self.form, self.parts)


@cache
def held_out() -> dict[str, str]:
    """The split of each pair of neighbours that train does not show: a share of each sort of pair, by checksum.

    No part has more than a third of its pairs of a sort held out, so that train shows every part, with many neighbours.
    """
    split_by_pair: dict[str, str] = {}
    steps, simple, hard = FILTERS + CHANGES, FORMS[:SIMPLE], FORMS[SIMPLE:]
    for left, right in ((simple, ENDS), (hard, ENDS), (FILTERS, CHANGES), (steps, ENDS)):
        pairs = [(key(one), key(other)) for one in left for other in right if follows(one, other)]
        pairs.sort(key=lambda pair: zlib.crc32(f"{SPLIT_SEED} {pair}".encode()))
        all_of = Counter(part for pair in pairs for part in pair)
        taken: Counter[str] = Counter()
        turns = cycle(("test", "validation", "test"))
        for pair in pairs:
            if sum(taken.values()) < 2 * HELD_OUT_SHARE * len(pairs) and all(
                taken[part] < max(1, all_of[part] // 3) for part in pair
            ):
                taken.update(pair)
                split_by_pair[" -> ".join(pair)] = next(turns)
    return split_by_pair


@cache
def phrasings(grammar: str, is_train: bool) -> tuple[str, ...]:
    """A part's phrasings for train, or those for validation and test: up to a third, with no word that train lacks."""
    kept = sorted(expand(grammar), key=lambda phrasing: zlib.crc32(phrasing.encode()))
    most = len(kept) // 3
    held: list[str] = []
    for phrasing in tuple(kept):
        others = {word for other in kept if other != phrasing for word in other.split()}
        if len(held) < most and set(phrasing.split()) <= others:
            kept.remove(phrasing)
            held.append(phrasing)
    return tuple(kept if is_train else held or kept)


def draw_argument(part: Part, rng: Random) -> Any:
    if "$c" in part.code:
        return pick(rng, LETTERS)
    if "$n" not in part.code:
        return None
    return 2 + int(rng.random() * (3 if part.takes == "words" else 8))


def draw_values(kind: Kind, arguments: Sequence[Any], rng: Random, size: int) -> list[Any]:
    """Values as a test may have them: often ties, or all negative, or those next to the task's own numbers."""
    if kind == "words":
        pool: Sequence[Any] = WORDS.split()
    else:
        near = [number + step for number in arguments if isinstance(number, int) for step in (-1, 0, 1)]
        pool = pick(rng, (range(SMALLEST, LARGEST + 1), range(SMALLEST, LARGEST + 1), range(SMALLEST, 0), near or [0]))
    if rng.random() < 0.3:
        pool = [pick(rng, pool) for _ in range(3)]
    return [pick(rng, pool) for _ in range(size)]


def is_told_apart(
    parts: Sequence[Part], arguments: Sequence[Any], inputs: Sequence[list[Any]], answers: Sequence[Any]
) -> bool:
    """Whether each step changes some answer, and nothing is left for an end that knows what to do then."""
    if parts[-1].when_filtered and all(work(parts[:-1], arguments[:-1], values) for values in inputs):
        return False
    for left_out in range(len(parts) - 1):
        if parts[left_out].gives and parts[left_out].takes not in parts[left_out + 1].takes:
            continue  # without it, what follows would get values of another kind
        fewer = [place for place in range(len(parts)) if place != left_out]
        short = [parts[place] for place in fewer], [arguments[place] for place in fewer]
        if all(work(*short, values) == answer for values, answer in zip(inputs, answers, strict=True)):
            return False
    return True


def make_tests(form: Form, parts: Sequence[Part], arguments: Sequence[Any], function: str, rng: Random) -> Tests | None:
    """TESTS tests in APPS's form; None where no inputs were found that tell the problem from a simpler one.

    No answer is an empty list, since a program that prints nothing would give it.
    """
    for _ in range(20):
        inputs: list[list[Any]] = []
        answers: list[Any] = []
        for _ in range(60):
            values = draw_values(form.kind, arguments, rng, 1 if not inputs else pick(rng, SIZES))
            answer = work(parts, arguments, values)
            if values not in inputs and answer != [] and answers.count(answer) < MOST_ALIKE:
                inputs.append(values)
                answers.append(answer)
            if len(inputs) == TESTS:
                break
        if len(inputs) == TESTS and is_told_apart(parts, arguments, inputs, answers):
            if form.is_call:
                return {
                    "fn_name": function,
                    "inputs": [[form.encode(values)] for values in inputs],
                    "outputs": [[answer] for answer in answers],
                }
            texts = [" ".join(map(str, answer)) if isinstance(answer, list) else str(answer) for answer in answers]
            return {"inputs": [form.encode(values) for values in inputs], "outputs": [f"{text}\n" for text in texts]}
    return None


def make_problem(form: Form, parts: tuple[Part, ...], is_train: bool, rng: Random) -> Problem | None:
    """A problem of these parts with names and numbers of its own; None where no tests were found for it."""
    variable, function = pick(rng, VARIABLES[form.kind].split()), pick(rng, FUNCTIONS.split())
    arguments = tuple(draw_argument(part, rng) for part in parts)
    tests = make_tests(form, parts, arguments, function, rng)
    if tests is None:
        return None
    task, *told = (
        put(pick(rng, phrasings(part.grammar, is_train)), {"n": f"`{argument}`", "c": f"'{argument}'"})
        for part, argument in zip(parts[::-1], arguments[::-1], strict=True)
    )
    task = task.replace("...", " for ".join(told) or "elements")
    given = put(pick(rng, phrasings(form.grammar, is_train)), {"v": f"`{variable}`"})
    nl = f"{given}, {'return' if form.is_call else 'print'} {task}"
    code = write(form, parts, arguments, variable, function)
    return Problem(form, parts, arguments, nl, code.splitlines()[0] if form.is_call else "", code, tests)


def draw_parts(level: str, rng: Random) -> tuple[Form, tuple[Part, ...]]:
    is_hard = level == "interview" and rng.random() < HARD_FORM_SHARE
    form = pick(rng, [form for form in FORMS if form.is_hard == is_hard])
    steps = {"introductory": [()], "interview": [()] if is_hard else [(FILTERS,), (CHANGES,)]}
    groups = pick(rng, steps.get(level, [(FILTERS, CHANGES)]))
    return form, tuple(pick(rng, group) for group in (*groups, ENDS))


def draw(split: str, level: str, rows: int, seen: set[str], rng: Random) -> list[Problem]:
    """`rows` new problems; no task and no solution comes twice in all splits."""
    drawn: list[Problem] = []
    for _ in range(rows * 1_000):
        if len(drawn) == rows:
            return drawn
        form, parts = draw_parts(level, rng)
        splits = {held_out()[pair] for pair in neighbours(form, parts) if pair in held_out()}
        if not fits(form, parts) or splits != ({split} - {"train"}):
            continue
        problem = make_problem(form, parts, split == "train", rng)
        if problem is not None and not seen & {problem.nl, problem.code}:
            seen |= {problem.nl, problem.code}
            drawn.append(problem)
    raise ValueError(f"rows must be at most what the parts can give for {split}, {level} but got {rows}")


@cache
def problems() -> dict[str, tuple[tuple[str, Problem], ...]]:
    """Each split's problems with their levels."""
    rng, seen = Random(SPLIT_SEED), set[str]()
    made = {}
    for split, counts in ROWS.items():
        rows = [
            (level, problem)
            for level, count in zip(LEVELS, counts, strict=True)
            for problem in draw(split, level, count, seen, rng)
        ]
        # In an order that has nothing to do with the levels.
        made[split] = tuple(sorted(rows, key=lambda row: zlib.crc32(row[1].nl.encode())))
    return made


def load(source: str | None = None, revision: str | None = None) -> Splits:
    """Load the three splits, `train`, `validation` and `test`. Each problem has its tests."""
    if source is not None or revision is not None:
        raise ValueError(f"toy_apps is embedded: source and revision must be left out but got {source!r}, {revision!r}")
    return {
        split: [
            Example(
                id=f"toy_apps/{split}/{number}",
                nl=problem.nl,
                code=problem.code,
                starter_code=problem.starter_code,
                level=level,
                tests=json.dumps(problem.tests),
            )
            for number, (level, problem) in enumerate(rows)
        ]
        for split, rows in problems().items()
    }


DATASET = Dataset(
    name="toy_apps",
    load=load,
    embedded=True,
    max_new_tokens=72,
    test_size=sum(ROWS["test"]),
    longest_tokens=142,  # with the toy tokenizer
    untuned_stop=("\n### Instruction:",),  # untuned models go on with a next one, as the shots do
    levels=LEVELS,
    judged_by=("tests",),
    paper_training="drawn",
    decoding=SAMPLES,
)
