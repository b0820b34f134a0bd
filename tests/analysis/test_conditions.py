"""Which trials are one condition."""

from itertools import product

import pytest
from result_folders import add, rows_of, with_stop

from raypeft.analysis.conditions import _fields, conditions
from raypeft.results.store import ResultStore
from raypeft.trial.columns import tables
from raypeft.trial.declarations import own_declarations

DECLARED = own_declarations()


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "study"), tables())


def found(store):
    return conditions(rows_of(store), DECLARED)


def test_trials_that_differ_in_their_seed_alone_are_one_condition_and_no_seed_is_in_its_name(store):
    for seed in (1, 2):
        add(store, "lora", [1, 0], seed=seed)
        add(store, "lora", [1, 0], seed=seed, lora_r=4)
    assert [(each.label, len(each.rows)) for each in found(store)] == [("lora r 4", 2), ("lora r 16", 2)]


def test_a_seed_that_changes_no_answer_makes_a_repeat_and_no_further_seed(store):
    for seed in (1, 2):
        add(store, "zero_shot", [1, 0], seed=seed)
        add(store, "icl", [1, 0], seed=seed, num_shots=4)
        add(store, "zero_shot", [1, 0], seed=seed, do_sample=True, num_beams=1)
    counts = {each.label: (len(each.rows), len(each.trials)) for each in found(store)}
    assert list(counts.values()) == [(2, 2), (1, 2), (1, 2)], f"sampled, searched and icl: {counts}"
    assert all(len(each.ids.split(" +")) == 2 for each in found(store))


def test_trials_from_two_places_are_no_repeats_and_seeds_that_were_not_stored_are_none(store):
    add(store, "zero_shot", [1, 0], seed=1)
    add(store, "zero_shot", [1, 0], seed=2, model_revision="step1000")
    add(store, "lora", [1, 0], seed=1, row={"seed": None})
    add(store, "lora", [1, 0], seed=2, row={"seed": None})
    assert [(len(each.rows), len(each.trials)) for each in found(store)] == [(1, 1), (1, 1), (2, 2)]


def test_a_trial_with_other_weights_is_no_repeat(store):
    for seed, weights in ((1, "A"), (2, "B")):
        add(store, "zero_shot", [1, 0], seed=seed, row={"model_resolved_revision": weights})
    assert [(len(each.rows), len(each.trials)) for each in found(store)] == [(1, 1), (1, 1)]


def test_crossed_seeds_count_as_often_as_the_seed_with_fewer_values(store):
    for seed, icl_seed in product((1, 2, 3), (1, 2, 3)):
        add(store, "lora", [1, 0], seed=seed, icl_seed=icl_seed, num_shots=4)
    (trained,) = found(store)
    assert sorted((row["seed"], row["icl_seed"]) for row in trained.rows) == [(1, 1), (2, 2), (3, 3)]
    assert len(trained.repeats) == 6


@pytest.mark.parametrize("lost", [(1, 1), (3, 3)])
def test_crossed_seeds_are_three_independent_ones_whichever_trial_is_missing(store, lost):
    for seed, icl_seed in sorted({*product((1, 2, 3), (1, 2, 3))} - {lost}):
        add(store, "lora", [1, 0], seed=seed, icl_seed=icl_seed, num_shots=4)
    (trained,) = found(store)
    assert (len(trained.rows), len(trained.repeats)) == (3, 5)
    assert [{row[name] for row in trained.rows} for name in ("seed", "icl_seed")] == [{1, 2, 3}, {1, 2, 3}]


def test_of_trials_that_share_their_shots_none_is_left_out(store):
    for seed in (1, 2, 3):
        add(store, "lora", [1, 0], seed=seed, num_shots=4)
    assert [len(each.rows) for each in found(store)] == [3]


def test_conditions_stand_in_the_order_of_their_values(store):
    for r in (64, 8, 16):
        add(store, "lora", [1, 0], lora_r=r)
    assert [each.label for each in found(store)] == ["lora r 8", "lora r 16", "lora r 64"]


def test_a_column_that_an_older_version_lacked_has_its_default(store):
    add(store, "lora", [1, 0], seed=1)
    add(store, "lora", [1, 0], seed=2, row={"train_sampling_strategy": None})
    assert len(found(store)) == 1


def test_fields_of_rows_that_differ_in_their_seed_alone_are_worked_out_once(store, monkeypatch):
    for seed in (1, 2, 3):
        add(store, "lora", [1, 0], seed=seed)
    counted = []
    monkeypatch.setattr("raypeft.analysis.conditions._fields", lambda *given: counted.append(given) or _fields(*given))
    assert len(found(store)) == 1
    assert len(counted) == 1


def test_rows_with_lists_among_their_fields_are_conditions_as_well(store):
    for seed, layers in enumerate((["q_proj"], ["q_proj"], ["q_proj", "v_proj"])):
        add(store, "lora", [1, 0], seed=seed, target_modules=layers)
    assert sorted(len(each.rows) for each in found(store)) == [1, 2]


def test_a_seed_that_ran_again_on_data_declared_otherwise_is_another_condition_named_by_what_was_changed(store):
    with_stop(store, "zero_shot", "\n", "end")
    assert [(each.label, len(each.rows)) for each in found(store)] == [
        ("zero_shot stop \\n", 1), ("zero_shot stop end", 1),
    ]  # fmt: skip


def test_seeds_of_each_revision_of_the_weights_stay_together(store):
    for step in ("step1", "step2"):
        for seed in (1, 2):
            add(store, "lora", [1, 0], model_revision=step, seed=seed)
    assert [(each.label, len(each.rows)) for each in found(store)] == [
        ("lora model_revision step1, r 16", 2), ("lora model_revision step2, r 16", 2),
    ]  # fmt: skip


def test_other_seeds_from_another_place_are_still_one_condition(store):
    for seed, path in enumerate(("/a", "/b")):
        add(store, "lora", [1, 0], model_path=path, seed=seed)
    assert [(each.label, len(each.rows)) for each in found(store)] == [("lora r 16", 2)]
