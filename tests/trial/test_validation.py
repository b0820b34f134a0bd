"""Scores on the validation split, beside those of the test split."""

from dataclasses import replace

import pytest
from result_folders import rows_of

from raypeft.analysis.score import score_again
from raypeft.results.store import ResultStore
from raypeft.study.trials import make_trial
from raypeft.trial import validation
from raypeft.trial.columns import tables
from raypeft.trial.context import TrialContext
from raypeft.trial.run import run_and_record

QUICK = {"model": "toy", "dataset": "toy", "limit": 12, "max_new_tokens": 8, "num_beams": 2, "num_return_sequences": 2}


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return ResultStore(str(tmp_path / "results"), tables())


def run(store, **fields):
    row = run_and_record(TrialContext(make_trial(QUICK | fields), "s", store))
    assert row["status"] == "ok", row["error"]
    return row


def test_an_untrained_method_has_validation_scores_and_its_test_scores_do_not_change(store):
    with_scores = run(store, tuning_method="icl", num_shots=2, validation_limit=5)
    without = run(store, tuning_method="icl", num_shots=2)
    assert 0 <= with_scores["codebleu_validation"] <= 1
    assert with_scores["em_at_1_validation"] * 5 == pytest.approx(round(with_scores["em_at_1_validation"] * 5))
    assert "codebleu_validation" not in without
    assert with_scores["codebleu"] == without["codebleu"]
    assert len(store.read_rows("candidates", with_scores["id"])) == 12 * 2, "of the test split alone"


def test_a_validation_prompt_that_does_not_fit_is_told_before_anything_is_trained(store, monkeypatch):
    def trained(*arguments):
        raise AssertionError("nothing may be trained yet")

    monkeypatch.setattr("raypeft.trial.run.tune", trained)
    real = validation.ask
    monkeypatch.setattr(validation, "ask", lambda context, *rest: real(replace(context, longest_answer=9999), *rest))
    trial = make_trial(QUICK | {"tuning_method": "lora", "validation_limit": 5, "max_new_tokens": None,
                                "test_dataset": "toy_apps", "num_beams": 2, "do_sample": False})  # fmt: skip
    monkeypatch.setattr("raypeft.trial.context.TrialContext.max_new_tokens",
                        property(lambda self: self.longest_answer or 8))  # fmt: skip
    row = run_and_record(TrialContext(trial, "s", store))
    assert row["status"] == "failed" and "must fit the model's context" in row["error"]


def test_validation_examples_without_answers_are_told_and_not_left_out_silently(store, monkeypatch):
    monkeypatch.setattr(validation, "sample", lambda examples, limit: [])
    trial = make_trial(QUICK | {"tuning_method": "zero_shot", "validation_limit": 5})
    row = run_and_record(TrialContext(trial, "s", store))
    assert "toy must have validation examples with an answer for validation_limit but has none" in row["error"]


def test_scoring_again_keeps_the_validation_scores(store):
    row = run(store, tuning_method="zero_shot", validation_limit=5)
    assert score_again(store) == 1
    assert rows_of(store)[0]["codebleu_validation"] == row["codebleu_validation"]
