"""Which condition is compared with which."""

import pytest
from result_folders import add, rows_of, with_stop

from raypeft.analysis.baselines import Baseline, baseline_of, parse_baseline
from raypeft.analysis.conditions import conditions
from raypeft.results.store import ResultStore
from raypeft.trial.columns import tables
from raypeft.trial.declarations import own_declarations

DECLARED = own_declarations()


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "study"), tables())


def baselines(store, *words):
    """Label of each condition -> the label of its baseline, or why it has none."""
    rows = rows_of(store)
    every, baseline = conditions(rows, DECLARED), parse_baseline(words, rows, DECLARED)
    others = {each.label: baseline_of(each, baseline, every, DECLARED) for each in every if not baseline.fits(each)}
    return {label: other if isinstance(other, str) else other.label for label, other in others.items()}


def test_trials_on_data_declared_otherwise_are_compared_with_those_on_the_same(store):
    with_stop(store, "zero_shot", "\n", "end")
    with_stop(store, "full", "\n", "end", "stop")
    assert baselines(store) == {
        "full stop \\n": "zero_shot stop \\n",
        "full stop end": "zero_shot stop end",
        "full stop stop": "no trial with tuning_method=zero_shot has the same declared",
    }


def test_without_words_the_untuned_model_is_the_baseline_and_else_the_first_trial(store):
    first = add(store, "lora", [1, 0])
    assert parse_baseline([], rows_of(store), DECLARED) == Baseline(id=first)
    add(store, "zero_shot", [0, 0])
    assert parse_baseline([], rows_of(store), DECLARED) == Baseline({"tuning_method": "zero_shot"})


def test_another_seed_of_the_baseline_is_not_compared_with_it(store):
    for seed in (1, 2):
        add(store, "lora", [1, 0], seed=seed)
    add(store, "full", [1, 1])
    assert baselines(store, "lora") == {"full": "lora r 16"}


def test_paper_is_compared_with_paper_and_never_with_corrected(store):
    for fidelity in ("corrected", "paper"):
        add(store, "zero_shot", [0, 0], fidelity=fidelity)
    add(store, "icl", [1, 0], fidelity="paper")
    assert baselines(store) == {"icl shots 8": "zero_shot fidelity paper"}


def test_retrieved_shots_are_compared_with_as_many_random_ones(store):
    for shots in (1, 4):
        add(store, "icl", [0, 0], num_shots=shots)
    for shots in (1, 4, 8):
        add(store, "rag", [1, 0], num_shots=shots, embedding_model="toy")
    compared = baselines(store, "icl")
    assert compared["rag shots 1"] == "icl shots 1"
    assert compared["rag shots 4"] == "icl shots 4"
    assert compared["rag shots 8"] == "no trial with tuning_method=icl has num_shots 8; name num_shots as well"


def test_a_value_of_a_field_is_compared_where_all_else_agrees(store):
    for r, alpha in ((8, 16), (16, 16), (8, 32), (16, 32), (4, 8)):
        add(store, "lora", [1, 0], lora_r=r, lora_alpha=alpha)
    compared = baselines(store, "lora_r=16")
    assert compared["lora r 8, alpha 16"] == "lora r 16, alpha 16"
    assert compared["lora r 8, alpha 32"] == "lora r 16, alpha 32"
    assert "name lora_alpha as well" in compared["lora r 4, alpha 8"]


def test_a_value_of_a_field_is_compared_within_each_method(store):
    for method, r in (("lora", 16), ("lora", 8), ("qlora_4bit", 8)):
        add(store, method, [1, 0], lora_r=r)
    compared = baselines(store, "lora_r=16")
    assert compared["qlora_4bit r 8"] == "no trial with lora_r=16 agrees in tuning_method (qlora_4bit)"
    add(store, "qlora_4bit", [1, 0], lora_r=16)
    assert baselines(store, "lora_r=16") == {"lora r 8": "lora r 16", "qlora_4bit r 8": "qlora_4bit r 16"}


def test_a_trials_id_is_compared_with_every_condition_of_its_model_and_dataset(store):
    chosen = add(store, "lora", [1, 0])
    add(store, "lora", [1, 0], lora_r=4, lora_alpha=8)
    add(store, "full", [1, 0])
    assert baselines(store, chosen) == {"lora r 4, alpha 8": "lora r 16, alpha 32", "full": "lora r 16, alpha 32"}


def test_several_baselines_are_not_chosen_between(store):
    for r in (8, 16):
        add(store, "lora", [1, 0], lora_r=r)
    add(store, "zero_shot", [0, 0])
    assert baselines(store, "lora")["zero_shot"] == (
        "2 trials are tuning_method=lora (lora r 8, lora r 16); name one of them"
    )
    assert baselines(store, "lora", "lora_r=8")["zero_shot"] == "lora r 8"


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ("dataset_resolved_revision", "loaded from different versions of the data"),
        ("model_resolved_revision", "loaded from different weights"),
        ("sandbox_tier", "judged in sandboxes of different tiers"),
    ],
)
def test_trials_of_other_data_weights_or_sandboxes_are_not_compared(store, column, told):
    add(store, "zero_shot", [0, 0], row={column: "A"})
    add(store, "lora", [1, 0], row={column: "B"})
    assert baselines(store) == {"lora r 16": f"their {column} differs: they were {told}"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lara"], r"must be the id of a trial, or its method \(zero_shot, lora\) but got lara"),
        (["lora_r=7"], r"must be a lora_r of these trials \(8, 16\) but got 7"),
        (["lora_rank=8"], r"must name fields of the trials but got lora_rank; did you mean lora_r\?"),
        (["zero_shot", "lora_r=8"], "must be some trial but none has tuning_method=zero_shot lora_r=8"),
        (
            ["dataset=toy"],
            r"must leave trials to compare with it .*; name a value of tuning_method \(zero",
        ),
    ],
)
def test_a_baseline_that_no_trial_is_is_refused_with_what_there_is(store, words, told):
    add(store, "zero_shot", [0, 0])
    for r in (8, 16):
        add(store, "lora", [1, 0], lora_r=r)
    with pytest.raises(ValueError, match=told):
        parse_baseline(words, rows_of(store), DECLARED)


def test_trials_that_were_tested_on_different_datasets_are_never_compared(store):
    add(store, "zero_shot", [0, 0])
    add(store, "lora", [1, 0], test_dataset="toy_apps", do_sample=False, num_beams=10)
    refused = "no trial with tuning_method=zero_shot agrees in test_dataset (toy_apps)"
    assert baselines(store) == {"toy->toy_apps lora r 16": refused}
    other = "they were tested on different datasets, toy_apps and toy"
    assert baselines(store, "tuning_method=zero_shot", "test_dataset=toy") == {"toy->toy_apps lora r 16": other}


def test_what_trials_were_trained_on_can_be_compared_where_they_were_tested_on_the_same(store):
    data = {"dataset_resolved_revision": "a", "test_resolved_revision": "c"}
    add(store, "lora", [1, 0], dataset="toy", test_dataset="toy_apps", row=data)
    add(store, "lora", [1, 1], dataset="toy_apps", row={**data, "dataset_resolved_revision": "b"})
    assert baselines(store, "dataset=toy_apps") == {"toy->toy_apps lora r 16": "toy_apps lora r 16"}
