"""Effect sizes, against published values and closed forms."""

import pytest

from raypeft.analysis.statistics.effects import a12, odds_ratio


def test_the_odds_ratio_and_its_interval_are_those_of_the_published_example():
    # Fagerland, Lydersen and Laake (2014), table I (airway hyper-responsiveness): 1 and 7, Clopper-Pearson transformed.
    found = odds_ratio(1, 7)
    assert found.ratio == pytest.approx(1 / 7)
    assert (found.low, found.high) == pytest.approx((0.003, 1.11), abs=0.005)


def test_only_one_side_alone_is_an_infinite_ratio_with_a_finite_lower_bound():
    assert str(odds_ratio(21, 0)) == "inf [5.2, inf]"
    assert str(odds_ratio(150, 86)) == "1.7 [1.3, 2.3]"


def test_trials_that_hit_alike_have_no_odds_ratio():
    assert odds_ratio(0, 0) is None


def test_a12_counts_pairs_and_half_of_the_ties():
    assert a12([3, 4], [1, 2]) == 1
    assert a12([1, 2], [3, 4]) == 0
    assert a12([1, 2], [1, 2]) == 0.5
    assert a12([2, 3], [2, 1]) == pytest.approx(3.5 / 4)


def test_a12_of_no_values_is_refused():
    with pytest.raises(ValueError, match="at least one value each but got 0 and 1"):
        a12([], [1])
