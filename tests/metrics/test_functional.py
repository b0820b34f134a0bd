"""pass@k, the share of tests passed, and strict accuracy."""

from dataclasses import replace
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from raypeft.metrics.functional import METRIC, candidates_passed, pass_at_k, shares_passed
from raypeft.metrics.metric import Answers

T, F = True, False
REFERENCE = {0: [-2], 1: [F, F], 2: [T, T], 3: [F, T, F, T], 4: [-1, -1]}
"""The example of the APPS reference's own documentation of its scores."""

SCORES = (shares_passed, candidates_passed)


def test_the_reference_s_example_has_its_known_scores():
    assert [*shares_passed(REFERENCE).values()] == [0, 0, 1, 0.5, 0]
    assert [*candidates_passed(REFERENCE).values()] == [(1, 0), (1, 0), (1, 1), (1, 0), (1, 0)]


def test_pass_at_2_of_5_candidates_has_its_known_values():
    assert [pass_at_k(5, c, 2) for c in range(6)] == pytest.approx([0, 0.4, 0.7, 0.9, 1, 1])


def test_pass_at_k_is_the_share_of_all_draws_that_hold_a_passing_candidate():
    for n in range(1, 13):
        for k in range(1, n + 1):
            # A draw holds a passing candidate when its first one (they are ordered) is among the first c.
            firsts = [draw[0] for draw in combinations(range(n), k)]
            for c in range(n + 1):
                expected = Fraction(sum(first < c for first in firsts), len(firsts))
                assert pass_at_k(n, c, k) == pytest.approx(float(expected), rel=1e-12, abs=1e-15), (n, c, k)


def test_pass_at_1_is_the_share_of_passing_candidates():
    assert pass_at_k(200, 13, 1) == pytest.approx(13 / 200, rel=1e-12)


def test_pass_at_k_is_accurate_where_binomials_overflow_a_float():
    n, c, k = 10_000, 3, 5_000
    expected = 1 - Fraction((n - k) * (n - k - 1) * (n - k - 2), n * (n - 1) * (n - 2))
    assert pass_at_k(n, c, k) == pytest.approx(float(expected), rel=1e-12)


def test_no_passing_candidate_is_exactly_zero_and_all_passing_exactly_one():
    assert all(pass_at_k(n, 0, k) == 0.0 and pass_at_k(n, n, k) == 1.0 for n in range(1, 13) for k in range(1, n + 1))


@pytest.mark.parametrize(
    ("n", "c", "k", "message"),
    [
        (5, 2, 6, "k must be from 1 to the n = 5 candidates of the problem but got 6"),
        (5, 2, 0, "k must be from 1 to the n = 5 candidates of the problem but got 0"),
        (5, 6, 1, "c must be from 0 to the n = 5 candidates of the problem but got 6"),
        (5, -1, 1, "c must be from 0 to the n = 5 candidates of the problem but got -1"),
        (0, 0, 1, "k must be from 1 to the n = 0 candidates of the problem but got 1"),
        (5, 2.0, 1, "c must be a whole number but got 2.0"),
        (5, 2, True, "k must be a whole number but got True"),
    ],
)
def test_counts_that_no_draw_can_have_are_refused(n, c, k, message):
    with pytest.raises(ValueError) as caught:
        pass_at_k(n, c, k)
    assert str(caught.value) == message


def test_candidates_are_averaged_before_problems():
    scores = score_tests([*judged("a", "pp", "ww", "pw", "pp"), *judged("b", "w")])
    assert scores["avg_tests_passed"] == pytest.approx((2.5 / 4 + 0) / 2)
    assert scores["strict_accuracy"] == pytest.approx((2 / 4 + 0) / 2)


def test_one_candidate_scores_the_same_in_a_list_or_bare():
    wrapped = {problem: [verdicts] for problem, verdicts in REFERENCE.items()}
    for score in SCORES:
        assert score(wrapped) == score(REFERENCE)


def test_the_order_of_tests_candidates_and_problems_does_not_matter():
    results = {"a": [[T, F, -1], [T, T, T]], "b": [[F, F], [T, F]]}
    turned = {problem: [verdicts[::-1] for verdicts in results[problem]][::-1] for problem in ("b", "a")}
    assert shares_passed(turned) == pytest.approx(shares_passed(results))
    assert candidates_passed(turned) == candidates_passed(results)


@pytest.mark.parametrize("code", [F, -1, -2])
def test_every_code_but_true_counts_as_not_passed(code):
    assert shares_passed({0: [T, code]}) == {0: 0.5}
    assert candidates_passed({0: [T, code]}) == {0: (1, 0)}


def test_a_candidate_that_does_not_compile_may_have_one_verdict_for_all_tests():
    assert shares_passed({0: [[-2], [T, T, F, F]]}) == {0: 0.25}


def test_a_problem_without_tests_changes_no_score():
    results = {**REFERENCE, "bare": [], "two candidates": [[], []]}
    for score in SCORES:
        assert score(results) == score(REFERENCE)
    assert shares_passed(results).keys() == candidates_passed(results).keys() == REFERENCE.keys()


