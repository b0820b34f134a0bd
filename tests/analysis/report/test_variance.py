"""Shares of the variance of a score, on data where they are known."""

from itertools import product

import pytest

from raypeft.analysis.report.variance import complete_factors, complete_grid, decomposition

CELLS = [{"r": r, "alpha": alpha} for r, alpha in product((4, 8), (16, 32))]
FACTORS = [("r",), ("alpha",)]


def test_one_field_that_explains_all_has_the_whole_variance() -> None:
    shares = dict(decomposition(CELLS, FACTORS, [[cell["r"]] for cell in CELLS]))
    assert shares == {"r": pytest.approx(1.0), "alpha": 0.0, "r × alpha": pytest.approx(0.0)}


def test_additive_fields_share_by_the_square_of_their_effects() -> None:
    shares = dict(decomposition(CELLS, FACTORS, [[3 * (cell["r"] == 8) + (cell["alpha"] == 32)] for cell in CELLS]))
    assert shares["r"] == pytest.approx(0.9) and shares["alpha"] == pytest.approx(0.1)


def test_what_only_two_fields_together_do_is_an_interaction() -> None:
    shares = dict(decomposition(CELLS, FACTORS, [[float((cell["r"] == 8) == (cell["alpha"] == 32))] for cell in CELLS]))
    assert shares["r × alpha"] == pytest.approx(1.0)


def test_seeds_have_what_no_field_explains() -> None:
    shares = dict(decomposition(CELLS, FACTORS, [[0.0, 1.0]] * 4))
    assert shares["seeds"] == pytest.approx(1.0)


def test_the_shares_sum_to_one_with_three_fields() -> None:
    cells = [{"a": a, "b": b, "c": c} for a, b, c in product((0, 1), (0, 1, 2), (0, 1))]
    values = [[(7 * a + b * b + 3 * a * b * c + seed) % 5 for seed in (0, 1)] for a, b, c in
              ((each["a"], each["b"], each["c"]) for each in cells)]  # fmt: skip
    shares = decomposition(cells, [("a",), ("b",), ("c",)], values)
    assert sum(share for _, share in shares) == pytest.approx(1.0) and dict(shares)["more than two fields"] > 0


def test_scores_that_are_all_the_same_have_no_shares() -> None:
    assert decomposition(CELLS, FACTORS, [[1.0]] * 4) == []


def test_other_numbers_of_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="the same number of seeds"):
        decomposition(CELLS, FACTORS, [[1.0], [1.0, 2.0], [1.0], [1.0]])


def test_fields_that_were_swept_together_are_one_factor() -> None:
    pairs = [(2, 4), (2, 16), (8, 16), (32, 16), (32, 64)]
    cells = [{"r": r, "alpha": alpha, "lr": lr} for (r, alpha), lr in product(pairs, (1e-3, 1e-2))]
    assert set(complete_factors(cells, ["lr", "r", "alpha"])) == {("lr",), ("r", "alpha")}


def test_a_complete_grid_keeps_its_fields_apart() -> None:
    assert complete_factors(CELLS, ["r", "alpha"]) == FACTORS


def test_two_missing_cells_leave_out_the_value_that_lacks_them() -> None:
    cells = [{"r": r, "lr": lr} for r, lr in product((4, 8, 16), (1, 2, 3, 4)) if (r, lr) not in ((8, 4), (16, 4))]
    factors, kept = complete_grid(cells, ["r", "lr"])
    assert factors == [("r",), ("lr",)]
    assert [cells[place] for place in kept] == [{"r": r, "lr": lr} for r, lr in product((4, 8, 16), (1, 2, 3))]


def test_fields_that_were_swept_together_stay_one_factor_where_a_cell_is_missing() -> None:
    cells = [{"r": r, "alpha": 2 * r, "lr": lr} for r, lr in product((4, 8, 16), (1, 2, 3))][:-1]
    factors, kept = complete_grid(cells, ["r", "alpha", "lr"])
    assert {*factors} == {("lr",), ("r", "alpha")} and len(kept) == 6


def test_a_complete_grid_keeps_all_its_cells() -> None:
    assert complete_grid(CELLS, ["r", "alpha"]) == (FACTORS, [0, 1, 2, 3])


@pytest.mark.parametrize("cells", [CELLS[:3], [{"r": each, "alpha": each} for each in range(6)]])
def test_cells_without_a_grid_among_them_are_all_left_out(cells: list[dict[str, int]]) -> None:
    assert complete_grid(cells, ["r", "alpha"])[1] == []


def test_cells_that_are_no_grid_leave_one_factor() -> None:
    assert len(complete_factors(CELLS[:3], ["r", "alpha"])) == 1
