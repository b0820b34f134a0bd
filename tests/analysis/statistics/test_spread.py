"""How many seeds or examples would find a mean: on made data they do, and none are named where they would not."""

import numpy as np
import pytest

from raypeft.analysis.statistics.seeds import two_level
from raypeft.analysis.statistics.spread import Spread


def drawn(generator: np.random.Generator, seeds: int, examples: int, mean: float, deviation: float):
    return (mean + generator.normal(0, deviation, (seeds, 1)) + generator.normal(0, 0.45, (1, examples))
            + generator.normal(0, 0.2, (seeds, examples)))  # fmt: skip


@pytest.mark.parametrize("deviation", [0.0, 0.004])
def test_examples_that_would_decide_do_decide_four_times_in_five(deviation) -> None:
    spread = Spread(deviation**2, 0.45**2, 0.2**2, 3, 250, 2, 0.0)
    examples = spread.examples_for(0.03)
    assert examples is not None
    generator = np.random.default_rng(1)
    found = [two_level(drawn(generator, 3, examples, 0.03, deviation)).p_value < 0.05 for _ in range(400)]
    assert 0.7 < np.mean(found) < 0.92


def test_no_number_of_examples_is_named_where_seeds_alone_hide_the_mean() -> None:
    spread = Spread(0.02**2, 0.45**2, 0.2**2, 3, 250, 2, 0.0)
    assert spread.examples_for(0.02) is None
    generator = np.random.default_rng(1)
    found = [two_level(drawn(generator, 3, 100_000, 0.02, 0.02)).p_value < 0.05 for _ in range(40)]
    assert np.mean(found) < 0.6
