"""Scores over seeds, and differences over seeds and examples, against published values and simulation."""

import numpy as np
import pytest
from scipy import stats

from raypeft.analysis.statistics.seeds import over_seeds, two_level

SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
"""Hours of sleep gained, second drug less first (Student 1908; R's data set `sleep`)."""


def test_the_t_interval_of_student_s_sleep_data_is_that_of_r():
    # R: t.test(extra ~ group, data = sleep, paired = TRUE) prints 0.7001142 and 2.4598858 around 1.58, sd 1.229995.
    found = over_seeds(SLEEP)
    assert (found.mean, found.low, found.high) == pytest.approx((1.58, 0.7001142, 2.4598858), abs=5e-8)
    assert found.standard_deviation == pytest.approx(1.229995, abs=5e-7)
    assert found.n == 10


def test_the_t_interval_of_three_seeds_is_4_303_standard_errors_wide_on_each_side():
    found = over_seeds([1, 2, 3])
    assert (found.mean, found.standard_deviation) == (2, 1)
    assert found.high - 2 == 2 - found.low == pytest.approx(4.302653 / 3**0.5, abs=1e-6)


def test_one_seed_has_a_mean_and_no_scatter():
    found = over_seeds([0.3])
    assert (found.mean, found.standard_deviation, found.low, found.high, found.n) == (0.3, None, None, None, 1)


def test_seeds_that_agree_have_an_interval_without_width():
    found = over_seeds([0.5, 0.5, 0.5])
    assert (found.standard_deviation, found.low, found.high) == (0, 0.5, 0.5)


def test_no_seeds_are_refused():
    with pytest.raises(ValueError, match="values must have at least one value but is empty"):
        over_seeds([])


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_seed_and_two_have_no_interval(seeds):
    found = over_seeds([0.3, 0.4][:seeds])
    assert (found.low, found.high, found.n) == (None, None, seeds)


def crossed(generator, seeds=3, examples=100, truth=0.1, seed_deviation=0.05):
    """Differences of two trials: hits whose chance depends on example and seed. The truth is `truth`."""
    base = 1 / (1 + np.exp(-generator.normal(-1, 1.5, examples)))
    gain = truth + generator.normal(0, seed_deviation, seeds)[:, None]
    base = 0.15 + 0.6 * base  # so that no chance leaves [0, 1]
    first = generator.random((seeds, examples)) < base + gain
    return first.astype(float) - (generator.random((seeds, examples)) < base)


@pytest.mark.parametrize("seed_deviation", [0.0, 0.05])
def test_intervals_over_seeds_and_examples_hold_the_truth_in_about_95_of_100_cases(seed_deviation):
    generator = np.random.default_rng(1)
    cases = [two_level(crossed(generator, seed_deviation=seed_deviation)) for _ in range(600)]
    assert 0.92 < np.mean([case.low <= 0.1 <= case.high for case in cases]) < 0.98


def test_p_values_over_seeds_and_examples_keep_their_level():
    generator = np.random.default_rng(2)
    cases = [two_level(crossed(generator, truth=0.0)) for _ in range(600)]
    assert 0.02 < np.mean([case.p_value < 0.05 for case in cases]) < 0.08


def test_where_examples_are_alike_the_interval_is_students_over_seeds():
    found = two_level([[value] * 50 for value in SLEEP])
    assert (found.mean, found.low, found.high) == pytest.approx((1.58, 0.7001142, 2.4598858), abs=5e-8)


def test_where_seeds_are_alike_the_interval_is_that_of_the_examples():
    examples = np.random.default_rng(3).normal(size=400)
    found = two_level([examples] * 3)
    margin = 1.959964 * examples.std(ddof=1) / 400**0.5
    assert (found.low, found.high) == pytest.approx((found.mean - margin, found.mean + margin))


def test_of_two_sides_where_examples_are_alike_the_test_is_welchs():
    ours, theirs = SLEEP[:4], SLEEP[4:]
    found = two_level([[value] * 50 for value in ours], [[value] * 50 for value in theirs])
    assert found.p_value == pytest.approx(stats.ttest_ind(ours, theirs, equal_var=False).pvalue)


def test_of_two_sides_whose_seeds_are_alike_the_examples_are_paired():
    examples = np.random.default_rng(6).normal(size=(2, 100))
    found, one = two_level([examples[0]] * 3, [examples[1]] * 5), two_level([examples[0] - examples[1]] * 3)
    assert (found.mean, found.low, found.high) == pytest.approx((one.mean, one.low, one.high))


def test_two_sides_of_other_examples_are_refused():
    with pytest.raises(ValueError, match="the same examples but got 10 and 9"):
        two_level(np.zeros((3, 10)), np.zeros((3, 9)))


def test_variances_are_found_again():
    generator = np.random.default_rng(4)
    found = two_level(
        generator.normal(0, 2, (300, 1)) + generator.normal(0, 3, (1, 300)) + generator.normal(0, 1, (300, 300))
    )
    told = found.seed_variance, found.example_variance, found.noise_variance
    assert told == pytest.approx((4, 9, 1), rel=0.25)


def test_identical_trials_differ_by_nothing_with_p_1():
    found = two_level(np.zeros((3, 10)))
    assert (found.mean, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_more_seeds_are_asked_for_until_they_would_decide_and_none_where_examples_are_too_few():
    generator = np.random.default_rng(5)
    found = two_level(generator.normal(0.5, 1, (4, 1)) + generator.normal(0, 1, (4, 5000)))
    few = found.seeds_for(1.0)
    more = found.seeds_for(0.5)
    assert 2 <= few < more
    assert found.seeds_for(0.5, most=more - 1) is None
    examples = two_level(generator.normal(0, 1, (1, 20)) + generator.normal(0, 0.1, (3, 20)))
    assert examples.seeds_for(0.1) is None


@pytest.mark.parametrize("shape", [(2, 10), (3, 1)])
def test_too_few_seeds_or_examples_are_refused(shape):
    with pytest.raises(ValueError, match=f"at least 3 seeds and 2 examples but got {shape[0]} and {shape[1]}"):
        two_level(np.zeros(shape))
