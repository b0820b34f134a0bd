"""The best condition: chosen on validation, reported on test, with the optimism of choosing on test."""

import numpy as np
import pytest
from result_folders import add, rows_of

from raypeft.analysis.choosing import ALIKE, HEADINGS, best_table, criterion
from raypeft.analysis.conditions import conditions
from raypeft.results.store import TOGETHER, ResultStore
from raypeft.trial.columns import tables
from raypeft.trial.declarations import own_declarations

DECLARED = own_declarations()
SCORES = ("em_at_1", "codebleu")


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "study"), tables())


def lines(store, score="em_at_1"):
    return [dict(zip(HEADINGS, line, strict=True)) for line in best_table(rows_of(store), store, DECLARED, score)[2]]


def test_the_condition_with_the_lowest_validation_loss_is_chosen_and_its_test_score_reported(store):
    add(store, "lora", [1, 1, 1, 0], lora_r=4, row={"best_eval_loss": 0.6})
    add(store, "lora", [1, 1, 0, 0], lora_r=8, row={"best_eval_loss": 0.5})
    add(store, "zero_shot", [0, 0, 0, 0])
    (line,) = lines(store)
    assert (line["chosen on validation"], line["by"], line["its test score"]) == ("lora r 8", "best_eval_loss", "50.0")
    assert (line["best on test"], line["its score"]) == ("lora r 4", "75.0")


def test_a_validation_score_goes_before_the_loss(store):
    add(store, "lora", [1, 0], lora_r=4, row={"best_eval_loss": 0.6, "em_at_1_validation": 0.5})
    add(store, "lora", [0, 0], lora_r=8, row={"best_eval_loss": 0.5, "em_at_1_validation": 0.4})
    (line,) = lines(store)
    assert (line["chosen on validation"], line["by"]) == ("lora r 4", "em_at_1_validation")


def test_weights_of_two_revisions_do_not_compete_as_one_method(store):
    for step, loss in (("step1000", 0.9), ("step2000", 0.5)):
        for r in (4, 8):
            row = {"best_eval_loss": loss + r / 100, "model_resolved_revision": step}
            add(store, "lora", [1, 0], lora_r=r, model_revision=step, row=row)
    found = lines(store)
    assert [line["method"].partition(", ")[2] for line in found] == [
        "model_revision step1000",
        "model_revision step2000",
    ]
    assert {line["conditions"] for line in found} == {"2"}
    assert all("r 4" in line["chosen on validation"] for line in found)


def test_without_any_validation_score_none_is_chosen_and_that_is_said(store):
    for shots in (1, 4):
        add(store, "icl", [1, 0], num_shots=shots)
    (line,) = lines(store)
    assert (line["chosen on validation"], line["by"]) == ("", "no validation score")


def test_the_optimism_of_choosing_on_the_test_stands_beside_the_best_score(store):
    generator = np.random.default_rng(1)
    for r in (1, 2, 4, 8):
        add(store, "lora", [*(generator.random(100) < 0.3).astype(int)], lora_r=r, lora_alpha=8)
    (line,) = lines(store)
    assert 0 < float(line["optimism of choosing on test"]) < 10


def test_the_optimism_is_known_where_one_file_holds_the_scores_of_all_trials(store):
    scores = []
    for shots in (1, 2, 4, 8):
        hits = [*(np.random.default_rng(shots).random(40) < 0.3).astype(float)]
        trial = add(store, "icl", hits, num_shots=shots)
        store.write_rows("candidates", trial, [])
        scores += [{"id": trial, "example_id": str(place), "score": "em_at_1", "value": hit}
                   for place, hit in enumerate(hits)]  # fmt: skip
    store.write_rows("example_scores", TOGETHER, scores)
    (line,) = lines(store)
    assert 0 < float(line["optimism of choosing on test"]) < 20


@pytest.mark.parametrize(
    ("name", "values"), [("fidelity", ("corrected", "paper")), ("test_limit", (None, 2)), ("num_beams", (10, 20))]
)
def test_only_conditions_that_answer_the_same_questions_alike_compete(store, name, values):
    for place, value in enumerate(values):
        for r in (4, 8):
            row = {"best_eval_loss": 0.5 - place / 10 + r / 100}
            add(store, "lora", [1, 0, 0, 0], lora_r=r, row=row, **{name: value})
    found = {line["method"]: (line["conditions"], line["chosen on validation"]) for line in lines(store)}
    assert len(found) == 2, "the lower validation loss of the one kind is no reason to choose it over the other"
    assert {count for count, _ in found.values()} == {"2"}
    assert all(f"{name} {value}" in " ".join(found) for value in values)


@pytest.mark.parametrize(
    ("name", "values"), [("num_beams", (10, 20)), ("fidelity", ("corrected", "paper")), ("limit", (10, 20))]
)
def test_a_validation_loss_does_not_choose_what_it_does_not_know_or_is_not_the_same_in_but_a_score_does(
    store, name, values
):
    for place, value in enumerate(values):
        row = {"best_eval_loss": 0.5 - place / 10, "em_at_1_validation": 0.1 * place}
        add(store, "lora", [1, 0], row=row, **{name: value})
    found, (em, codebleu) = conditions(rows_of(store), DECLARED), (DECLARED.score(each, "") for each in SCORES)
    assert criterion(found, codebleu) == ("", 1)
    assert criterion(found[:1], codebleu) == ("best_eval_loss", -1)
    assert criterion(found, em) == ("em_at_1_validation", 1)


def test_the_fields_in_which_rivals_agree_are_fields_of_trials():
    assert set(ALIKE) <= {"test_dataset", *DECLARED.trial_fields}


def test_an_unknown_score_is_refused_with_the_known_ones(store):
    add(store, "lora", [1, 0])
    with pytest.raises(ValueError, match=r"--best must be a score .* but got em"):
        best_table(rows_of(store), store, DECLARED, "em")
