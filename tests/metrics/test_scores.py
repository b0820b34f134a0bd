"""The row's score columns."""

import pytest

from raypeft.data import DATASETS
from raypeft.metrics.codebleu.score import codebleu
from raypeft.metrics.scores import score, score_tests
from raypeft.records import Candidate
from raypeft.results.columns import MEASURED

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


def test_the_papers_reading_of_an_untuned_method_is_that_of_its_fenced_prompts():
    candidates = [ranked("0", " x < 1\n```\nmore"), ranked("1", "y"), ranked("2", "z")]
    references = ["x < 1", "y ", "q"]
    tuned, untuned = (score(candidates, references, TOY, trains) for trains in (True, False))
    assert tuned["em_at_1_paper"] == 0, "cut at < as RQ2's program did"
    assert untuned["em_at_1_paper"] == pytest.approx(1 / 3), "the reference counts as it is"
    cut = ["x < 1", "y", "z"]
    assert untuned["codebleu_paper"] == codebleu(references, cut, fidelity="package")["codebleu"]
    assert tuned["em_at_1"] == untuned["em_at_1"] == pytest.approx(1 / 3)


def judged(problem, *candidates, level="interview", paper=()):
    """Rows of the table `tests`: each candidate is a string with a letter a test, p(assed), w(rong), e(rror), ..."""
    outcomes = {"p": "passed", "w": "wrong_answer", "e": "runtime_error", "c": "compile_error", "-": "not_run"}
    return [
        {
            "example_id": problem, "level": level, "rank": rank, "test": test, "outcome": outcomes[letter],
            "passed": letter == "p", "passed_paper": letter == "p" or (rank, test) in paper,
        }
        for rank, letters in enumerate(candidates)
        for test, letter in enumerate(letters)
    ]  # fmt: skip


def test_the_references_check_of_tests_passed_and_strict_accuracy_holds():
    rows = [
        *judged("0", "c"),
        *judged("1", "ww"),
        *judged("2", "pp"),
        *judged("3", "wpwp"),
        *judged("4", "ee"),
    ]
    scores = score_tests(rows)
    assert scores["avg_tests_passed"] == pytest.approx(0.3)
    assert scores["strict_accuracy"] == scores["pass_at_1"] == pytest.approx(0.2)
    assert (scores["passed_tests"], scores["runtime_error_tests"], scores["compile_error_tests"]) == (4, 2, 1)


@pytest.mark.parametrize(("right", "expected"), enumerate([0, 0.4, 0.7, 0.9, 1, 1]))
def test_pass_at_2_of_five_candidates_is_the_unbiased_estimate(right, expected):
    scores = score_tests(judged("0", *["p"] * right, *["w"] * (5 - right)))
    assert scores["pass_at_2"] == pytest.approx(expected)


def test_every_level_has_scores_of_its_own_and_an_absent_one_has_none():
    rows = [*judged("0", "p", level="interview"), *judged("1", "w", level="competition")]
    scores = score_tests(rows, ("introductory", "interview", "competition"))
    assert (scores["pass_at_1_interview"], scores["pass_at_1_competition"], scores["pass_at_1"]) == (1, 0, 0.5)
    assert "pass_at_1_introductory" not in scores


def test_the_papers_reading_is_kept_beside():
    scores = score_tests(judged("0", "pw", "pw", paper={(0, 1)}))
    assert (scores["pass_at_1"], scores["pass_at_1_paper"]) == (0, 0.5)
    assert (scores["avg_tests_passed"], scores["avg_tests_passed_paper"]) == (0.5, 0.75)


def test_tests_that_were_not_run_leave_the_share_of_tests_unknown():
    scores = score_tests([*judged("0", "w--"), *judged("1", "ppp")])
    assert "avg_tests_passed" not in scores
    assert scores["pass_at_1"] == 0.5
    assert scores["not_run_tests"] == 2


def test_a_cut_beyond_the_fewest_candidates_has_no_score():
    scores = score_tests([*judged("0", "p", "p"), *judged("1", "p", "p", "p", "p", "p")])
    assert "pass_at_2" in scores
    assert "pass_at_5" not in scores


def test_intervals_hold_their_functional_score_and_are_never_a_point():
    mixed = [row for number in range(30) for row in judged(str(number), "pw" if number % 3 else "pp", "ww")]
    none = [row for number in range(100) for row in judged(str(number), "w")]
    for rows in (mixed, none):
        scores = score_tests(rows)
        for name in ("avg_tests_passed", "strict_accuracy", "pass_at_1"):
            assert scores[f"{name}_low"] <= scores[name] <= scores[f"{name}_high"]
            assert scores[f"{name}_low"] < scores[f"{name}_high"]
    assert score_tests(none)["pass_at_1_high"] == pytest.approx(0.0370, abs=1e-4)


def test_every_functional_score_is_a_column_of_the_results():
    levels = ("introductory", "interview", "competition")
    rows = [row for level in levels for row in judged(level, *["p"] * 5, level=level)]
    scores = score_tests(rows, levels)
    columns = {column.name for column in MEASURED}
    assert set(scores) <= columns
    assert {f"pass_at_5_{level}_high" for level in levels} <= set(scores)
