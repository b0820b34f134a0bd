"""The scores of a row: what every metric fills, and what a metric may not."""

import pytest

from raypeft.metrics.codebleu.score import codebleu
from raypeft.metrics.metric import Answers, Metric, Score
from raypeft.metrics.readings import Reading
from raypeft.metrics.scoring import declared_scores, row_scores, score_columns, values_by_example

CANDIDATES = [["x = 1", "x = 2"], ["y = f(x)", "z = 3"], ["f(y)", "import os"]]
REFERENCES = ["x = 2", "y = f(x)", "g(y)"]


def answers(candidates, references, trains=True):
    texts, known = ({str(place): each for place, each in enumerate(found)} for found in (candidates, references))
    return Answers(texts, known, paper_stop=("<|endoftext|>", "</s>"), trains=trains)


def score(candidates, references, trains=True):
    return row_scores(answers(candidates, references, trains), ("reference",))


def test_every_score_is_a_column_of_the_results():
    assert set(score(CANDIDATES, REFERENCES)) <= {column.name for column in score_columns()}


def test_exact_match_counts_the_first_k_candidates():
    scores = score(CANDIDATES, REFERENCES)
    assert scores["em_at_1"] == pytest.approx(1 / 3)
    assert scores["em_at_2"] == pytest.approx(2 / 3)


def test_a_cut_beyond_the_candidates_has_no_score():
    assert "em_at_5" not in score(CANDIDATES, REFERENCES)


def test_intervals_hold_their_score():
    scores = score(CANDIDATES * 10, REFERENCES * 10)
    for name in ("em_at_1", "em_at_2", "codebleu"):
        assert scores[f"{name}_low"] <= scores[name] <= scores[f"{name}_high"]


def test_no_hit_in_a_hundred_does_not_claim_that_there_is_none():
    scores = score([["x"]] * 100, ["y"] * 100)
    assert scores["em_at_1"] == scores["em_at_1_low"] == 0
    assert scores["em_at_1_high"] == pytest.approx(0.0370, abs=1e-4)  # Wilson's bound for 0 of 100


def test_more_examples_make_the_interval_narrower():
    few, many = (score(CANDIDATES * n, REFERENCES * n) for n in (5, 50))
    assert many["codebleu_high"] - many["codebleu_low"] < few["codebleu_high"] - few["codebleu_low"]


def test_scores_are_the_same_every_time():
    assert score(CANDIDATES, REFERENCES) == score(CANDIDATES, REFERENCES)


def test_the_papers_reading_of_an_untuned_method_is_that_of_its_fenced_prompts():
    candidates = [[" x < 1\n```\nmore"], ["y"], ["z"]]
    references = ["x < 1", "y ", "q"]
    tuned, untuned = (score(candidates, references, trains) for trains in (True, False))
    assert tuned["em_at_1_paper"] == 0, "cut at < as RQ2's program did"
    assert untuned["em_at_1_paper"] == pytest.approx(1 / 3), "the reference counts as it is"
    cut = ["x < 1", "y", "z"]
    assert untuned["codebleu_paper"] == codebleu(references, cut, Reading.PAPER_RQ1)["codebleu"]
    assert tuned["em_at_1"] == untuned["em_at_1"] == pytest.approx(1 / 3)


def test_single_examples_are_compared_by_hit_or_miss_and_by_what_they_contribute_to_codebleu():
    found = values_by_example(answers(CANDIDATES, REFERENCES), ("reference",))
    assert found["em_at_1"] == {"0": 0.0, "1": 1.0, "2": 0.0}
    assert found.keys() == {"em_at_1", "codebleu"}, "two candidates have no EM@10"


def test_only_metrics_of_what_the_dataset_is_judged_by_apply():
    given = Answers.from_rows(
        [{"example_id": "a", "text": "x", "reference": "x"}],
        [{"example_id": "a", "level": "", "rank": 0, "outcome": "passed", "passed": True, "passed_paper": True}],
    )
    assert {"em_at_1", "pass_at_1"} & row_scores(given, ("reference",)).keys() == {"em_at_1"}
    assert {"em_at_1", "pass_at_1"} & row_scores(given, ("tests",)).keys() == {"pass_at_1"}
    assert {"em_at_1", "pass_at_1"} <= row_scores(given, ("reference", "tests")).keys()


def test_a_metric_that_fills_a_column_that_it_does_not_declare_is_refused_by_name(monkeypatch):
    from raypeft.metrics import METRICS

    odd = Metric("odd", "reference", (Score("odd", "odd", "odd"),), lambda given: {"odd": 1.0, "even": 0.0})
    monkeypatch.setitem(METRICS, "odd", odd)
    with pytest.raises(ValueError, match="metric odd must declare the columns that it fills but fills even as well"):
        score(CANDIDATES, REFERENCES)


def test_no_two_scores_share_a_column():
    names = [column.name for column in score_columns()]
    assert len(names) == len(set(names))
    assert len(declared_scores()) < len(names)
