"""Corrections for several comparisons, against published values."""

import numpy as np
import pytest

from raypeft.analysis.statistics.families import holm

P_VALUES = [0.01, 0.04, 0.03, 0.005]


def test_holms_adjusted_values_are_those_of_r():
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert holm(P_VALUES) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_no_comparison_stays_none_and_a_single_one_as_it_is():
    assert holm([]) == []
    assert holm([0.2]) == [0.2]


def test_one_false_finding_among_twenty_comes_up_in_5_of_100_families():
    families = np.random.default_rng(1).random((2000, 20))
    assert 0.03 < np.mean([min(holm(family)) < 0.05 for family in families]) < 0.07
