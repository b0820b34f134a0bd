"""Where the best value of a field is, and how sure that is."""

import numpy as np
import pytest

from raypeft.analysis.statistics.optima import DRAWS, curve, draws, draws_for, have_seeds, vertices


def test_the_vertex_of_a_parabola_is_found_between_the_values() -> None:
    decades = np.array([-4.0, -3.5, -3.0, -2.5])
    assert vertices(decades, ((decades + 3.2) ** 2)[None])[0] == pytest.approx(-3.2)


def test_values_at_unequal_distances_give_the_same_vertex() -> None:
    decades = np.array([-4.0, -3.3, -3.0, -2.2])
    assert vertices(decades, ((decades + 3.1) ** 2)[None])[0] == pytest.approx(-3.1)


def test_the_best_value_at_an_end_is_that_end() -> None:
    decades = np.array([-4.0, -3.5, -3.0])
    assert vertices(decades, decades[None])[0] == -4.0
    assert not curve([1e-4, 1e-3, 1e-2], [[1.0], [2.0], [3.0]]).is_inside


def test_the_values_of_a_curve_may_come_in_any_order() -> None:
    made = curve([1e-2, 1e-4, 1e-3], [[3.0, 3.1], [2.0, 2.1], [1.0, 1.1]])
    assert made.decades == pytest.approx([-4, -3, -2]) and made.best == 1


@pytest.mark.parametrize("optimum", [-3.0, -3.2])
def test_the_interval_of_an_optimum_holds_the_truth(optimum: float) -> None:
    generator = np.random.default_rng(1)
    rates = 10 ** np.arange(-4.5, -1.9, 0.5)
    held = 0
    for seed in range(200):
        scores = [(np.log10(rate) - optimum) ** 2 * 0.3 + generator.normal(0, 0.01, 3) for rate in rates]
        low, high = np.quantile(draws([curve(rates, scores)], 1000, seed), [0.025, 0.975])
        held += low <= optimum <= high
    assert held >= 190


def test_other_test_examples_move_all_curves_together() -> None:
    """All examples prefer the same rate but for two halves, which prefer rates on both sides of it."""
    rates, half = np.array([1e-4, 1e-3, 1e-2]), np.repeat([0.0, 1.0], 6)
    examples = np.array([0.5 + half, 0.4 + 0 * half, 1.5 - half])
    made = curve(rates, [[1.0, 1.0], [0.4, 0.4], [1.0, 1.0]], examples)
    found = draws([made, made], 2000)
    assert found[:, 0].std() > 0.1
    assert (found[:, 0] - found[:, 1]).std() < found[:, 0].std() * 1.5
    assert np.corrcoef(found[:, 0], found[:, 1])[0, 1] > 0.4


def test_more_draws_go_on_where_fewer_ended() -> None:
    made = curve([1e-4, 1e-3, 1e-2], [[1.0, 1.1], [0.4, 0.5], [1.0, 1.2]], np.random.default_rng(1).random((3, 40)))
    many = draws([made, made], draws_for(8))
    assert many.shape == (2 * DRAWS, 2)
    assert (many[:DRAWS] == draws([made, made], draws_for(5))).all()


def test_one_seed_everywhere_says_nothing_of_chance() -> None:
    with pytest.raises(ValueError, match="at least two seeds near the optimum but have one"):
        draws([curve([1e-4, 1e-3, 1e-2], [[2.0], [1.0], [2.0]])])


def test_seeds_far_from_the_optimum_say_nothing_of_its_scatter() -> None:
    rates = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
    far = curve(rates, [[3.0, 3.1], [2.0], [1.0], [2.0], [3.0, 3.1]])
    near = curve(rates, [[3.0], [2.0], [1.0], [2.0, 2.1], [3.0]])
    assert (have_seeds([far]), have_seeds([near]), have_seeds([far, near])) == (False, True, True)


def test_two_values_are_no_curve() -> None:
    with pytest.raises(ValueError, match="at least 3 values but got 2"):
        curve([1e-4, 1e-3], [[1.0], [2.0]])
