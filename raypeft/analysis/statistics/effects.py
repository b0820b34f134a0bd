"""How large is a difference, apart from whether it is chance?

odds_ratio(only_a=12, only_b=5)         # hits and misses on the same examples
a12([0.31, 0.29, 0.33], [0.25, 0.30])   # one score a seed: how often is a seed of a above a seed of b?
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raypeft.analysis.statistics.paired import CONFIDENCE


@dataclass(frozen=True, slots=True)
class OddsRatio:
    """Of the examples on which just one of two trials hits: how many times as often is it the first?"""

    ratio: float
    """Infinite where only the first trial hits alone."""
    low: float
    high: float
    """Bounds of the 95 % interval."""

    def __str__(self) -> str:
        return f"{_short(self.ratio)} [{_short(self.low)}, {_short(self.high)}]"


def odds_ratio(only_a: int, only_b: int) -> OddsRatio | None:
    """The conditional odds ratio of paired hits and misses, only_a / only_b; None where the trials hit alike.

    Its interval is that of the binomial share only_a / (only_a + only_b) by Clopper and Pearson (1934), as odds
    (Fagerland, Lydersen and Laake 2014, Statistics in Medicine 33, section 5).
    """
    from scipy import stats

    if not only_a + only_b:
        return None
    share = stats.binomtest(only_a, only_a + only_b).proportion_ci(CONFIDENCE, method="exact")
    return OddsRatio(_odds(only_a / (only_a + only_b)), _odds(float(share.low)), _odds(float(share.high)))


def _short(odds: float) -> str:
    return "inf" if odds == float("inf") else f"{odds:.2g}" if odds < 10 else f"{odds:.0f}"


def _odds(share: float) -> float:
    return share / (1 - share) if share < 1 else float("inf")


def a12(a: Sequence[float], b: Sequence[float]) -> float:
    """The chance, in [0, 1], that a value of `a` is above a value of `b`; ties count half. 0.5: alike.

    Source: Vargha and Delaney (2000). Cliff's delta is 2 * a12 - 1. Raises ValueError where one of them is empty.
    """
    if not len(a) or not len(b):
        raise ValueError(f"a and b must have at least one value each but got {len(a)} and {len(b)}")
    first, second = np.asarray(a, float)[:, None], np.asarray(b, float)[None]
    return float(((first > second) + 0.5 * (first == second)).mean())
