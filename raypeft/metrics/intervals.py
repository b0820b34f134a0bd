"""95 % intervals of scores over test examples: by Wilson's formula, or by the percentile bootstrap.

Of differences between two trials see `raypeft.analysis.statistics`.
"""

from collections.abc import Callable, Sequence

import numpy as np

RESAMPLES = 2_000
SEED = 42


def wilson(name: str, hits: int, examples: int) -> dict[str, float]:
    """Wilson's interval of a share as `<name>_low` and `<name>_high`.

    A bootstrap of 0 hits in 100 would claim that 0 is certain.
    """
    from scipy.stats import binomtest

    bounds = binomtest(hits, examples).proportion_ci(0.95, method="wilson")
    return {f"{name}_low": bounds.low, f"{name}_high": bounds.high}


def bootstrap(name: str, examples: int, statistics: Callable[[np.ndarray], Sequence[float]]) -> dict[str, float]:
    """The percentile bootstrap interval over test examples (Efron & Tibshirani 1993, chapter 13), as `wilson` names it.

    `statistics` gets, for each resample, how often it drew each example, (resamples, examples), and gives the score of
    each. The draws are the same for every score of as many examples.
    """
    draws = np.random.default_rng(SEED).multinomial(examples, np.full(examples, 1 / examples), size=RESAMPLES)
    low, high = np.percentile(statistics(draws), [2.5, 97.5])
    return {f"{name}_low": float(low), f"{name}_high": float(high)}


def of_mean(name: str, values: Sequence[float]) -> dict[str, float]:
    """The bootstrap interval of a mean over examples; Wilson's where all of them are alike."""
    if len(set(values)) == 1:
        return wilson(name, round(sum(values)), len(values))
    return bootstrap(name, len(values), lambda draws: draws @ np.array(values) / len(values))
