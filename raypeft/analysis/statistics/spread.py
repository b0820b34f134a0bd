"""How far a mean scatters over seeds and examples, and how many of them would find a difference.

spread.detectable           # the smallest mean that is found with a chance of 80 %
spread.seeds_for(0.02)      # seeds with which a mean of 0.02 is found, on as many examples
spread.examples_for(0.02)   # examples with which it is found, by as many seeds
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, inf, isfinite

from raypeft.analysis.statistics.paired import CONFIDENCE, POWER

SEED_BOUND = 0.1
"""Chance that the variance between seeds is larger than the bound that degrees of freedom are made from."""
MOST_EXAMPLES = 1_000_000
STEP = 1.05
"""By which factor numbers of examples are tried."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The parts of the variance of a mean over seeds and examples, in the square of the unit of the values."""

    seed_variance: float
    """Variance between seeds over all examples: how much a seed's mean scatters beyond what examples explain."""
    example_variance: float
    """Variance between examples over all seeds."""
    noise_variance: float
    """What neither explains: seeds that differ on single examples."""
    seeds: int
    """Of two sides: of the one with fewer. The other one has more in the same proportion wherever seeds are planned."""
    examples: int
    """At least 1."""
    seed_degrees: float
    """Degrees of freedom of the variance between seeds."""
    floor: float
    """Variance that the mean has whatever the values are. It falls with the square of the number of examples."""

    @property
    def by_seed(self) -> float:
        """Variance of the mean that one seed alone would have; it falls with the number of seeds."""
        return self.seed_variance + self.noise_variance / self.examples

    @property
    def detectable(self) -> float:
        """The smallest mean that as many seeds and examples find significant with a chance of 80 %."""
        return self._detectable(self.seeds, self.examples)

    def seeds_for(self, mean: float, most: int = 100) -> int | None:
        """The number of seeds with which this mean would be found with a chance of 80 %, on as many examples.

        None if `most` seeds would not do: then the examples are too few.
        """
        # More seeds find smaller means, so the first number that does is found by halving.
        n = bisect_left(range(2, most + 1), True, key=lambda n: self._detectable(n, self.examples) <= abs(mean)) + 2
        return n if n <= most else None

    def examples_for(self, mean: float) -> int | None:
        """The number of examples, more than there are, with which this mean would be found with a chance of 80 %, by as
        many seeds; 5 % too many at most.

        None if no number would do: then the scatter of the seeds alone hides it.
        """
        examples = self.examples + 1
        # The larger the share of the seeds, the fewer the degrees of freedom: more examples do not always find more.
        while examples <= MOST_EXAMPLES:
            if self._detectable(self.seeds, examples) <= abs(mean):
                return examples
            examples = ceil(examples * STEP)
        return None

    def _detectable(self, seeds: int, examples: int) -> float:
        by_seeds = (self.seed_variance + self.noise_variance / examples) / seeds
        by_examples = self.example_variance / examples
        degrees = self.seed_degrees * (seeds - 1) / max(self.seeds - 1, 1)
        reach = quantile(found := freedom(degrees, by_seeds, by_examples), (1 + CONFIDENCE) / 2) + quantile(
            found, POWER
        )
        floor = self.floor * ((self.examples + 2) / (examples + 2)) ** 2
        return reach * float((by_seeds + by_examples + floor) ** 0.5)


def freedom(seed_degrees: float, by_seeds: float, by_examples: float) -> float:
    """Degrees of freedom of Student's t, from both parts of the mean's variance; infinite where seeds have none.

    They are Hillis' (seed_degrees / share**2, where share is the part of the variance that comes from seeds), but with
    the upper bound (90 %) of the variance between seeds in the share. Hillis takes the share as known; of three seeds
    it is not, and where it came out too small by chance, the interval was too narrow and the degrees were too many at
    once.
    """
    from scipy import special

    if by_seeds <= 1e-12:
        return inf
    upper = by_seeds * seed_degrees / float(special.chdtri(seed_degrees, 1 - SEED_BOUND))
    return seed_degrees / (upper / (upper + by_examples)) ** 2


@lru_cache(maxsize=256)
def quantile(degrees: float, probability: float) -> float:
    """Of Student's t. These functions are what `scipy.stats.t` calls; an object of it takes 1 ms to make."""
    from scipy import special

    return float(special.stdtrit(degrees, probability) if isfinite(degrees) else special.ndtri(probability))
