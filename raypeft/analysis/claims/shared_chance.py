"""What each seed and each test example adds to a difference, so that differences that share some can be averaged.

    parts = mean_of([of_one_model.parts, of_another.parts])
    parts.by_examples               # variance and degrees of freedom

Blocks of one test dataset answer the same examples: one that is easy for LoRA is so for several models. Blocks may also
share trainings, such as LoRA decoded with one beam and with five, or random shots, with which several models are asked.
Then their differences are not independent, and the squares of their errors do not add up. So a difference is taken to
pieces: its deviation from the truth is a sum over seeds and examples, one part each (the influence of the seed or the
example on the mean), whose squares make its variance. Parts of the same seed or example are added up over blocks before
they are squared, and what blocks have in common stays in the mean.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raypeft.analysis.conditions import SEEDS, chances, seed_of
from raypeft.analysis.pairing import Drawn
from raypeft.analysis.statistics.seeds import welch
from raypeft.results.declarations import Declarations

Added = Mapping[tuple[Hashable, Hashable], float]
"""(source, seed or example) -> what it adds to the difference, in the unit of the score. Sources are independent."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a difference."""

    seeds: Added = field(default_factory=dict)
    examples: Added = field(default_factory=dict)
    noise: float = 0.0
    """Variance in the parts of examples that is chance of the seeds, and part of `seeds` already."""
    floors: Added = field(default_factory=dict)
    """What a test dataset adds whatever the values are (`floor_variance`): few examples agree by chance."""

    @property
    def by_seeds(self) -> tuple[float, float]:
        """The variance of the difference over seeds, and its degrees of freedom."""
        return _variance(self.seeds)

    @property
    def by_examples(self) -> tuple[float, float]:
        """The same over examples."""
        variance, degrees = _variance(self.examples)
        return max(variance - self.noise, 0.0), degrees

    @property
    def floor(self) -> float:
        """The variance that it has whatever the values are."""
        return sum(each**2 for each in self.floors.values())


def mean_of(found: Sequence[Parts]) -> Parts:
    """The parts of the mean of differences."""
    n = len(found)
    return Parts(
        seeds=_mean([each.seeds for each in found]),
        examples=_mean([each.examples for each in found]),
        noise=sum(each.noise for each in found) / n**2,
        floors=_mean([each.floors for each in found]),
    )


def of_seeds(drawn: Sequence[Drawn], declared: Declarations) -> Added:
    """What each seed adds to the mean over seeds and examples."""
    added: dict[tuple[Hashable, Hashable], float] = {}
    for place, each in enumerate(drawn):
        source = (place, len(each.sides), *_source(each, declared))
        values = _parts(each.values.mean(axis=1))
        for row, value in zip(each.sides[0].rows, values, strict=True):
            added[source, tuple(seed_of(row, name) for name in SEEDS)] = value
    return added


def of_examples(gains: Any, names: Sequence[str], test_dataset: str) -> Added:
    """What each example adds to the mean; `gains` are those of `names`, averaged over seeds."""
    return {(test_dataset, name): value for name, value in zip(names, _parts(gains), strict=True)}


def _parts(values: Any) -> Any:
    """The parts of a mean: the sum of their squares is its variance, var(values) / n."""
    n = len(values)
    return (values - values.mean()) / (n * (n - 1)) ** 0.5


def _source(drawn: Drawn, declared: Declarations) -> list[Hashable]:
    """What blocks agree in whose seeds may be the same chance: trainings are those of one model and dataset, and random
    shots those of one dataset."""
    draws_shots = any("icl_seed" in chances(each.fields, declared) for each in drawn.sides)
    names = ["dataset"] if draws_shots else ["dataset", "model"]
    return [str(each.fields[name]) for each in drawn.sides for name in names]


def _mean(found: Sequence[Added]) -> Added:
    total: dict[tuple[Hashable, Hashable], float] = {}
    for each in found:
        for key, value in each.items():
            total[key] = total.get(key, 0.0) + value / len(found)
    return total


def _variance(added: Added) -> tuple[float, float]:
    """Of a sum of independent sources, each with one degree of freedom less than it has parts."""
    sources: dict[Hashable, list[float]] = {}
    for (source, _), value in added.items():
        sources.setdefault(source, []).append(value)
    variances = [float(np.square(parts).sum()) for parts in sources.values()]
    degrees = [len(parts) - 1 for parts in sources.values()]
    return sum(variances), welch(variances, degrees) if any(variances) else float(sum(degrees))
