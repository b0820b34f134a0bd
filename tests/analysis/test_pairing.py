"""Seeds of two conditions: paired where they are the same, independent where they are not, and never made up."""

from itertools import product

import numpy as np
import pytest

from raypeft.analysis.conditions import conditions
from raypeft.analysis.pairing import fewest_seeds, has_chance, lacking_seeds, over_seeds_and_examples, same_seeds
from raypeft.study.trials import make_trial
from raypeft.trial.declarations import own_declarations

DECLARED = own_declarations()
SEED_DEVIATION = 0.05


def condition_of(points):
    """The one condition of trials with these fields."""
    trials = [make_trial({"model": "toy", "dataset": "toy", **point}) for point in points]
    (found,) = conditions([{"id": trial.id, **trial.fields} for trial in trials], DECLARED)
    return found


def condition(name, seeds, by="seed", **fields):
    return condition_of({"tuning_method": name, by: seed, **fields} for seed in seeds)


LORA = condition("lora", (1, 2, 3))
FULL = condition("full", (3, 4, 5))
DRAWS = condition("icl", (42, 1, 2, 3, 4), by="icl_seed", num_shots=4)
UNTUNED = condition("zero_shot", (42,))
SAMPLED = condition("zero_shot", (1, 2), do_sample=True, num_beams=1)


def hits(generator, one, scatters=True):
    """Hits of (seeds, examples), with the same chance of both sides on average."""
    deviation = SEED_DEVIATION if scatters else 0.0
    by_seed = 0.5 + generator.normal(0, deviation, len(one.rows))
    return (generator.random((len(one.rows), 250)) < by_seed[:, None]).astype(float)


@pytest.mark.parametrize("other", [FULL, DRAWS], ids=["other seeds", "draws of shots"])
def test_alike_methods_that_ran_other_seeds_differ_significantly_in_at_most_5_of_100_studies(other):
    generator = np.random.default_rng(1)
    found = [
        over_seeds_and_examples((LORA, other), (hits(generator, LORA), hits(generator, other)), DECLARED)
        for _ in range(1000)
    ]
    assert 0.025 < np.mean([each.p_value < 0.05 for each in found]) < 0.065
    assert 0.935 < np.mean([each.low <= 0 <= each.high for each in found]) < 0.975


def test_with_other_seeds_the_smallest_difference_that_is_detectable_is_found_four_times_in_five():
    generator = np.random.default_rng(2)
    effect = np.mean([
        over_seeds_and_examples((DRAWS, FIVE), (hits(generator, DRAWS), hits(generator, FIVE)), DECLARED).detectable
        for _ in range(200)
    ])  # fmt: skip
    found = [
        over_seeds_and_examples((DRAWS, FIVE), (hits(generator, DRAWS) + effect, hits(generator, FIVE)), DECLARED)
        for _ in range(500)
    ]
    assert 0.7 < np.mean([each.p_value < 0.05 for each in found]) < 0.92


FIVE = condition("full", range(10, 15))


def test_the_same_seeds_are_paired_in_whichever_order_they_ran():
    again = condition("full", (3, 1, 2))
    assert same_seeds(LORA.rows, again.rows) == [1, 2, 0]
    by_seed = np.array([[0.2], [0.5], [0.9]]) * np.ones(40)
    found = over_seeds_and_examples((LORA, again), (by_seed + 0.1, by_seed[[2, 0, 1]]), DECLARED)
    assert found.mean == pytest.approx(0.1)
    assert found.error == pytest.approx(0, abs=1e-12)


def test_seeds_that_only_some_of_both_ran_are_no_pairs():
    assert same_seeds(LORA.rows, FULL.rows) is None
    assert same_seeds(DRAWS.rows, condition("icl", (42, 1, 2, 3, 5), by="icl_seed", num_shots=4).rows) is None


