"""Conditions compared on the same test examples: difference, interval, p-value, and what would decide.

    for comparison in compare(rows, store, baseline, declared).made:
        print(comparison.condition.label, comparison.difference, comparison.p_holm)

One test for each case. With three seeds or more of every side that has chance in it, seeds and examples are both chance
(`raypeft.analysis.pairing`). With fewer, examples alone are, and the comparison says so: McNemar's exact test for hits
and misses, a permutation test for other scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raypeft.analysis.baselines import Baseline, baseline_of, other_versions
from raypeft.analysis.conditions import Condition, Row, conditions
from raypeft.analysis.pairing import floor_of, lacking_seeds, over_seeds_and_examples
from raypeft.metrics.exact_match import values_of_matches
from raypeft.metrics.metric import Answers, Score, Values
from raypeft.metrics.scoring import values_by_example
from raypeft.results.declarations import Declarations
from raypeft.results.store import ResultStore

SIGNIFICANT = 0.05
NEITHER = "more seeds and more test examples"
"""What would decide where more of one of both would not."""
NO_EXAMPLES = "scores of single examples are needed, and the folder has no example_scores or candidates of both trials"


Read = Callable[[str, str], list[dict[str, Any]]]
"""Table and trial id -> the trial's rows of the table."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of one score of two conditions, in the score's own unit."""

    condition: Condition
    baseline: Condition
    score: Score
    difference: float
    """Mean of the condition minus mean of the baseline."""
    low: float
    high: float
    """Bounds of its 95 % interval."""
    p_value: float
    detectable: float
    """The smallest difference that these seeds and examples would find with a chance of 80 %."""
    seeds: tuple[int, int]
    """Of the condition and of the baseline."""
    examples: int
    counts_seeds: bool
    """Whether interval and p-value count other seeds as chance. If not, they count other test examples only."""
    lacks_seeds: bool = False
    """Whether a side that trains, or draws its shots, ran with too few seeds for other seeds to count as chance."""
    effect: str = ""
    """Effect size: odds ratio for hits and misses of one seed, A12 over seeds."""
    seeds_needed: int | None = None
    """Seeds that would find this difference with a chance of 80 %. None: unknown, or no number of seeds would."""
    examples_needed: int | None = None
    """The same of test examples, by as many seeds. None: unknown, or no number would."""
    p_holm: float = 1.0
    """Corrected for all comparisons of this score in the same call."""

    @property
    def is_significant(self) -> bool:
        return self.p_holm < SIGNIFICANT

    @property
    def would_decide(self) -> str:
        """What would probably decide an open comparison; empty where it is decided."""
        if self.is_significant or not self.difference:
            return ""
        if self.p_value < SIGNIFICANT:  # its seeds and examples are enough: the number of comparisons leaves it open
            return "alone it would be decided"
        if self.counts_seeds and self.seeds_needed:
            return f"{self.seeds_needed} seeds"
        if self.counts_seeds:
            return f"{self.examples_needed:,} test examples" if self.examples_needed else NEITHER
        from raypeft.analysis.statistics.paired import examples_for

        examples = examples_for(self.difference, self.detectable, self.examples, self.score.unit == "fraction")
        more = f"{examples:,.0f} test examples" if examples < 1e6 else ""
        return " and ".join(filter(None, ("3 seeds or more" if self.lacks_seeds else "", more)))


@dataclass(frozen=True, slots=True)
class Compared:
    """Everything that came of comparing the conditions of a folder with a baseline."""

    made: list[Comparison]
    left_out: list[tuple[Condition, str]]
    """Conditions without a comparison, and why."""


def compare(rows: Sequence[Row], store: ResultStore, baseline: Baseline, declared: Declarations) -> Compared:
    """Each condition against its own baseline, by every score that has values of single examples."""
    every = conditions(rows, declared)
    # Found once: with thousands of conditions, to ask each of them about every other one would take minutes.
    baselines = [each for each in every if baseline.fits(each)]
    are_baselines = set(map(id, baselines))
    read = reader(store)
    values = {row["id"]: values_of(read, row, declared) for row in rows}
    made: list[Comparison] = []
    left_out: list[tuple[Condition, str]] = []
    for condition in every:
        if id(condition) in are_baselines or baseline.pairs.keys() - condition.fields.keys():
            continue  # it is a baseline, or of a method without the field that is compared
        other = baseline_of(condition, baseline, baselines, declared)
        if isinstance(other, str):
            left_out.append((condition, other))
            continue
        found, lacks = _by_each_score(condition, other, values, declared)
        made += found
        if not found:
            left_out.append((condition, lacks))
    return Compared(_corrected(made), left_out)


def reader(store: ResultStore) -> Read:
    """What reads a folder's scores of single examples for many trials, also where one file holds those of all."""
    stored = store.by_trial("example_scores")

    def read(table: str, trial_id: str) -> list[dict[str, Any]]:
        return stored(trial_id) if table == "example_scores" else store.read_rows(table, trial_id)

    return read


def values_of(read: Read, row: Row, declared: Declarations) -> Values:
    """What a trial can be compared by: its stored values of each example, or, where there are none, made from its
    candidates and tests. `read` gives a trial's rows of a table.
    """
    values: Values = {}
    for each in read("example_scores", row["id"]):
        values.setdefault(each["score"], {})[each["example_id"]] = each["value"]
    return values or _values_of_answers(read, row, declared)


