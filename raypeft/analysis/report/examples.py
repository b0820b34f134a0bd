"""The answers of trials as a reader browses them: instruction, reference, candidates with their verdicts.

    for example in examples_of(study, row):
        print(example.id, example.is_right, example.answers[0].text)

Generated programs are text here and nothing else: they are neither run nor changed. What a page holds of them is
bounded, and it says what was left out (`choose`).
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from raypeft.analysis.report.panels import Panel
from raypeft.analysis.report.study import Row, Study
from raypeft.results.declarations import tested_on

MOST_CHARACTERS = 4_000
"""Of a text that a page shows. What is longer is cut, and the page says so."""
MOST_TESTS = 40
"""Of a candidate, of which a page tells the outcome."""
MOST_ERROR = 160
"""Characters of the error of a test."""
MOST_EXAMPLES = 1_000
"""Of a trial."""
MOST_BYTES = 5_000_000
"""Of all examples of a page, compressed."""
MOST_TRIALS = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """A candidate and its verdict."""

    text: str
    is_right: bool
    log_probability: float | None = None
    note: str = ""
    """Its tests, or why it ended early."""
    rank: int = 0
    tests: tuple[Row, ...] = ()
    """Its rows of the table `tests`, in their order."""


@dataclass(frozen=True, slots=True)
class AnsweredExample:
    """A test example and a trial's candidates for it, best first."""

    id: str
    instruction: str
    """Empty where the folder does not hold it."""
    reference: str
    answers: tuple[Answer, ...]
    shots: tuple[str, ...] = ()
    """Ids of the training examples in its prompt."""

    @property
    def is_right(self) -> bool:
        """Whether a candidate is right."""
        return any(each.is_right for each in self.answers)


def examples_of(study: Study, row: Row) -> list[AnsweredExample]:
    """The examples that a trial answered, in the order of the folder; empty where the folder holds no candidates."""
    sweep = study.home[row["id"]]
    candidates: dict[str, list[Row]] = {}
    for each in sweep.read("candidates", row["id"]):
        candidates.setdefault(each["example_id"], []).append(each)
    tests: dict[tuple[str, int], list[Row]] = {}
    for each in sweep.read("tests", row["id"]):
        tests.setdefault((each["example_id"], each["rank"]), []).append(each)
    return [
        AnsweredExample(
            name,
            found[0].get("instruction") or "",
            found[0].get("reference") or "",
            tuple(_answer(each, tests.get((name, each["rank"]), []), bool(tests)) for each in _by_rank(found)),
            tuple(found[0].get("shots") or ()),
        )
        for name, found in candidates.items()
    ]


def hits_of(study: Study, row: Row) -> dict[str, bool]:
    """Example id -> whether one of a trial's candidates is right."""
    return {each.id: each.is_right for each in examples_of(study, row)}


def _by_rank(found: Sequence[Row]) -> list[Row]:
    return sorted(found, key=lambda each: each["rank"])


def _answer(row: Row, tests: Sequence[Row], is_tested: bool) -> Answer:
    """A candidate is right if it passes all its tests, or, where there are none, if it equals the reference."""
    passes_all = bool(tests) and all(each["passed"] for each in tests)
    right = passes_all if is_tested else bool(row.get("matches"))
    notes = [_outcomes(tests)] if tests else []
    if row.get("stop_reason") in ("length", "too_long"):
        notes.append({"length": "cut at max_new_tokens", "too_long": "prompt too long"}[row["stop_reason"]])
    return Answer(row["text"] or "", right, row.get("log_probability"), "; ".join(notes), row["rank"], tuple(tests))


def _outcomes(tests: Sequence[Row]) -> str:
    counts = Counter(each["outcome"] for each in tests)
    failed = next((each["error"] for each in tests if not each["passed"] and each.get("error")), "")
    told = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    return f"tests: {told}" + (f" ({failed[:200]})" if failed else "")


@dataclass(frozen=True, slots=True)
class Packed:
    """The examples of a page."""

    tasks: dict[str, str]
    """Key of a test split -> its instructions and references, compressed (`packed`)."""
    trials: dict[str, str]
    """Trial id -> its answers, compressed."""
    left_out: str = ""
    """What is not there, in words."""


def choose(study: Study, panels: Iterable[Panel], most_bytes: int = MOST_BYTES) -> Packed:
    """The examples of as many trials as there is room for: first one of each method, then the best ones."""
    rows: dict[str, Row] = {}
    for panel in panels:
        for each in [*panel.representatives, *panel.standings]:
            rows |= {row["id"]: row for row in each.condition.trials}
    tasks: dict[str, str] = {}
    trials: dict[str, str] = {}
    known: dict[str, str] = {}
    size, lacking, shortened = 0, 0, 0
    for trial, row in rows.items():
        if len(trials) >= MOST_TRIALS or size >= most_bytes:
            lacking += 1
            continue
        found = examples_of(study, row)
        if not found:
            continue
        shortened += len(found) > MOST_EXAMPLES
        found = found[:MOST_EXAMPLES]
        task = packed([[each.id, cut(each.instruction), cut(each.reference)] for each in found])
        key = known.setdefault(task, f"{tested_on(row)}-{len(known)}")
        blob = packed(_packable(key, found))
        added = len(blob) + (0 if key in tasks else len(task))
        if size + added > most_bytes:
            lacking += 1
            continue
        tasks[key], trials[trial] = task, blob
        size += added
    return Packed(tasks, trials, _left_out(len(trials), lacking, shortened))


def _packable(task: str, found: Sequence[AnsweredExample]) -> dict[str, Any]:
    shots = [each.shots for each in found]
    answers = [[_plain(each) for each in one.answers] for one in found]
    return {"task": task, "answers": answers, **({"shots": shots} if any(shots) else {})}


def _left_out(kept: int, lacking: int, shortened: int) -> str:
    parts = []
    if lacking and kept:
        parts.append(f"Examples of {lacking} further trials are left out, so that this page stays small.")
    if shortened:
        parts.append(f"Of a trial, the first {MOST_EXAMPLES:,} examples are shown.")
    return " ".join(parts)


def _plain(answer: Answer) -> list[Any]:
    probability = None if answer.log_probability is None else round(answer.log_probability, 3)
    tests = [_verdicts(answer.tests)] if answer.tests else []
    return [cut(answer.text), int(answer.is_right), probability, answer.note, *tests]


def _verdicts(tests: Sequence[Row]) -> str:
    """A line for each test."""
    lines = []
    for each in tests[:MOST_TESTS]:
        error = " ".join((each.get("error") or "").split())
        told = f": {error[:MOST_ERROR]}" if error and not each["passed"] else ""
        lines.append(f"test {each['test'] + 1}: {each['outcome']}{told}")
    if len(tests) > MOST_TESTS:
        lines.append(f"… and {len(tests) - MOST_TESTS} more tests")
    return "\n".join(lines)


def cut(text: str) -> str:
    """A text as far as MOST_CHARACTERS, and how long it is where that is not all."""
    if len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[:MOST_CHARACTERS]}\n… cut here: {len(text):,} characters in all"


def packed(data: Any) -> str:
    """Data as JSON, compressed by gzip, in base64: no text in it can end a script or be taken for markup."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # Without a time, the same data give the same bytes.
    return base64.b64encode(gzip.compress(text.encode("utf-8", "surrogatepass"), 6, mtime=0)).decode()