def test_an_untuned_model_stands_for_every_seed_and_a_trained_one_does_not():
    generator = np.random.default_rng(3)
    ours, theirs = hits(generator, LORA), hits(generator, UNTUNED)
    assert over_seeds_and_examples((LORA, UNTUNED), (ours, theirs), DECLARED).mean == pytest.approx(
        ours.mean() - theirs.mean()
    )
    assert over_seeds_and_examples((LORA, condition("full", (1,))), (ours, theirs), DECLARED) is None
    assert lacking_seeds((LORA, condition("full", (1,)), UNTUNED), DECLARED)[0].fields["tuning_method"] == "full"


def test_two_draws_of_what_has_no_seeds_of_its_own_drop_no_seed_of_the_other_side():
    generator = np.random.default_rng(4)
    ours, theirs = hits(generator, SAMPLED), hits(generator, LORA)
    found = over_seeds_and_examples((SAMPLED, LORA), (ours, theirs), DECLARED)
    assert (found.seeds, found.mean) == (3, pytest.approx(ours.mean() - theirs.mean()))


def test_random_shots_are_chance_of_all_examples_and_shots_drawn_for_each_query_are_not():
    assert has_chance(DRAWS, DECLARED)
    assert not has_chance(condition("icl", (42,), num_shots=4, icl_sampling="per_example"), DECLARED)
    assert not has_chance(condition("rag", (42,), num_shots=4), DECLARED)


@pytest.mark.parametrize(("name", "fields", "lacks"), [
    ("icl", {"seed": (1, 2, 3)}, ("icl_seed", 1)),
    ("icl", {"seed": (1, 2, 3), "do_sample": (True,), "num_beams": (1,)}, ("icl_seed", 1)),
    ("icl", {"seed": (1, 2, 3), "icl_seed": (7, 8)}, ("icl_seed", 2)),
    ("lora", {"icl_seed": (1, 2, 3), "num_shots": (2,)}, ("seed", 1)),
    ("lora", {"seed": (1, 2, 3), "num_shots": (2,)}, ("icl_seed", 1)),
])  # fmt: skip
def test_seeds_that_vary_stand_for_no_seed_that_does_not(name, fields, lacks):
    found = grid_condition(name, **fields)
    assert lacking_seeds((found,), DECLARED) == [found]
    assert fewest_seeds(found, DECLARED) == lacks


@pytest.mark.parametrize(("name", "fields"), [
    ("icl", {"icl_seed": (1, 2, 3)}),
    ("lora", {"seed": (1, 2, 3)}),
    ("lora", {"seed": (1, 2, 3), "icl_seed": (1, 2, 3), "num_shots": (2,)}),
    ("lora", {"seed": (1, 2, 3), "shot_source": ("retrieved",), "num_shots": (2,)}),
    ("zero_shot", {"seed": (1,)}),
])  # fmt: skip
def test_three_of_each_seed_that_is_chance_are_enough(name, fields):
    assert lacking_seeds((grid_condition(name, **fields),), DECLARED) == []


def test_trainings_that_share_their_draws_of_shots_count_as_often_as_they_are_independent():
    """One training with three draws, and two more with the first of them: three of each seed, but no three apart."""
    found = condition_of({"tuning_method": "lora", "num_shots": 2, "seed": seed, "icl_seed": draw}
                         for seed, draw in ((1, 1), (1, 2), (1, 3), (2, 1), (3, 1)))  # fmt: skip
    assert fewest_seeds(found, DECLARED)[1] == 2
    assert lacking_seeds((found,), DECLARED) == [found]
    assert len(found.rows) == 5


def test_answers_that_were_given_again_make_no_interval_narrower():
    again = grid_condition("icl", icl_seed=(1, 2, 3), seed=(1, 2, 3))
    assert [row["icl_seed"] for row in again.rows] == [1, 2, 3]
    assert len(again.repeats) == 6


def grid_condition(name, **axes):
    """The one condition of all combinations of these values."""
    points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    return condition_of({"tuning_method": name, **point} for point in points)