def _values_of_answers(read: Read, row: Row, declared: Declarations) -> Values:
    """The same made from a trial's candidates and tests.

    Shared candidates can lack their references; then exact match is known from `matches`, and CodeBLEU is not.
    """
    dataset = declared.tested(row)
    candidates = read("candidates", row["id"])
    judged_by = list(dataset.judged_by)
    values: Values = {}
    if "reference" in judged_by and any(each.get("reference") is None for each in candidates):
        judged_by.remove("reference")
        values = values_of_matches(candidates)
    if not judged_by:
        return values
    answers = Answers.from_rows(candidates, read("tests", row["id"]), dataset.levels)
    return values | values_by_example(answers, judged_by)


def compare_pairs(
    pairs: Sequence[tuple[Condition, Condition]], values: dict[str, Values], score: Score, declared: Declarations
) -> list[Comparison | None]:
    """Each first condition against its second by one score, corrected for all of them. None: they cannot be compared.

    `values` are those of `values_of` by the ids of the conditions' trials.
    """
    found = [other_versions(*pair) or _by_score(pair, values, score, declared) for pair in pairs]
    corrected = iter(_corrected([each for each in found if isinstance(each, Comparison)]))
    return [next(corrected) if isinstance(each, Comparison) else None for each in found]


def _by_each_score(
    condition: Condition, other: Condition, values: dict[str, Values], declared: Declarations
) -> tuple[list[Comparison], str]:
    """The comparisons that can be made, and, where there are none, why."""
    found = [_by_score((condition, other), values, score, declared) for score in declared.scores]
    lacks = [each for each in found if isinstance(each, str) and each]
    made = [each for each in found if isinstance(each, Comparison)]
    return made, lacks[-1] if lacks else NO_EXAMPLES


def _by_score(
    pair: tuple[Condition, Condition], values: dict[str, Values], score: Score, declared: Declarations
) -> Comparison | str:
    """The comparison by one score, or why there is none; empty where a side has no values of single examples."""
    tables = [[values[row["id"]].get(score.name, {}) for row in side.rows] for side in pair]
    if not all(table for side in tables for table in side):
        return ""
    first = tables[0][0]
    if any(table.keys() != first.keys() for side in tables for table in side):
        sizes = dict.fromkeys(len(table) for side in tables for table in side)
        return f"they were scored on other test examples ({' and '.join(map(str, sizes))})"
    if len(first) < 2:
        return "a comparison needs two or more test examples but they have one"
    hits = [[values[row["id"]].get(score.hits or "", {}) for row in side.rows] for side in pair]
    ours, theirs = (_array(side, first) for side in tables)
    both = (_array(hits[0], first), _array(hits[1], first)) if all(table for side in hits for table in side) else None
    return _compared(pair, score, (ours, theirs), both, declared)


def _array(side: Sequence[dict[str, float]], examples: Iterable[str]) -> Any:
    """(seeds, examples), the examples in one order for every seed."""
    return np.array([[table[example] for example in examples] for table in side], float)


def _compared(
    pair: tuple[Condition, Condition], score: Score, values: Any, hits: Any, declared: Declarations
) -> Comparison:
    from raypeft.analysis.statistics.effects import a12

    ours, theirs = values
    examples = ours.shape[1]
    floor = floor_of(score, examples)
    made = Comparison(
        condition=pair[0],
        baseline=pair[1],
        score=score,
        difference=float(ours.mean() - theirs.mean()),
        low=0.0,
        high=0.0,
        p_value=1.0,
        detectable=0.0,
        seeds=(len(ours), len(theirs)),
        examples=examples,
        counts_seeds=False,
        lacks_seeds=bool(lacking_seeds(pair, declared)),
    )
    found = over_seeds_and_examples(pair, values, declared, floor)
    if found is None:
        means = ours.mean(axis=0), theirs.mean(axis=0)
        return _over_examples(made, means, hits if len(ours) == len(theirs) == 1 else None, floor)
    seeds = found.seeds_for(found.mean) if found.mean else None
    return replace(
        made,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        detectable=found.detectable,
        counts_seeds=True,
        effect=f"A12 {a12(ours.mean(axis=1), theirs.mean(axis=1)):.2f}",
        seeds_needed=seeds,
        # Looked for only where it is told, since it takes its time.
        examples_needed=found.examples_for(found.mean) if found.p_value >= SIGNIFICANT and not seeds else None,
    )


def _over_examples(made: Comparison, means: tuple[Any, Any], hits: Any, floor: float) -> Comparison:
    """Where seeds are no chance, or too few to count them: other test examples are the only chance."""
    from raypeft.analysis.statistics.effects import odds_ratio
    from raypeft.analysis.statistics.paired import detectable, mcnemar, paired_bootstrap

    boot = paired_bootstrap(*means, floor=floor)
    made = replace(made, low=boot.low, high=boot.high, p_value=boot.p_value, detectable=detectable(*means, floor=floor))
    if hits is None:
        return made
    exact = mcnemar(*(side[0].astype(bool) for side in hits))
    odds = odds_ratio(exact.only_a, exact.only_b)
    told = f"{exact.only_a} : {exact.only_b}, odds ratio {odds}" if odds else ""
    return replace(made, p_value=exact.p_value, effect=told)


def _corrected(made: Sequence[Comparison]) -> list[Comparison]:
    """With `p_holm`, by Holm within the comparisons of each score."""
    from raypeft.analysis.statistics.families import holm

    corrected = list(made)
    for name in dict.fromkeys(each.score.name for each in made):
        places = [place for place, each in enumerate(made) if each.score.name == name]
        for place, p_value in zip(places, holm([made[place].p_value for place in places]), strict=True):
            corrected[place] = replace(made[place], p_holm=p_value)
    return corrected
