"""How much too high is the score of the best of several conditions, because it was chosen by that same score?

optimism([[1, 0, 1, 1], [0, 1, 1, 0]])      # hits of two conditions on the same four examples
"""

from collections.abc import Sequence

import numpy as np

SPLITS = 1_000
SEED = 42


def optimism(values: Sequence[Sequence[float]], splits: int = SPLITS, seed: int = SEED) -> float | None:
    """The expected excess of the best condition's mean over what it would have on new examples, in the unit of values.

    `values` is (conditions, examples); higher is better. Examples are split at random into two halves. The condition
    that is best on one half is scored on the other, and the mean difference is divided by the square root of 2, since
    a half scatters by so much more than the whole. None for fewer than 2 conditions or 4 examples.
    """
    table = np.array(values, float)
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < 4:
        return None
    conditions, examples = table.shape
    generator = np.random.default_rng(seed)
    half = examples // 2
    gains = []
    for _ in range(splits):
        order = generator.permutation(examples)
        first, second = table[:, order[:half]].mean(axis=1), table[:, order[half:]].mean(axis=1)
        # Ties are broken at random: the first of several equal conditions would be chosen on both halves.
        best = int((first + generator.random(conditions) * 1e-9).argmax())
        gains.append(first[best] - second[best])
    return float(np.mean(gains) / 2**0.5)
