"""Random shots: one draw for all queries, or one for each."""

import pytest

from raypeft.prompting.shots import random_shots, random_shots_of
from raypeft.records import Example

QUERY = Example("q", "reverse a list `x`", "x[::-1]")
SHOTS = [Example("1", "sort `y`", "sorted(y)"), Example("2", "sum `z`", "sum(z)")]
TRAIN = [Example(str(number), f"add {number}", f"x + {number}") for number in range(50)]


def test_the_same_seed_picks_the_same_shots() -> None:
    assert random_shots(TRAIN, 8, icl_seed=42) == random_shots(tuple(TRAIN), 8, icl_seed=42)


def test_the_shots_of_a_seed_never_change_from_one_release_to_the_next() -> None:
    assert [shot.id for shot in random_shots(TRAIN, 4, icl_seed=42)] == ["40", "7", "1", "47"]


def test_another_seed_picks_other_shots() -> None:
    assert random_shots(TRAIN, 8, icl_seed=1) != random_shots(TRAIN, 8, icl_seed=2)


def test_shots_are_different_training_examples() -> None:
    shots = random_shots(TRAIN, 50, icl_seed=42)
    assert len(set(shots)) == 50 and set(shots) == set(TRAIN)


def test_no_shots_are_an_empty_list() -> None:
    assert random_shots(TRAIN, 0, icl_seed=42) == []


def test_more_shots_than_training_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="num_shots must be at most the 50 training examples but got 51"):
        random_shots(TRAIN, 51, icl_seed=42)


def test_shots_of_a_querys_own_depend_on_seed_and_query_only() -> None:
    own = [random_shots_of(query, TRAIN, 8, icl_seed=42) for query in TRAIN[:5]]
    assert own == [random_shots_of(query, TRAIN, 8, icl_seed=42) for query in TRAIN[:5]]
    assert len({tuple(shots) for shots in own}) == 5
    assert own[0] != random_shots_of(TRAIN[0], TRAIN, 8, icl_seed=43)
    assert [shot.id for shot in random_shots_of(QUERY, TRAIN, 4, icl_seed=42)] == ["22", "21", "4", "3"]
