"""Comparisons of two trials on the same examples, against published values, closed forms and simulation."""

import random
from itertools import product
from math import comb

import numpy as np
import pytest
from scipy.stats import binom, ttest_1samp

from raypeft.analysis.statistics.paired import detectable, mcnemar, paired_bootstrap

MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
"""Darwin's crossed less self-fertilised maize, in eighths of an inch (Fisher 1935, The Design of Experiments)."""


def pairs(both: int, only_a: int, only_b: int, neither: int) -> tuple[list[bool], list[bool]]:
    a = [True] * (both + only_a) + [False] * (only_b + neither)
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    order = random.Random(0).sample(range(len(a)), len(a))
    return [a[index] for index in order], [b[index] for index in order]


def test_all_swaps_of_darwin_s_maize_give_fisher_s_p_value():
    # Fisher, section 21: 863 of the 32,768 arrangements are at least as large, on either side; 5.267 percent.
    assert paired_bootstrap(MAIZE, [0] * 15, resamples=2**15).p_value == pytest.approx(2 * 863 / 2**15, rel=1e-12)


def test_drawn_swaps_come_close_to_all_swaps():
    assert paired_bootstrap(MAIZE, [0] * 15).p_value == pytest.approx(2 * 863 / 2**15, abs=0.005)


def test_the_p_value_on_few_examples_is_that_of_all_swaps():
    a, b = np.random.default_rng(1).random((2, 8))
    sums = [abs(np.dot(signs, a - b)) for signs in product([1, -1], repeat=8)]
    expected = np.mean([each >= abs(np.sum(a - b)) - 1e-12 for each in sums])
    assert paired_bootstrap(a, b).p_value == pytest.approx(expected, rel=1e-12)


def test_the_interval_of_hits_against_misses_is_the_binomial_s():
    # A resampled mean of 30 ones and 70 zeros is a binomial variable over 100.
    found = paired_bootstrap([1] * 30 + [0] * 70, [0] * 100)
    assert (found.low, found.high) == pytest.approx(binom.ppf([0.025, 0.975], 100, 0.3) / 100)


def test_the_interval_of_many_examples_is_the_normal_one():
    differences = np.random.default_rng(2).normal(0.1, 1, size=2_000)
    found = paired_bootstrap(differences, np.zeros(2_000))
    margin = 1.959964 * differences.std() / 2_000**0.5
    assert found.difference == pytest.approx(differences.mean())
    assert (found.low, found.high) == pytest.approx(
        (differences.mean() - margin, differences.mean() + margin), abs=0.05 * margin
    )


def test_intervals_hold_the_truth_and_p_values_keep_their_level_in_about_95_of_100_cases():
    generator = np.random.default_rng(3)
    cases = [paired_bootstrap(generator.normal(size=60), np.zeros(60), resamples=400, seed=case) for case in range(300)]
    # Four standard errors around 95 and 5 percent; the percentile interval loses about 1 percent on 60 examples.
    assert 0.885 < np.mean([case.low <= 0 <= case.high for case in cases]) < 0.99
    assert 0.005 < np.mean([case.p_value <= 0.05 for case in cases]) < 0.1


def test_a_difference_that_is_there_is_found():
    generator = np.random.default_rng(4)
    b = generator.random(200)
    found = paired_bootstrap(b + 0.05 + generator.normal(0, 0.1, 200), b)
    assert 0 < found.low < found.difference < found.high
    assert found.p_value < 0.001


def test_pairing_finds_what_the_scatter_of_examples_would_hide():
    generator = np.random.default_rng(5)
    b = generator.random(100)
    a = b + generator.normal(0.02, 0.02, 100)
    assert paired_bootstrap(a, b).p_value < 0.001
    assert paired_bootstrap(generator.permutation(a), b).p_value > 0.05


def test_identical_trials_differ_by_nothing_with_p_1():
    scores = np.random.default_rng(6).random(50)
    found = paired_bootstrap(scores, scores)
    assert (found.difference, found.low, found.high, found.p_value, found.examples) == (0, 0, 0, 1, 50)


def test_the_same_difference_on_every_example_has_an_interval_without_width():
    found = paired_bootstrap([1] * 40, [0] * 40)
    assert (found.difference, found.low, found.high) == (1, 1, 1)
    assert found.p_value == pytest.approx(2 / 10_001)


def test_trials_change_sides_and_the_difference_its_sign():
    a, b = np.random.default_rng(7).random((2, 80))
    one, other = paired_bootstrap(a, b), paired_bootstrap(b, a)
    assert other.difference == pytest.approx(-one.difference)
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low))
    assert other.p_value == pytest.approx(one.p_value)


def test_the_same_seed_gives_the_same_answer_and_another_seed_another():
    a, b = np.random.default_rng(8).random((2, 80))
    assert paired_bootstrap(a, b) == paired_bootstrap(a, b, seed=42)
    assert paired_bootstrap(a, b, seed=43).low != paired_bootstrap(a, b).low


def test_the_answer_does_not_hang_on_how_many_resamples_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch):
    a, b = np.random.default_rng(9).random((2, 80))
    whole = paired_bootstrap(a, b)
    monkeypatch.setattr("raypeft.analysis.statistics.paired.CELLS", 80 * 7)
    assert paired_bootstrap(a, b) == whole


