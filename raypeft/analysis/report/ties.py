"""Which conditions are tied with the best one: those whose test score cannot be told apart from its.

The condition with the highest test score is one of several that might be the best. Two rules, by what the folder holds:

- *paired*: both have scores of the same single examples. The difference is tested as `raypeft findings` tests it, and
  corrected by Holm for all conditions that are tested. Tied: p is 0.05 or more.
- *unpaired*: only intervals are known. Tied: the interval of the difference holds 0. It is made of both intervals by
  Newcombe's rule for independent proportions (Newcombe 1998, Statistics in Medicine 17, method 10; Zou & Donner 2008
  for other scores). The test examples are the same, so the rule is cautious: it calls more conditions tied than a
  paired one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from math import hypot

from raypeft.analysis.comparisons import SIGNIFICANT, Comparison, compare_pairs
from raypeft.analysis.report.panels import Measured, Standing
from raypeft.analysis.report.study import Study
from raypeft.metrics.metric import Score, Values

MOST_PAIRED = 60
"""Conditions next to the best that are compared with it example by example. Reading the examples takes time."""
PAIRED = "paired test on the same examples, p ≥ 0.05 after Holm's correction"
FEW_SEEDS = f"{PAIRED}, with too few seeds for other seeds to count as chance"
SOME_FEW = f"{PAIRED}; some have too few seeds for other seeds to count as chance"
UNPAIRED = "the interval of the difference contains 0; cautious, since examples are not paired"


def tied_with_best(every: Sequence[Standing], score: Score, study: Study) -> tuple[list[Standing], str]:
    """The standings with their ties marked, and the rule in words; an empty rule: nothing could be compared.

    `every` is best first.
    """
    marked = list(every)
    found = [place for place, each in enumerate(every) if score.name in each.scores]
    if len(found) < 2:
        return marked, ""
    best = every[found[0]]
    near, rest = found[1 : MOST_PAIRED + 1], found[MOST_PAIRED + 1 :]
    paired = _paired(best, [every[place] for place in near], score, study)
    rules: list[str] = []
    for place, made in zip(near, paired, strict=True):
        if made is None:
            tied, rule = _overlaps(best.scores[score.name], every[place].scores[score.name]), UNPAIRED
        else:
            tied, rule = made.p_holm >= SIGNIFICANT, FEW_SEEDS if made.lacks_seeds else PAIRED
        if tied is not None:
            marked[place] = replace(every[place], is_tied=tied)
            rules.append(rule)
    for place in rest:
        tied = _overlaps(best.scores[score.name], every[place].scores[score.name])
        if tied is not None:
            marked[place] = replace(every[place], is_tied=tied)
            rules.append(UNPAIRED)
    if rules:
        marked[found[0]] = replace(best, is_tied=True)
    return marked, _in_words(dict.fromkeys(rules))


def _in_words(rules: Collection[str]) -> str:
    if PAIRED in rules and FEW_SEEDS in rules:
        rules = [SOME_FEW, *(rule for rule in rules if rule == UNPAIRED)]
    return "; or: ".join(rules)


def _paired(best: Standing, others: Sequence[Standing], score: Score, study: Study) -> list[Comparison | None]:
    """For each condition its comparison with the best. None: it has no scores of the same examples, or other versions
    of data, weights or sandbox."""
    values: dict[str, Values] = {row["id"]: study.values(row) for row in best.condition.rows}
    if not all(each.get(score.name) for each in values.values()):
        return [None] * len(others)
    values |= {row["id"]: study.values(row) for each in others for row in each.condition.rows}
    pairs = [(each.condition, best.condition) for each in others]
    return compare_pairs(pairs, values, score, study.declared)


def _overlaps(best: Measured, other: Measured) -> bool | None:
    """Whether the interval of the difference holds 0; None where an interval is missing."""
    if best.low is None or best.high is None or other.low is None or other.high is None:
        return None
    above, below = (best, other) if best.mean >= other.mean else (other, best)
    assert above.low is not None and below.high is not None
    return (above.mean - below.mean) - hypot(above.mean - above.low, below.high - below.mean) <= 0
