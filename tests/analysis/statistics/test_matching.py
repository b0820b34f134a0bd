"""As many pairs as there are, none of which have anything in common."""

from itertools import combinations, product

import numpy as np
import pytest

from raypeft.analysis.statistics.matching import largest_matching


@pytest.mark.parametrize("draw", range(20))
def test_no_other_choice_of_pairs_is_larger(draw) -> None:
    generator = np.random.default_rng(draw)
    every = [*product(range(4), "abc")]
    pairs = [every[place] for place in generator.choice(len(every), 7, replace=False)]
    found = largest_matching(pairs)
    assert {*found} <= {*pairs} and _is_apart(found)
    assert not any(_is_apart(choice) for choice in combinations(pairs, len(found) + 1))


def _is_apart(pairs) -> bool:
    return all(len({pair[side] for pair in pairs}) == len(pairs) for side in (0, 1))
