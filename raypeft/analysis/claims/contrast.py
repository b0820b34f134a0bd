"""The difference between two conditions as claims need it: its standard error, and the chance that it passes a limit.

    found = contrast(lora, icl, score, evidence)
    found.p_above(0.02)         # two-sided p-value with which the difference is larger than 0.02

Seeds and examples are both chance (`raypeft.analysis.statistics.seeds.two_level`), so a method that trains or draws its
shots at random needs three seeds. Scores without values of single examples are compared over seeds alone (Student's t,
paired where both ran the same seeds, else Welch's).

Fractions of few examples can agree by chance, such as 0 of 100 hits of both. Their variance is enlarged by that of half
an example that only the one side hits and half an example that only the other hits (Agresti and Min 2005, Statistics
in Medicine 24, 729-740), so that no interval has zero width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raypeft.analysis.choosing import is_known
from raypeft.analysis.claims.evidence import Evidence
from raypeft.analysis.comparisons import paired_seeds
from raypeft.analysis.conditions import Condition
from raypeft.analysis.statistics.paired import CONFIDENCE, POWER
from raypeft.analysis.statistics.seeds import FEWEST_SEEDS, two_level
from raypeft.metrics.metric import Score

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
    few = [side for side in (one, other) if has_chance(side, evidence) and len(side.rows) < FEWEST_SEEDS]
    if few:
        return f"{few[0].label} ran with {_count(len(few[0].rows), 'seed')}; {FEWEST_SEEDS} or more are needed"
    ours, theirs = paired_seeds(one.rows, other.rows)
    tables = [[evidence.values(row).get(score.name, {}) for row in side] for side in (ours, theirs)]
    keys = {frozenset(table) for side in tables for table in side}
    if len(keys) > 1 and frozenset() not in keys:
        return f"{one.label} and {other.label} were scored on other test examples"
    if frozenset() in keys:
        return _over_seeds(one, other, score, len(ours))
    names = sorted(next(iter(keys)))
    if len(names) < FEWEST_EXAMPLES:
        return f"{len(names)} test examples are too few; {FEWEST_EXAMPLES} or more are needed"
    arrays = [np.array([[table[name] for name in names] for table in side], float) for side in tables]
    return _over_both(arrays[0] - arrays[1], score)


def has_chance(condition: Condition, evidence: Evidence) -> bool:
    """Whether another seed could give another score on all examples: it trains, or asks all with the same random shots.

    Sampling, and shots drawn anew for each query, are chance as well, but of single examples: the variance between
    examples has it.
    """
    fields = condition.fields
    if evidence.declared.method(fields["tuning_method"]).trains:
        return True
    random_shots = fields.get("num_shots") and fields.get("shot_source") in (None, "random")
    return bool(random_shots) and fields.get("icl_sampling") in (None, "fixed")


def _over_both(differences: Any, score: Score) -> Contrast:
    """From the differences (seeds, examples)."""
    seeds, examples = differences.shape
    floor = 1 / (examples + 2) ** 2 if score.unit == "fraction" else 0.0
    if seeds >= FEWEST_SEEDS:
        found = two_level(differences)
        by_seed = found.seed_variance + found.noise_variance / examples
        error = (found.error**2 + floor) ** 0.5
        return Contrast(found.mean, error, found.degrees, BOTH, seeds, examples, by_seed)
    means = differences.mean(axis=0)
    error = float((means.var(ddof=1) / examples + floor) ** 0.5)
    return Contrast(float(means.mean()), error, examples - 1, EXAMPLES, seeds, examples, 0.0)


def _over_seeds(one: Condition, other: Condition, score: Score, pairs: int) -> Contrast | str:
    """From one score a seed."""
    ours, theirs = ([float(row[score.name]) for row in side.rows] for side in (one, other))
    if min(len(ours), len(theirs)) < FEWEST_SEEDS:
        return (f"scores of single examples are not stored, and {one.label} or {other.label} ran with fewer than "
                f"{FEWEST_SEEDS} seeds")  # fmt: skip
    difference = float(np.mean(ours) - np.mean(theirs))
    same = [{row.get("seed"): row[score.name] for row in side.rows} for side in (one, other)]
    common = [seed for seed in same[0] if seed in same[1]]
    if len(common) == len(ours) == len(theirs):
        gains = [same[0][seed] - same[1][seed] for seed in common]
        variance, n = float(np.var(gains, ddof=1)), len(gains)
        return Contrast(difference, (variance / n) ** 0.5, n - 1, SEEDS_ALONE, n, 0, variance)
    return unpaired(ours, theirs, pairs)


def unpaired(ours: Sequence[float], theirs: Sequence[float], seeds: int) -> Contrast:
    """The difference of the means of two independent samples, one value a seed (Welch's t)."""
    parts = [float(np.var(side, ddof=1)) / len(side) for side in (ours, theirs)]
    degrees = welch(parts, [len(ours) - 1, len(theirs) - 1])
    difference = float(np.mean(ours) - np.mean(theirs))
    return Contrast(difference, sum(parts) ** 0.5, degrees, SEEDS_ALONE, seeds, 0, sum(parts) * seeds)


def welch(variances: Sequence[float], degrees: Sequence[float]) -> float:
    """Degrees of freedom of a sum of variances (Welch 1947, Biometrika 34, 28-35)."""
    below = sum(part**2 / each for part, each in zip(variances, degrees, strict=True) if math.isfinite(each))
    return sum(variances) ** 2 / below if below > 0 else math.inf


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


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
