"""Exact match in both readings. The tests on real text need RAYPEFT_REAL_DATA, a folder with conala/test.jsonl."""

import json
import os
from pathlib import Path

import pytest

from raypeft.metrics.exact_match import STOP, clean_up, compute, exact_matches
from raypeft.metrics.metric import Answers
from raypeft.metrics.readings import Reading

ALPACA_STOP = STOP[:2]


def paper_match(candidate, reference, stop=STOP):
    return exact_matches([[candidate]], [reference], 1, Reading.PAPER_RQ2, stop) == [True]


@pytest.fixture
def conala_references():
    folder = os.environ.get("RAYPEFT_REAL_DATA")
    if not folder:
        pytest.skip("RAYPEFT_REAL_DATA is not set")
    lines = (Path(folder) / "conala" / "test.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["cmd"] for line in lines]


@pytest.mark.parametrize("k", [1, 2, 5, 10])
def test_conala_fed_its_own_references_scores_one(conala_references, k):
    assert all(exact_matches([[text] for text in conala_references], conala_references, k))


@pytest.mark.parametrize("k", [1, 2, 5, 10])
def test_the_paper_loses_49_of_conalas_own_references(conala_references, k):
    hits = exact_matches([[text] for text in conala_references], conala_references, k, Reading.PAPER_RQ2)
    assert (sum(hits), len(hits)) == (494, 543)


def test_rq1s_clean_up_loses_16_of_conalas_own_references(conala_references):
    cleaned = [[clean_up(text)] for text in conala_references]
    hits = exact_matches(cleaned, conala_references, 1, Reading.PAPER_RQ1)
    assert (sum(hits), len(hits)) == (527, 543)


def test_a_reference_beyond_the_first_k_is_no_match():
    candidates = [["x = 1", "x = 2", "x = 3"]]
    assert [exact_matches(candidates, ["x = 3"], k) for k in (1, 2, 3, 10)] == [[False], [False], [True], [True]]


def test_the_score_is_the_share_of_examples_that_match():
    candidates, references = [["a"], ["b"], ["x"], ["y"]], ["a", "b", "c", "d"]
    assert exact_matches(candidates, references, 1) == [True, True, False, False]
    assert compute(Answers(dict(enumerate(candidates)), dict(enumerate(references))))["em_at_1"] == 0.5


def test_an_example_without_candidates_is_no_match():
    assert exact_matches([["a"], []], ["a", "b"], 1) == [True, False]


def test_no_examples_have_no_score():
    assert exact_matches([], [], 1) == []
    assert compute(Answers({}, {})) == {}


def test_outer_white_space_is_set_aside_and_inner_is_not():
    assert exact_matches([["\n x = 1\n"], ["x  = 1"]], ["x = 1 ", "x = 1"], 1) == [True, False]


def test_the_corrected_reading_cuts_nothing():
    assert exact_matches([["a < b\nc"], ["x = 1</s>"]], ["a < b\nc", "x = 1"], 1) == [True, False]


@pytest.mark.parametrize("program", ["a < b", "a > b", "f('endoftext')", "if a:\n    b"])
def test_the_paper_cuts_at_its_unescaped_stop_strings(program):
    assert not paper_match(program, program)


def test_the_paper_ends_a_candidate_at_its_stop_string():
    assert paper_match("x = 1</s> y", "x = 1")
    assert paper_match("x = 1\ny = 2", "x = 1")


def test_the_paper_puts_several_lines_on_one_where_a_newline_does_not_stop():
    assert paper_match("a\n\tb", "a  b", ALPACA_STOP)
    assert paper_match("a b", "a\nb", ALPACA_STOP)


def test_the_paper_strips_a_candidate_but_not_its_reference():
    assert paper_match("  x = 1\n", "x = 1", ALPACA_STOP)
    assert not paper_match("x = 1 ", "x = 1 ", ALPACA_STOP)


def test_the_paper_keeps_blanks_before_a_cut():
    assert not paper_match("x = 1 </s>", "x = 1")


@pytest.mark.parametrize(
    ("spaced", "cleaned"),
    [(f" {sign}", sign) for sign in [".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"]] + [(" ' ", "'")],
)
def test_the_paper_cleans_up_spaces_on_both_sides(spaced, cleaned):
    assert paper_match(f"a{spaced}b", f"a{cleaned}b")
    assert paper_match(f"a{cleaned}b", f"a{spaced}b")
    assert exact_matches([[f"a{spaced}b"]], [f"a{cleaned}b"], 1) == [False]


def test_without_stop_strings_the_paper_cuts_nothing():
    assert paper_match("a < b", "a < b", stop=())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([["a"]], ["a"], 0), "k must be at least 1 but got 0"),
        (([["a"]], [], 1), "got 1 lists for 0 references"),
        (([["a"]], ["a"], 1, "exact"), "reading must be .* but got 'exact'"),
        (([["a"]], ["a"], 1, Reading.PAPER_RQ2, ["("]), "stop must be a regular expression"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        exact_matches(*arguments)
