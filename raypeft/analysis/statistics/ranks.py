"""Do methods differ over many blocks, such as models and datasets? Friedman's test, and Nemenyi's after it.

    ranks = friedman({"lora": [12.7, 18.2, ...], "ia3": [10.7, 16.0, ...]})
    ranks.mean_ranks["lora"]            # 1 is the best
    ranks.critical_difference           # two mean ranks that differ by more are told apart

Source: Demšar (2006), Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, sections 3.2.2 and 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raypeft.analysis.statistics.paired import CONFIDENCE


@dataclass(frozen=True, slots=True)
class Ranks:
    """Treatments (methods) ranked within each block."""

    mean_ranks: Mapping[str, float]
    """Treatment -> mean rank over the blocks, best first. Ties share the mean of their ranks."""
    p_value: float
    """Friedman's test, that all treatments are alike."""
    critical_difference: float
    """Nemenyi's, at 5 %: treatments whose mean ranks differ by less are not told apart."""
    blocks: int

    def tied_with_best(self) -> list[str]:
        """The treatments that are not told apart from the best one, which is the first."""
        best = min(self.mean_ranks.values())
        return [name for name, rank in self.mean_ranks.items() if rank - best <= self.critical_difference]


def friedman(values: Mapping[str, Sequence[float]], higher_is_better: bool = True) -> Ranks:
    """Mean ranks, Friedman's p-value and Nemenyi's critical difference; `values` has one value a block.

    Raises ValueError for fewer than 3 treatments, fewer than 2 blocks, and unequal numbers of blocks.
    """
    from scipy import stats

    table = list(values.values())
    blocks = {len(line) for line in table}
    if len(table) < 3 or len(blocks) != 1 or min(blocks) < 2:
        raise ValueError(f"ranks need at least 3 methods with a value in each of 2 blocks or more, but got "
                         f"{len(table)} and {', '.join(map(str, sorted(blocks))) or 0}")  # fmt: skip
    array = np.array(table, float)
    means = stats.rankdata(-array if higher_is_better else array, axis=0).mean(axis=1)
    methods, number = array.shape
    # Where all blocks are full of ties, the statistic is 0 / 0.
    p_value = stats.friedmanchisquare(*array).pvalue if (array != array[0]).any() else 1.0
    quantile = stats.studentized_range.ppf(CONFIDENCE, methods, np.inf) / 2**0.5
    order = np.argsort(means, kind="stable")
    names = list(values)
    return Ranks(
        {names[place]: float(means[place]) for place in order},
        float(p_value),
        float(quantile * (methods * (methods + 1) / (6 * number)) ** 0.5),
        number,
    )
