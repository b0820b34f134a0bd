"""The row's score columns, and scoring stored candidates again."""

import pytest

from raypeft.config import trial_columns
from raypeft.data import DATASETS
from raypeft.metrics.scores import score
from raypeft.plan import make_trial
from raypeft.records import Candidate
from raypeft.results import MEASURED, ResultStore
from raypeft.score import main

TOY = DATASETS["toy"]


def ranked(example, *texts):
    return [Candidate(example, rank, text, 3, "eos") for rank, text in enumerate(texts)]


CANDIDATES = [ranked("0", "x = 1", "x = 2"), ranked("1", "y = f(x)", "z = 3"), ranked("2", "f(y)", "import os")]
REFERENCES = ["x = 2", "y = f(x)", "g(y)"]


def test_every_score_is_a_column_of_the_results():
    assert set(score(CANDIDATES, REFERENCES, TOY)) <= {column.name for column in MEASURED}


def test_exact_match_counts_the_first_k_candidates():
    scores = score(CANDIDATES, REFERENCES, TOY)
    assert scores["em_at_1"] == pytest.approx(1 / 3)
    assert scores["em_at_2"] == pytest.approx(2 / 3)


def test_a_cut_beyond_the_candidates_has_no_score():
    assert "em_at_5" not in score(CANDIDATES, REFERENCES, TOY)


def test_intervals_hold_their_score():
    scores = score(CANDIDATES * 10, REFERENCES * 10, TOY)
    for name in ("em_at_1", "em_at_2", "codebleu"):
        assert scores[f"{name}_low"] <= scores[name] <= scores[f"{name}_high"]


def test_no_hit_in_a_hundred_does_not_claim_that_there_is_none():
    scores = score([ranked("0", "x")] * 100, ["y"] * 100, TOY)
    assert scores["em_at_1"] == scores["em_at_1_low"] == 0
    assert scores["em_at_1_high"] == pytest.approx(0.0370, abs=1e-4)  # Wilson's bound for 0 of 100


def test_more_examples_make_the_interval_narrower():
    few, many = (score(CANDIDATES * n, REFERENCES * n, TOY) for n in (5, 50))
    assert many["codebleu_high"] - many["codebleu_low"] < few["codebleu_high"] - few["codebleu_low"]


def test_scores_are_the_same_every_time():
    assert score(CANDIDATES, REFERENCES, TOY) == score(CANDIDATES, REFERENCES, TOY)


def test_stored_candidates_are_scored_again_and_nothing_else_of_the_row_changes(tmp_path, capsys):
    store = ResultStore(str(tmp_path), trial_columns())
    trial = make_trial({"model": "toy", "dataset": "toy", "tuning_method": "icl"})
    row = {"id": trial.id, "sweep": "s", **trial.fields, "status": "ok", "em_at_1": 0.9, "train_seconds": 5.0}
    store.write_rows("trials", trial.id, [row])
    store.write_rows(
        "candidates",
        trial.id,
        [
            {"id": trial.id, "example_id": each.example_id, "rank": each.rank, "text": each.text,
             "reference": reference, "matches": False, "token_count": 3, "stop_reason": "eos", "prompt_tokens": 9}
            for found, reference in zip(CANDIDATES, REFERENCES, strict=True)
            for each in found
        ],
    )  # fmt: skip
    before = store.read_rows()[0]
    assert main([str(tmp_path)]) == 0
    after = store.read_rows()[0]
    expected = score(CANDIDATES, REFERENCES, TOY)
    assert {name: after[name] for name in expected} == pytest.approx(expected)
    assert {name for name in after if after[name] != before[name]} <= set(expected)
    assert "1 trials scored again" in capsys.readouterr().out


def test_a_folder_without_candidates_is_refused(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "holds no candidates/" in capsys.readouterr().err
