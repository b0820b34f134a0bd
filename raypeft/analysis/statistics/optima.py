"""Where is the best value of a field, such as the learning rate, and how sure is that?

    found = draws([curve_of_rank_8, curve_of_rank_64])      # decades of the optimum, one column a curve
    found[:, 1] - found[:, 0]

A curve has one score for each value of the field and each seed. The optimum is the vertex of the parabola through the
best value and its two neighbours, over the logarithm of the field. Its uncertainty comes from a parametric bootstrap:
the mean of each value is drawn anew, with the variance between seeds at the three values around the optimum, pooled
over all curves, and the uncertainty of that variance itself. Where scores of single examples are stored, the test
examples are drawn anew as well, the same ones for every curve, since all trials were tested on the same.

No curve is a parabola: losses rise faster above the best learning rate than below it. So the vertex is moved by a
normal error with a standard deviation of a tenth of the distance between two values. On curves that rise 1.7 times as
fast on one side, tried at half decades, the vertex is off by up to 0.13 of this distance.

The best value at an end of the grid is no optimum: a better one may lie beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

DRAWS = 4000
TESTS = 5
"""Tests for which `DRAWS` are enough."""
FEWEST_VALUES = 3
"""Values of a field from which there is an optimum between them."""
INTERPOLATION = 0.1
"""Standard deviation of the vertex's error, as a share of the distance between two values of the field."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The scores of one curve; lower is better."""

    decades: Any
    """log10 of the field's values, rising: (values,)."""
    scores: tuple[Any, ...]
    """For each value the scores of its seeds."""
    examples: Any = None
    """(values, examples): the mean over seeds of each example's score. None: not stored."""

    @property
    def means(self) -> Any:
        return np.array([each.mean() for each in self.scores])

    @property
    def best(self) -> int:
        """The place of the best value."""
        return int(self.means.argmin())

    @property
    def is_inside(self) -> bool:
        """Whether the best value has a neighbour on each side."""
        return 0 < self.best < len(self.decades) - 1


def curve(values: Sequence[float], scores: Sequence[Sequence[float]], examples: Any = None) -> Curve:
    """A curve from the field's values, in any order, and the scores of each value's seeds.

    Raises ValueError for fewer than three values.
    """
    if len(values) < FEWEST_VALUES:
        raise ValueError(f"a curve must have at least {FEWEST_VALUES} values but got {len(values)}")
    order = np.argsort(values)
    return Curve(
        np.log10(np.array(values, float)[order]),
        tuple(np.array(scores[place], float) for place in order),
        None if examples is None else np.array(examples, float)[order],
    )


def vertices(decades: Any, means: Any) -> Any:
    """log10 of the optimum of each line of `means` (draws, values); at an end of the grid, that end."""
    best = means.argmin(axis=1)
    inside = np.clip(best, 1, len(decades) - 2)
    lines = np.arange(len(means))
    left, middle, right = decades[inside - 1], decades[inside], decades[inside + 1]
    # The vertex of a parabola through three points, from its two slopes.
    rise = (means[lines, inside] - means[lines, inside - 1]) / (middle - left)
    fall = (means[lines, inside + 1] - means[lines, inside]) / (right - middle)
    bend = fall - rise
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = (left + middle) / 2 - rise * (right - left) / (2 * bend)
    vertex = np.clip(np.where(bend > 0, vertex, middle), left, right)
    return np.where(best == inside, vertex, decades[best])


def draws(curves: Sequence[Curve], count: int = DRAWS, seed: int = 42) -> Any:
    """The optimum of each curve in decades, (count, curves), over other seeds and examples.

    They are drawn `DRAWS` at a time, so that the memory does not grow with `count`. Raises ValueError for
    curves without `have_seeds`.
    """
    if not have_seeds(curves):
        raise ValueError("values must have at least two seeds near the optimum but have one")
    generator = np.random.default_rng(seed)
    return np.concatenate([_drawn(curves, min(DRAWS, count - done), generator) for done in range(0, count, DRAWS)])


def draws_for(tests: int) -> int:
    """The number of draws for so many tests, of which the smallest p-value is told after a correction by Bonferroni.

    A share of draws is no smaller than one of them, so that with the draws of one test the p-values of 60 could not
    become small. With these it can be 0.0025 for any number.
    """
    return DRAWS * -(-tests // TESTS)


def _drawn(curves: Sequence[Curve], count: int, generator: np.random.Generator) -> Any:
    """`count` draws of each curve's optimum."""
    variance, degrees = _pooled(curves)
    spread = (variance * degrees / generator.chisquare(degrees, count)) ** 0.5
    examples = next((each.examples.shape[1] for each in curves if each.examples is not None), 0)
    weights = generator.multinomial(examples, np.full(examples, 1 / examples), count) / examples if examples else None
    found = []
    for each in curves:
        seeds = np.array([len(scores) for scores in each.scores])
        noise = generator.standard_normal((count, len(seeds))) * spread[:, None] / seeds**0.5
        stored = weights is not None and each.examples is not None and each.examples.shape[1] == examples
        means = weights @ each.examples.T if stored else each.means[None]
        moved = generator.standard_normal(count) * INTERPOLATION * np.median(np.diff(each.decades))
        found.append(vertices(each.decades, means + noise) + moved)
    return np.stack(found, axis=1)


def have_seeds(curves: Sequence[Curve]) -> bool:
    """Whether a value around some optimum has two seeds, so that their scatter is known."""
    return any(len(scores) > 1 for scores in _near(curves))


def _near(curves: Sequence[Curve]) -> list[Any]:
    """The scores of the values around the optima: the best value of each curve and its neighbours.

    Far from the optimum runs diverge, and their scatter says nothing of where the optimum is.
    """
    return [scores for each in curves for scores in each.scores[max(0, each.best - 1) : each.best + 2]]


def _pooled(curves: Sequence[Curve]) -> tuple[float, int]:
    """Variance between seeds of one value, and its degrees of freedom, at the values around the optima."""
    near = _near(curves)
    degrees = sum(len(scores) - 1 for scores in near)
    return sum(float(((scores - scores.mean()) ** 2).sum()) for scores in near) / degrees, degrees
