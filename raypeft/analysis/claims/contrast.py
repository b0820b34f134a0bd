"""The difference between two conditions as claims need it: its standard error, and the chance that it passes a limit.

    found = contrast(lora, icl, score, evidence)
    found.p_above(0.02)         # two-sided p-value with which the difference is larger than 0.02

Seeds and examples are both chance (`raypeft.analysis.pairing.over_seeds_and_examples`), so a method that trains or
draws its shots at random needs three seeds. Scores without values of single examples are compared over seeds alone
(Student's t, paired where both ran the same seeds, else Welch's).

Fractions of few examples can agree by chance, such as 0 of 100 hits of both. Their variance is enlarged
(`raypeft.analysis.statistics.paired.floor_variance`), so that no interval has zero width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raypeft.analysis.choosing import is_known
from raypeft.analysis.claims.evidence import Evidence
from raypeft.analysis.conditions import Condition, other_versions
from raypeft.analysis.pairing import fewest_seeds, floor_of, lacking_seeds, over_seeds_and_examples, same_seeds
from raypeft.analysis.statistics.paired import CONFIDENCE, POWER
from raypeft.analysis.statistics.seeds import FEWEST_SEEDS, welch
from raypeft.metrics.metric import Score
from raypeft.mistakes import number_of

FEWEST_EXAMPLES = 20
"""Examples from which the mean of a difference is taken as normal."""
MOST_SEEDS = 200
BOTH = "seeds and test examples"
EXAMPLES = "test examples"
SEEDS_ALONE = "seeds"


@dataclass(frozen=True, slots=True)
class Contrast:
    """The mean difference of two conditions, first minus second, in the unit of the score."""

    difference: float
    error: float
    """Its standard error."""
    degrees: float
    """Degrees of freedom of Student's t; infinite: normal."""
    chance: str
    """What counts as chance: BOTH, EXAMPLES or SEEDS_ALONE."""
    seeds: int
    examples: int
    by_seed: float
    """Variance of the difference that one seed alone would have; it falls with the number of seeds."""

    def p_above(self, limit: float) -> float:
        """How surely the difference is above a limit: a two-sided p-value, 1 where it is not above."""
        return self._p(self.difference - limit)

    def p_below(self, limit: float) -> float:
        """The same for below."""
        return self._p(limit - self.difference)

    def _p(self, distance: float) -> float:
        from scipy import stats

        if self.error <= 0:
            return 0.0 if distance > 0 else 1.0
        return min(1.0, 2 * float(stats.t.sf(distance / self.error, self.degrees)))

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds of the 95 % interval."""
        from scipy import stats

        margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, self.degrees)) * self.error
        return self.difference - margin, self.difference + margin

    def would_decide(self, distance: float) -> str:
        """Seeds or examples with which a difference so far from the limit would be found with a chance of 80 %."""
        distance = abs(distance)
        if distance < 1e-9:
            return ""
        fixed = max(0.0, self.error**2 - self.by_seed / max(self.seeds, 1))
        if self.chance != EXAMPLES:
            counts = np.arange(max(FEWEST_SEEDS, self.seeds + 1), MOST_SEEDS + 1)
            enough = counts[_reach(self.by_seed / counts + fixed, counts - 1) <= distance]
            if len(enough):
                return f"{enough[0]} seeds"
        if self.chance == SEEDS_ALONE or not self.examples:
            return f"more than {MOST_SEEDS} seeds"
        by_examples = fixed if self.chance == BOTH else self.error**2
        examples = float(self.examples * by_examples * (_reach(1.0, math.inf) / distance) ** 2)
        return f"about {_rounded_up(examples)} test examples" if examples < 1e6 else ""


def _reach(variance: Any, degrees: Any) -> Any:
    """The smallest difference that is found with a chance of 80 %."""
    from scipy import stats

    return (stats.t.ppf((1 + CONFIDENCE) / 2, degrees) + stats.t.ppf(POWER, degrees)) * variance**0.5


def _rounded_up(number: float) -> str:
    """With two digits, so that nobody takes it for exact: 1,234 becomes 1,300."""
    step = 10 ** max(0, len(str(int(number))) - 2)
    return f"{math.ceil(number / step) * step:,}"


def contrast(one: Condition, other: Condition, score: Score, evidence: Evidence) -> Contrast | str:
    """The difference of two conditions by a score, or why it cannot be tested."""
    for side in (one, other):
        if lacking := [row for row in side.rows if not is_known(row.get(score.name))]:
            return f"{side.label} ({side.ids}) has no {score.title} in {len(lacking)} of {len(side.rows)} trials"
    if others := other_versions(one, other):
        return f"{one.label} and {other.label}: {others}"
    few = lacking_seeds((one, other), evidence.declared)
    if few:
        name, count = fewest_seeds(few[0], evidence.declared)
        return f"{few[0].label} ran with {number_of(count, name)}; {FEWEST_SEEDS} or more are needed"
    tables = [[evidence.values(row).get(score.name, {}) for row in side.rows] for side in (one, other)]
    keys = {frozenset(table) for side in tables for table in side}
    if len(keys) > 1 and frozenset() not in keys:
        return f"{one.label} and {other.label} were scored on other test examples"
    if frozenset() in keys:
        return _over_seeds(one, other, score)
    names = sorted(next(iter(keys)))
    if len(names) < FEWEST_EXAMPLES:
        return f"{len(names)} test examples are too few; {FEWEST_EXAMPLES} or more are needed"
    ours, theirs = (np.array([[table[name] for name in names] for table in side], float) for side in tables)
    return _over_both((one, other), (ours, theirs), score, evidence)


def _over_both(
    sides: tuple[Condition, Condition], values: tuple[Any, Any], score: Score, evidence: Evidence
) -> Contrast:
    """From the values (seeds, examples) of both."""
    ours, theirs = values
    examples = ours.shape[1]
    floor = floor_of(score, examples)
    found = over_seeds_and_examples(sides, values, evidence.declared, floor)
    if found is not None:
        return Contrast(found.mean, found.error, found.degrees, BOTH, found.seeds, examples, found.by_seed)
    gains = ours.mean(axis=0) - theirs.mean(axis=0)
    error = float((gains.var(ddof=1) / examples + floor) ** 0.5)
    return Contrast(float(gains.mean()), error, examples - 1, EXAMPLES, min(map(len, values)), examples, 0.0)


def _over_seeds(one: Condition, other: Condition, score: Score) -> Contrast | str:
    """From one score a seed."""
    ours, theirs = (np.array([row[score.name] for row in side.rows], float) for side in (one, other))
    if min(len(ours), len(theirs)) < FEWEST_SEEDS:
        return (f"scores of single examples are not stored, and {one.label} or {other.label} ran with fewer than "
                f"{FEWEST_SEEDS} seeds")  # fmt: skip
    order = same_seeds(one.rows, other.rows)
    if order is None:
        return unpaired(ours.tolist(), theirs.tolist(), min(len(ours), len(theirs)))
    gains, n = ours - theirs[order], len(ours)
    variance = float(gains.var(ddof=1))
    return Contrast(float(gains.mean()), (variance / n) ** 0.5, n - 1, SEEDS_ALONE, n, 0, variance)


def unpaired(ours: Sequence[float], theirs: Sequence[float], seeds: int) -> Contrast:
    """The difference of the means of two independent samples, one value a seed (Welch's t)."""
    parts = [float(np.var(side, ddof=1)) / len(side) for side in (ours, theirs)]
    degrees = welch(parts, [len(ours) - 1, len(theirs) - 1])
    difference = float(np.mean(ours) - np.mean(theirs))
    return Contrast(difference, sum(parts) ** 0.5, degrees, SEEDS_ALONE, seeds, 0, sum(parts) * seeds)


def mean_contrast(found: Sequence[Contrast]) -> Contrast:
    """The mean over blocks, for these blocks: other models and datasets are no chance here."""
    n = len(found)
    parts = [(each.error / n) ** 2 for each in found]
    return Contrast(
        difference=sum(each.difference for each in found) / n,
        error=sum(parts) ** 0.5,
        degrees=welch(parts, [each.degrees for each in found]),
        chance=found[0].chance if len({each.chance for each in found}) == 1 else BOTH,
        seeds=min(each.seeds for each in found),
        examples=sum(each.examples for each in found),
        by_seed=sum(each.by_seed for each in found) / n**2,
    )