@pytest.mark.parametrize("results", [{}, {0: []}, {0: [[]]}])
def test_where_no_problem_has_tests_nothing_is_passed(results):
    assert shares_passed(results) == candidates_passed(results) == {}


def test_the_counts_for_pass_at_k_are_candidates_and_those_that_pass_every_test():
    results = {"a": [[T, T], [T, F], [T, T]], "b": [[-2], [F]], "c": [T], "none": []}
    assert candidates_passed(results) == {"a": (3, 2), "b": (2, 0), "c": (1, 1)}


def test_strict_accuracy_is_pass_at_1():
    scores = score_tests([*judged("a", "pp", "pw", "pp"), *judged("b", "c", "w", "p")])
    assert scores["strict_accuracy"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert scores["pass_at_1"] == pytest.approx(scores["strict_accuracy"])


@pytest.mark.parametrize("kind", [tuple, np.array, lambda rows: [np.bool_(row) if row != -1 else row for row in rows]])
def test_verdicts_may_come_as_tuples_arrays_or_numpy_booleans(kind):
    assert shares_passed({0: kind([T, F, T, F]), 1: kind([T, T, -1, -1])}) == {0: 0.5, 1: 0.5}


@pytest.mark.parametrize("verdict", [2, -3, 0.5, "passed", None, float("nan")])
@pytest.mark.parametrize("score", SCORES)
def test_what_is_no_verdict_is_refused_with_its_problem(score, verdict):
    with pytest.raises(ValueError) as caught:
        score({"p/1": [T], "p/2": [T, verdict]})
    assert str(caught.value) == f"problem 'p/2': a verdict must be True, False, -1 or -2 but got {verdict!r}"


def test_verdicts_beside_lists_of_them_are_refused():
    with pytest.raises(ValueError, match="problem 7: must have verdicts or one list a candidate but mixes the two"):
        shares_passed({7: [T, [F]]})


def test_a_problem_that_has_no_list_is_refused():
    with pytest.raises(ValueError, match="problem 7: must have a list of verdicts but got True"):
        shares_passed({7: True})


def test_a_candidate_whose_tests_were_not_run_is_refused_rather_than_left_out():
    with pytest.raises(
        ValueError, match=r"problem 7: every candidate must have a verdict .* candidate 1 of 3 has none"
    ):
        candidates_passed({7: [[T], [], [F]]})


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


def score_tests(rows, levels=()):
    return METRIC.compute(Answers.from_rows([], rows, levels))


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


@pytest.mark.parametrize(("seconds", "share"), [((4, 4, 2), 1), ((4, 4, 3.5), 0)])
def test_under_paper_a_program_whose_tests_take_over_11_seconds_together_fails_them_all(seconds, share):
    rows = [row | {"seconds": second} for row, second in zip(judged("0", "ppp"), seconds, strict=True)]
    paper = METRIC.compute(replace(Answers.from_rows([], rows), as_paper=True))
    assert (paper["avg_tests_passed"], paper["pass_at_1"]) == (1, 1)
    assert (paper["avg_tests_passed_paper"], paper["pass_at_1_paper"]) == (share, share)
    assert score_tests(rows)["pass_at_1_paper"] == 1, "the rows of corrected trials stay as they are"


def test_the_papers_cap_counts_each_candidate_of_its_own():
    rows = [row | {"seconds": 6.0} for row in judged("0", "p", "p", "pp")]
    paper = METRIC.compute(replace(Answers.from_rows([], rows), as_paper=True))
    assert paper["pass_at_1_paper"] == pytest.approx(2 / 3)


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
    columns = {column.name for column in METRIC.all_columns(levels)}
    assert set(scores) <= columns
    assert {f"pass_at_5_{level}_high" for level in levels} <= set(scores)


def test_single_problems_are_compared_by_pass_at_1_their_first_candidate_and_the_share_of_tests():
    rows = [*judged("0", "pw", "pp"), *judged("1", "pp", "ww")]
    assert METRIC.per_example(Answers.from_rows([], rows)) == {
        "pass_at_1": {"0": 0.5, "1": 0.5},
        "first_passes": {"0": 0.0, "1": 1.0},
        "avg_tests_passed": {"0": 0.75, "1": 0.5},
    }


def test_the_share_of_tests_is_not_compared_where_some_were_not_run():
    assert "avg_tests_passed" not in METRIC.per_example(Answers.from_rows([], judged("0", "w-")))


def test_a_levels_heading_is_short_and_explained():
    (score,) = (each for each in METRIC.level_scores(["introductory"]) if each.width is not None)
    assert (score.name, score.title) == ("pass_at_1_introductory", "intro.")
    assert score.note == "intro.: pass@1 of introductory problems"


def test_levels_are_shortened_in_headings_only_where_they_stay_different():
    levels = ("level_1", "level_2", "introductory", "leve")
    titles = [each.title for each in METRIC.level_scores(levels) if each.width is not None]
    assert titles == ["level_1", "level_2", "intro.", "leve"]
