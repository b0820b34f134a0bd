"""Is a difference between two trials more than chance? Would it hold on other test examples, with these two models?

    paired_bootstrap(lora_scores, icl_scores)       # scores of the same test examples, in the same order
    mcnemar(lora_hits, icl_hits)                    # the same for hits and misses, such as exact match

Other seeds are another source of chance: see `raypeft.analysis.statistics.seeds`. Nothing here corrects for the number
of comparisons: see `raypeft.analysis.statistics.families`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CONFIDENCE = 0.95
POWER = 0.8
"""The chance of a significant result that a study is planned for (Cohen 1988)."""
CELLS = 4_000_000
"""Resampled values held at a time: 32 MB of float64, with the same result for any number."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Of two trials on the same examples, in the unit of the scores."""

    difference: float
    """Mean of a minus mean of b."""
    low: float
    high: float
    """Ends of the 95 % interval of the difference."""
    p_value: float
    """Two-sided: how often a difference at least this large comes up where a and b are alike."""
    examples: int


@dataclass(frozen=True, slots=True)
class McNemar:
    """Of two trials on the same examples, by the examples on which just one of them hits."""

    only_a: int
    only_b: int
    p_value: float
    """Two-sided."""
    examples: int


def paired_bootstrap(
    a: Sequence[float], b: Sequence[float], resamples: int = 10_000, seed: int = 42, floor: float = 0.0
) -> Difference:
    """The mean difference a - b of per-example scores, its 95 % interval, and whether it can be chance.

    a[i] and b[i] are two trials' scores of example i. The interval is the percentile bootstrap of the differences
    (Efron & Tibshirani 1993, chapter 13). On few examples it is too narrow: of 1,000 simulated ones of 10 examples, 886
    held the truth, of 100 examples 946. The p-value swaps the two scores of examples at random (Fisher 1935, The Design
    of Experiments, section 21), in all 2**n ways where they are no more than `resamples`; with drawn swaps it is at
    least 2 / (resamples + 1). Where a and b are alike it holds its level at any n; where the interval says
    otherwise at the margin, trust the p-value. `floor` (`floor_variance`) is added to the variance of the interval,
    which has no width where all differences are alike.

    Raises ValueError for unequal lengths, fewer than 2 examples, fewer than 1 resample, and what is no finite number.
    """
    from scipy import stats

    first, second = numbers("a", a), numbers("b", b)
    _check_pairs(len(first), len(second))
    if len(first) < 2:
        raise ValueError(f"a and b must have at least 2 examples but got {len(first)}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1 but got {resamples}")
    differences = first - second
    batch = max(1, CELLS // len(differences))
    interval = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=resamples,
        batch=batch,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    test = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",  # with one sample, scipy flips signs: a swap of a[i] and b[i]
        n_resamples=resamples,
        batch=batch,
        rng=np.random.default_rng(seed),
    )
    mean, margin = float(differences.mean()), float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * floor**0.5
    low = mean - math.hypot(mean - float(interval.low), margin)
    high = mean + math.hypot(float(interval.high) - mean, margin)
    return Difference(mean, low, high, float(test.pvalue), len(differences))


def floor_variance(examples: int) -> float:
    """The variance that a difference of fractions has even where all examples agree, as 0 of 100 hits of both do.

    It is that of half an example that only the one side hits and half an example that only the other hits (Agresti and
    Min 2005, Statistics in Medicine 24, 729-740): two trials can agree on a few examples by chance.
    """
    return 1 / (examples + 2) ** 2


def mcnemar(a: Sequence[bool], b: Sequence[bool]) -> McNemar:
    """McNemar's exact test (McNemar 1947; binomial, two-sided) of hits and misses on the same examples.

    a[i] and b[i] say whether two trials hit example i. Examples that both hit or both miss carry no weight; where there
    are no others, p is 1. Raises ValueError for unequal lengths, no examples, and what is no boolean.
    """
    from scipy import stats

    first, second = _booleans("a", a), _booleans("b", b)
    _check_pairs(len(first), len(second))
    only_a, only_b = int(np.sum(first & ~second)), int(np.sum(~first & second))
    discordant = only_a + only_b
    p_value = float(stats.binomtest(only_a, discordant, 0.5).pvalue) if discordant else 1.0
    return McNemar(only_a, only_b, p_value, len(first))


def detectable(a: Sequence[float], b: Sequence[float], floor: float = 0.0) -> float:
    """The smallest difference of means that as many examples find significant with a chance of 80 %.

    Made from how far the two trials differ on single examples. For hits and misses it is 2.80 * sqrt(d / n), where d is
    the share of n examples that just one of them hits (Connor 1987, Biometrics 43). `floor` (`floor_variance`) is added
    to d / n, so that trials which agree do not seem to find any difference. Raises as `paired_bootstrap` does.
    """
    differences = numbers("a", a) - numbers("b", b)
    return float(_reach() * ((differences**2).mean() / len(differences) + floor) ** 0.5)


def examples_for(difference: float, detectable: float, examples: int, has_floor: bool) -> float:
    """How many examples would make `difference` detectable, where so many detect `detectable`.

    The variance falls with the number of examples, and `floor_variance`, where it is part of it, with its square.
    """
    floor = _reach() ** 2 * has_floor
    by_example = max(detectable**2 - floor / (examples + 2) ** 2, 0.0) * examples
    return float((by_example + (by_example**2 + 4 * floor * difference**2) ** 0.5) / (2 * difference**2))


def _reach() -> float:
    """Standard errors of the smallest difference that is found with a chance of `POWER`: 2.80."""
    from scipy import stats

    return float(stats.norm.ppf((1 + CONFIDENCE) / 2) + stats.norm.ppf(POWER))


def numbers(name: str, values: Sequence[float]) -> np.ndarray:
    """The values as an array of float64. Raises ValueError, with this name, for none and for what is not finite."""
    array = _array(name, values)
    if array.dtype.kind in "fiu" and np.isfinite(array).all():
        return array.astype(float)
    wrong = [
        (index, value)
        for index, value in enumerate(array.tolist())
        if not isinstance(value, int | float) or not np.isfinite(value)
    ]
    if wrong:
        raise ValueError(
            f"{name} must be finite numbers but got {wrong[0][1]!r} at index {wrong[0][0]} ({len(wrong)} of "
            f"{len(array)} are none)"
        )
    return array.astype(float)


def _booleans(name: str, values: Sequence[bool]) -> np.ndarray:
    array = _array(name, values)
    wrong = [(index, value) for index, value in enumerate(array.tolist()) if not isinstance(value, bool)]
    if wrong:
        raise ValueError(
            f"{name} must be booleans, whether each example was hit, but got {wrong[0][1]!r} at index {wrong[0][0]} "
            f"({len(wrong)} of {len(array)} are none); for other scores use paired_bootstrap"
        )
    return array.astype(bool)


def _array(name: str, values: Sequence[Any]) -> np.ndarray:
    # Of objects where it is not an array already, so that [True, 1] does not quietly become integers.
    array = values if isinstance(values, np.ndarray) else np.array([*values], dtype=object)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one value an example but got an array of shape {array.shape}")
    if not len(array):
        raise ValueError(f"{name} must have at least one value but is empty")
    if array.dtype == object:
        array = np.array([value.item() if isinstance(value, np.generic) else value for value in array], dtype=object)
    return array


def _check_pairs(first: int, second: int) -> None:
    if first != second:
        raise ValueError(f"a and b must be scores of the same examples but got {first} and {second}")
