"""The values that a search may give to a field."""

import random
from typing import Any

import pytest
from pydantic import ValidationError

from raypeft.study.parameters import Parameter, read_parameter


def parameter(**given: Any) -> Parameter:
    return Parameter(**given)


def drawn(made: Parameter, count: int = 4000) -> list[Any]:
    chance = random.Random(1)
    return [made.draw(chance) for _ in range(count)]


def test_a_log_uniform_parameter_gives_each_decade_the_same_share() -> None:
    values = drawn(parameter(min=1e-5, max=1e-2, distribution="log_uniform"))
    shares = [sum(low <= each < 10 * low for each in values) / len(values) for low in (1e-5, 1e-4, 1e-3)]
    assert all(abs(share - 1 / 3) < 0.03 for share in shares)


def test_a_uniform_parameter_gives_each_half_the_same_share() -> None:
    values = drawn(parameter(min=0, max=0.2, distribution="uniform"))
    assert abs(sum(each < 0.1 for each in values) / len(values) - 0.5) < 0.03


def test_integer_ends_mean_integers_between_them_both_ends_among_them() -> None:
    assert set(drawn(parameter(min=2, max=5))) == {2, 3, 4, 5}
    assert all(type(each) is int for each in drawn(parameter(min=2, max=5), 10))


def test_multiples_of_q_lie_between_the_ends() -> None:
    assert set(drawn(parameter(min=3, max=17, distribution="q_uniform", q=4))) == {4, 8, 12, 16}
    assert set(drawn(parameter(min=0.02, max=0.2, distribution="q_uniform", q=0.05))) == {0.05, 0.1, 0.15, 0.2}


def test_a_number_is_drawn_with_three_digits_and_stays_between_the_ends() -> None:
    values = drawn(parameter(min=1.2345e-4, max=1.2349e-4))
    assert all(1.2345e-4 <= each <= 1.2349e-4 for each in values)
    assert all(float(f"{each:.3g}") == each for each in drawn(parameter(min=0.0, max=1.0), 50))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"min": 2}, "must have values"),
        ({"min": 2, "max": 2}, "min must be below max but got 2 and 2"),
        ({"min": -9, "max": -4, "distribution": "log_uniform"}, "not their exponents"),
        ({"min": 0.5, "max": 4, "distribution": "int"}, "must be integers"),
        ({"min": 1, "max": 4, "q": 2}, "q must be given with a q_... distribution"),
        ({"min": 1, "max": 4, "distribution": "q_uniform"}, "q must be given with a q_... distribution"),
        ({"min": 5, "max": 6, "distribution": "q_uniform", "q": 4}, "a multiple of q must lie between"),
        ({"values": [1, 2], "min": 1}, "values alone"),
        ({"values": []}, "at least 1"),
        ({"min": 1, "max": float("inf")}, "finite"),
    ],
)
def test_a_parameter_that_cannot_be_drawn_is_refused_with_the_reason(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        parameter(**given)


def test_a_list_a_single_value_and_wandbs_value_stand_for_values() -> None:
    assert read_parameter([4, 8]) == {"values": [4, 8]}
    assert read_parameter(4) == {"values": [4]}
    assert read_parameter({"value": 4}) == {"values": [4]}


def test_a_quantile_is_taken_on_the_scale_of_the_draws() -> None:
    assert parameter(min=1e-4, max=1e-2, distribution="log_uniform").quantile(1e-3) == pytest.approx(0.5)
    assert parameter(min=0.0, max=2.0).quantile(0.5) == pytest.approx(0.25)