def test_hits_and_misses_may_be_compared_by_bootstrap_too():
    a, b = pairs(20, 10, 5, 15)
    assert paired_bootstrap(a, b) == paired_bootstrap([float(each) for each in a], [float(each) for each in b])


@pytest.mark.parametrize(
    ("only_a", "only_b", "p_value"),
    [
        # statsmodels 0.15.0, contingency_tables.mcnemar(table, exact=True).pvalue
        (121, 59, 4.4344492637551645e-06),
        (150, 86, 3.7159361395713866e-05),
        (5, 12, 0.143463134765625),
        # Closed: 2 (1 + 10) / 2**10, and 2 / 2**5
        (1, 9, 22 / 1024),
        (5, 0, 2 / 32),
        (1, 0, 1.0),
        (4, 4, 1.0),
    ],
)
def test_mcnemar_s_p_value_is_the_published_one(only_a, only_b, p_value):
    found = mcnemar(*pairs(101, only_a, only_b, 33))
    assert found.p_value == pytest.approx(p_value, rel=1e-9)
    assert (found.only_a, found.only_b, found.examples) == (only_a, only_b, 134 + only_a + only_b)


def test_mcnemar_s_p_value_is_twice_the_binomial_tail_and_at_most_1():
    for only_a, only_b in product(range(8), repeat=2):
        n, fewer = only_a + only_b, min(only_a, only_b)
        tail = sum(comb(n, hits) for hits in range(fewer + 1)) / 2**n
        assert mcnemar(*pairs(1, only_a, only_b, 1)).p_value == pytest.approx(min(1, 2 * tail))


def test_examples_that_both_hit_or_both_miss_do_not_change_mcnemar_s_p_value():
    assert mcnemar(*pairs(0, 3, 11, 0)).p_value == mcnemar(*pairs(400, 3, 11, 100)).p_value


def test_mcnemar_s_test_does_not_hang_on_which_trial_comes_first():
    a, b = pairs(20, 4, 13, 20)
    one, other = mcnemar(a, b), mcnemar(b, a)
    assert (other.only_a, other.only_b, other.p_value) == (one.only_b, one.only_a, one.p_value)


def test_identical_hits_have_p_1_by_mcnemar():
    found = mcnemar([True, False, True], [True, False, True])
    assert (found.only_a, found.only_b, found.p_value) == (0, 0, 1.0)


def test_numpy_booleans_are_booleans():
    a, b = pairs(20, 4, 13, 20)
    assert mcnemar(np.array(a), [np.bool_(each) for each in b]) == mcnemar(a, b)


@pytest.mark.parametrize("value", [1, 0.0, None, "True", np.int64(1)])
def test_mcnemar_refuses_what_is_no_boolean(value):
    with pytest.raises(
        ValueError, match=r"b must be booleans, .* at index 1 \(1 of 2 are none\); for other scores use"
    ):
        mcnemar([True, False], [True, value])


@pytest.mark.parametrize("compare", [paired_bootstrap, mcnemar])
def test_trials_on_different_numbers_of_examples_are_refused(compare):
    with pytest.raises(ValueError, match="a and b must be scores of the same examples but got 3 and 2"):
        compare([True, False, True], [True, False])


@pytest.mark.parametrize("compare", [paired_bootstrap, mcnemar])
def test_no_examples_are_refused(compare):
    with pytest.raises(ValueError, match="a must have at least one value but is empty"):
        compare([], [])


def test_a_single_example_cannot_be_resampled():
    with pytest.raises(ValueError, match="a and b must have at least 2 examples but got 1"):
        paired_bootstrap([1], [0])


def test_a_bootstrap_needs_resamples():
    with pytest.raises(ValueError, match="resamples must be at least 1 but got 0"):
        paired_bootstrap([1, 2], [0, 1], resamples=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "0.5", 1j])
def test_what_is_no_finite_number_is_refused_with_its_place(value):
    with pytest.raises(ValueError, match=r"b must be finite numbers but got .* at index 2 \(1 of 3 are none\)"):
        paired_bootstrap([1, 2, 3], [1, 2, value])


def test_scores_of_several_columns_are_refused():
    with pytest.raises(ValueError, match=r"a must be one value an example but got an array of shape \(2, 2\)"):
        paired_bootstrap(np.ones((2, 2)), np.ones((2, 2)))


@pytest.mark.parametrize(
    ("examples", "discordant", "points"), [(543, 0.10, 3.8), (100, 0.10, 8.9), (628, 0.08, 3.2), (250, 0.08, 5.0)]
)
def test_what_a_test_set_could_show_is_that_of_the_planning_formula(examples, discordant, points):
    differing = round(examples * discordant / 2)
    a = [1] * differing + [0] * (examples - differing)
    b = [0] * differing + [1] * differing + [0] * (examples - 2 * differing)
    assert 100 * detectable(a, b) == pytest.approx(points, abs=0.1)


def test_what_could_be_shown_is_found_four_times_in_five():
    generator, found = np.random.default_rng(10), []
    for _ in range(1000):
        effect = detectable(generator.normal(size=200), np.zeros(200))
        found.append(ttest_1samp(generator.normal(effect, 1, size=200), 0).pvalue < 0.05)
    assert 0.75 < np.mean(found) < 0.85
