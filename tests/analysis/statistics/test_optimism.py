"""The optimism of a choice, against simulation where the truth is known."""

import numpy as np
import pytest

from raypeft.analysis.statistics.optimism import optimism


def studies(chances, count=60, examples=100):
    generator = np.random.default_rng(1)
    for _ in range(count):
        yield (generator.random((len(chances), examples)) < np.array(chances)[:, None]).astype(float)


@pytest.mark.parametrize("chances", [[0.3] * 8, [0.2, 0.25, 0.3, 0.35]])
def test_it_is_on_average_what_the_chosen_condition_loses_on_new_examples(chances):
    true = [study.mean(axis=1).max() - chances[study.mean(axis=1).argmax()] for study in studies(chances, 4000)]
    found = [optimism(study, splits=200) for study in studies(chances)]
    assert np.mean(found) == pytest.approx(np.mean(true), abs=0.01)


def test_a_condition_that_is_far_better_is_chosen_without_optimism():
    found = [optimism(study, splits=200) for study in studies([0.1, 0.9])]
    assert np.mean(found) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("shape", [(1, 10), (2, 3)])
def test_a_single_condition_or_three_examples_have_none(shape):
    assert optimism(np.zeros(shape)) is None
