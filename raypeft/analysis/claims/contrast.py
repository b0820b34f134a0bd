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
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from raypeft.analysis.baselines import other_versions
from raypeft.analysis.choosing import is_known
from raypeft.analysis.claims.evidence import Evidence
from raypeft.analysis.claims.shared_chance import Parts, mean_of, of_examples, of_seeds
from raypeft.analysis.comparisons import NEITHER
from raypeft.analysis.conditions import Condition
from raypeft.analysis.pairing import (
    Drawn,
    drawn_seeds,
    fewest_seeds,
    floor_of,
    lacking_seeds,
    of_drawn,
    same_seeds,
)
from raypeft.analysis.statistics.paired import CONFIDENCE
from raypeft.analysis.statistics.seeds import FEWEST_SEEDS, welch
from raypeft.analysis.statistics.spread import Spread, freedom
from raypeft.metrics.metric import Score
from raypeft.mistakes import number_of
from raypeft.results.declarations import Declarations

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
    spread: Spread
    parts: Parts = field(default_factory=Parts)
    """What each seed and each example adds to it, for a mean over blocks."""

    @property
    def seeds(self) -> int:
        """Of the side with fewer."""
        return self.spread.seeds

    @property
    def examples(self) -> int:
        """0 where they are no chance."""
        return 0 if self.chance == SEEDS_ALONE else self.spread.examples

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
        if self.chance != EXAMPLES and (seeds := self.spread.seeds_for(distance, MOST_SEEDS)):
            return f"{max(seeds, FEWEST_SEEDS, self.seeds + 1)} seeds"
        if self.chance == SEEDS_ALONE:
            return f"more than {MOST_SEEDS} seeds"
        if examples := self.spread.examples_for(distance):
            return f"about {_rounded_up(examples)} test examples"
        return NEITHER if self.chance == BOTH else ""


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
        return _over_seeds(one, other, score, evidence.declared)
    names = sorted(next(iter(keys)))
    if len(names) < FEWEST_EXAMPLES:
        return f"{len(names)} test examples are too few; {FEWEST_EXAMPLES} or more are needed"
    ours, theirs = (np.array([[table[name] for name in names] for table in side], float) for side in tables)
    return _over_both((one, other), (ours, theirs), names, score, evidence)


def _over_both(
    sides: tuple[Condition, Condition],
    values: tuple[Any, Any],
    names: Sequence[str],
    score: Score,
    evidence: Evidence,
) -> Contrast:
    """From the values of both, (seeds, examples); `names` are the examples."""
    ours, theirs = values
    examples = len(names)
    floor = floor_of(score, examples)
    gains = ours.mean(axis=0) - theirs.mean(axis=0)
    drawn = drawn_seeds(sides, values, evidence.declared)
    found = of_drawn(drawn, floor)
    test = str(sides[0].fields["test_dataset"])
    parts = Parts(
        of_seeds(drawn, evidence.declared),
        of_examples(gains, names, test),
        found.noise_variance / found.seeds / examples if found else 0.0,
        {(test, ""): floor**0.5},
    )
    if found is not None:
        return Contrast(found.mean, found.error, found.degrees, BOTH, found, parts)
    variance = float(gains.var(ddof=1))
    error = (variance / examples + floor) ** 0.5
    spread = Spread(0.0, variance, 0.0, min(map(len, values)), examples, 0.0, floor)
    return Contrast(float(gains.mean()), error, examples - 1, EXAMPLES, spread, parts)


def _over_seeds(one: Condition, other: Condition, score: Score, declared: Declarations) -> Contrast | str:
    """From one score a seed."""
    ours, theirs = (np.array([row[score.name] for row in side.rows], float) for side in (one, other))
    if min(len(ours), len(theirs)) < FEWEST_SEEDS:
        return (f"scores of single examples are not stored, and {one.label} or {other.label} ran with fewer than "
                f"{FEWEST_SEEDS} seeds")  # fmt: skip
    order = same_seeds(one.rows, other.rows)
    if order is None:
        drawn = [Drawn((one,), ours[:, None]), Drawn((other,), -theirs[:, None])]
        found = unpaired(ours.tolist(), theirs.tolist(), min(len(ours), len(theirs)))
    else:
        gains, n = ours - theirs[order], len(ours)
        drawn = [Drawn((one, other), gains[:, None])]
        found = _of_seeds(float(gains.mean()), float(gains.var(ddof=1)) / n, n - 1, n)
    return replace(found, parts=Parts(of_seeds(drawn, declared)))


def unpaired(ours: Sequence[float], theirs: Sequence[float], seeds: int) -> Contrast:
    """The difference of the means of two independent samples, one value a seed (Welch's t)."""
    parts = [float(np.var(side, ddof=1)) / len(side) for side in (ours, theirs)]
    degrees = welch(parts, [len(ours) - 1, len(theirs) - 1])
    difference = float(np.mean(ours) - np.mean(theirs))
    return _of_seeds(difference, sum(parts), degrees, seeds)


def _of_seeds(difference: float, variance: float, degrees: float, seeds: int) -> Contrast:
    """The difference of means of one score a seed, with the variance that it has."""
    spread = Spread(variance * seeds, 0.0, 0.0, seeds, 1, degrees, 0.0)
    return Contrast(difference, variance**0.5, degrees, SEEDS_ALONE, spread)


def mean_contrast(found: Sequence[Contrast]) -> Contrast:
    """The mean over blocks, for these blocks: other models and datasets are no chance here.

    What blocks share, such as the test examples that several models answered, is chance of all of them at once
    (`raypeft.analysis.claims.shared_chance`).
    """
    parts = mean_of([each.parts for each in found])
    by_seeds, seed_degrees = parts.by_seeds
    by_examples, example_degrees = parts.by_examples
    seeds, examples = min(each.seeds for each in found), max(len(parts.examples), 1)
    noise = min(parts.noise, by_seeds)
    spread = Spread(
        seed_variance=(by_seeds - noise) * seeds,
        example_variance=by_examples * examples,
        noise_variance=noise * seeds * examples,
        seeds=seeds,
        examples=examples,
        seed_degrees=seed_degrees,
        floor=parts.floor,
    )
    return Contrast(
        difference=sum(each.difference for each in found) / len(found),
        error=(by_seeds + by_examples + parts.floor) ** 0.5,
        degrees=freedom(seed_degrees, by_seeds, by_examples) if by_seeds else example_degrees,
        chance=found[0].chance if len({each.chance for each in found}) == 1 else BOTH,
        spread=spread,
        parts=parts,
    )
