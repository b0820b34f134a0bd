"""CodeBLEU's properties. The test on known scores needs RAYPEFT_REFERENCE, a folder with codebleu_cases.json."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raypeft.metrics.codebleu.score import codebleu, example_counts, score_counts
from raypeft.metrics.readings import Reading

KEYS = ["codebleu", "ngram_match", "weighted_ngram_match", "syntax_match", "dataflow_match"]
BOTH = pytest.mark.parametrize("reading", [Reading.CORRECTED, Reading.PAPER_RQ2])
EVERY = pytest.mark.parametrize("reading", list(Reading))
PROGRAM = """
def total(prices, rate=0.2):
    result = 0
    for name, price in prices.items():
        if price < 0:
            continue
        elif name in rate:
            result += price * rate[name]
        else:
            result = result + price
    return result
"""
LONG = 100_000  # characters of an oversized prediction


def one(reference, prediction, reading=Reading.CORRECTED):
    return codebleu([reference], [prediction], reading)


SYNTAX = 1e-6 if sys.version_info < (3, 12) else 0.003
"""The package cuts comments by Python's tokenizer, which takes other texts from 3.12 on; the scores are of 3.11."""


def known_cases():
    folder = os.environ.get("RAYPEFT_REFERENCE")
    if not folder:
        return [pytest.param(None, marks=pytest.mark.skip(reason="RAYPEFT_REFERENCE is not set"))]
    cases = json.loads((Path(folder) / "codebleu_cases.json").read_text("utf-8"))
    return [pytest.param(case, id=name) for name, case in cases.items()]


@pytest.mark.parametrize("case", known_cases())
def test_the_paper_reading_gives_the_known_scores(case):
    scores = codebleu(case["references"], case["predictions"], reading=Reading.PAPER_RQ2)
    for key, name in zip(KEYS, ["codebleu", "ngram", "wngram", "syntax", "dataflow"], strict=True):
        assert scores[key] == pytest.approx(case["insertion_ordered"][name], abs=1e-6)


@pytest.mark.parametrize("case", known_cases())
def test_the_package_reading_gives_the_known_scores_but_for_hash_order(case):
    scores = codebleu(case["references"], case["predictions"], reading=Reading.PAPER_RQ1)
    for key, name in zip(KEYS, ["codebleu", "ngram", "wngram", "syntax", "dataflow"], strict=True):
        bound = {"codebleu": 0.002, "dataflow": 0.007, "syntax": SYNTAX}.get(name, 1e-6)
        assert scores[key] == pytest.approx(case["pypi"][name], abs=bound)


@EVERY
def test_a_program_equal_to_its_reference_scores_one(reading):
    assert one(PROGRAM, PROGRAM, reading) == pytest.approx(dict.fromkeys(KEYS, 1.0))


@EVERY
def test_renaming_a_variable_everywhere_leaves_syntax_and_data_flow(reading):
    scores = one(PROGRAM, PROGRAM.replace("result", "amount"), reading)
    assert (scores["syntax_match"], scores["dataflow_match"]) == (1.0, 1.0)
    assert scores["ngram_match"] < 1


def test_scores_do_not_change_with_the_hash_seed():
    code = (
        "import json, sys; from raypeft.metrics.codebleu.score import codebleu\n"
        "texts = json.load(sys.stdin)\n"
        "print([codebleu(texts, texts[1:] + texts[:1], f) for f in ('corrected', 'paper_rq2')])"
    )
    texts = [
        "for i in range(3):\n    a, b = b + c, a + d",
        PROGRAM,
        "while x:\n    x = f(x, y, z)\n    y, z = z, y",
    ]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(texts),
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(outputs) == 1


def test_floor_division_is_a_comment_to_the_paper_only():
    assert one("y = a // b", "y = a // (b + c)", Reading.PAPER_RQ2)["syntax_match"] == 1.0
    assert one("y = a // b", "y = a // (b + c)")["syntax_match"] < 1.0


def test_comments_do_not_reach_syntax_or_data_flow():
    commented = PROGRAM.replace("result = 0", "result = 0  # nothing yet").replace("else:", "else:  # a price")
    scores = one(PROGRAM, "# adds up prices\n" + commented)
    assert (scores["syntax_match"], scores["dataflow_match"]) == (1.0, 1.0)
    assert one(PROGRAM, commented, Reading.PAPER_RQ2)["syntax_match"] < 1.0


def test_a_comment_between_the_parts_of_a_statement_changes_no_data_flow():
    plain = "(a, b) = (c, d)\nfor x in y:\n    z = x"
    commented = "(a, b) = (c, # first\n d)\nfor x in y:\n    z = x # last"
    assert one(plain, commented)["dataflow_match"] == 1.0


def test_a_leading_string_is_code():
    assert one("', '.join(names)", "names.join(names)")["syntax_match"] < 1.0


def test_a_hash_sign_in_a_string_is_no_comment():
    assert one("x = '#' + y", "x = '#'")["syntax_match"] < 1.0


def test_the_weight_of_a_missing_data_flow_is_spread_over_the_other_parts():
    scores = one("import os", "import sys")
    assert scores["dataflow_match"] == 0
    assert scores["codebleu"] == pytest.approx(sum(scores[key] for key in KEYS[1:4]) / 3)


def test_the_paper_counts_a_missing_data_flow_as_zero():
    assert one("import os", "import os", Reading.PAPER_RQ2)["codebleu"] == pytest.approx(
        0.25 * 3 - 0.25 * (2 - 2 * 0.1**0.5)
    )


@BOTH
def test_data_flow_that_the_prediction_lacks_counts_zero(reading):
    scores = one("b = a\nc = b", "import os", reading)
    assert scores["dataflow_match"] == 0
    assert scores["codebleu"] == pytest.approx(sum(scores[key] for key in KEYS[1:]) / 4)


def test_soft_keywords_weigh_as_keywords_in_the_corrected_reading_only():
    reference, prediction = "match x : one two three", "match x : 1 2 3"
    corrected = one(reference, prediction)["weighted_ngram_match"]
    assert corrected > one(reference, prediction, Reading.PAPER_RQ2)["weighted_ngram_match"]


@BOTH
@pytest.mark.parametrize(
    ("references", "predictions"), [([], []), ([PROGRAM], [""]), ([PROGRAM, PROGRAM], [" ", "\n"])]
)
def test_a_corpus_without_predicted_text_scores_zero(references, predictions, reading):
    assert codebleu(references, predictions, reading) == dict.fromkeys(KEYS, 0.0)


def test_a_corpus_of_blank_texts_scores_zero():
    assert codebleu(["", " "], ["", "\n"]) == dict.fromkeys(KEYS, 0.0)


def test_names_after_a_non_ascii_character_are_read_whole():
    assert one("s = 'é' + a; b = a", "s = 'é' + a; b = a2")["dataflow_match"] < 1.0
    assert one("s = 'éé' + n1 + n2", "s = 'ee' + n1 + n2")["dataflow_match"] == 1.0


ODD = {
    "binary": bytes(range(256)).decode("latin-1") * 40,
    "NULs": "x = 1\0\0y = 2\0" * 100,
    "lone surrogates": "x = '\ud800' + y\n\udfff\n" * 100,
    "syntax error": "def f(:\n  return ) x = = 1 'unclosed",
    "quotes": '"' * 1001,
    "brackets that never close": "([{" * 10_000,
    "10,000 nested brackets": "x = " + "[" * 10_000 + "y" + "]" * 10_000,
    "10,000 calls": "f(" * 10_000 + "x" + ")" * 10_000,
    "30 nested loops": "".join(" " * i + f"for a{i} in b{i}:\n" for i in range(30)) + " " * 30 + "c = a1",
    "200 nested ifs": "".join(" " * i + f"if a{i}:\n" for i in range(200)) + " " * 200 + "c = a1",
    "long sum": "x = " + "a + " * (LONG // 4) + "b",
    "long chain of assignments": "a = " * (LONG // 4) + "b",
    "long chain of elifs": "if a: b = 1\n" + "".join(f"elif a{i}: b{i} = a{i}\n" for i in range(4000)),
    "one long line": "x, y = f(y, 2) " * (LONG // 15),
    "many lines": "x = f(y, 2)\n" * (LONG // 12),
    "comments that never close": "/* " * (LONG // 3),
    "escaped quotes": "'" + "\\'" * (LONG // 2),
}


HARDEST = ("10,000 nested brackets", "long chain of assignments", "lone surrogates")
"""Of each kind of trouble (depth, length, text) the worst: these are fast tests for every reading."""


@pytest.mark.parametrize(("text", "reading"), [
    pytest.param(text, reading, id=f"{name}-{reading.value}",
                 marks=() if reading is Reading.CORRECTED or name in HARDEST else pytest.mark.slow)
    for name, text in ODD.items() for reading in Reading
])  # fmt: skip
def test_any_prediction_scores_and_quickly(text, reading):
    start = time.process_time()
    scores = one(PROGRAM, text, reading)
    seconds = time.process_time() - start
    assert list(scores) == KEYS
    assert all(0 <= score <= 1 for score in scores.values())
    assert seconds < 4, f"took {seconds:.1f} s"  # under two on an idle machine


def test_deep_nesting_keeps_its_data_flow():
    deep = "x = " + "(" * 5000 + "y" + ")" * 5000
    assert one("x = (y)", deep)["dataflow_match"] == 1.0


@EVERY
def test_the_score_does_not_depend_on_how_deep_the_caller_is(reading):
    nested = "x = " + "a + " * 500 + "b"

    def at_depth(levels):
        return at_depth(levels - 1) if levels else one(nested, nested, reading)

    assert at_depth(sys.getrecursionlimit() - 250) == one(nested, nested, reading)


@EVERY
def test_nothing_is_printed_or_logged(capfd, caplog, reading):
    codebleu(["import os", ""], ["import sys", "("], reading)
    assert (capfd.readouterr(), caplog.records) == (("", ""), [])


@EVERY
def test_the_counts_of_examples_add_up_to_the_score_of_any_subset(reading):
    references = [PROGRAM, "a = b // c", "import os", "x, y = y, x"]
    predictions = ["a = b", "a = b // d", "import os", "x = y"]
    rows = example_counts(references, predictions, reading)
    for chosen in ([0], [1, 3], [2], [0, 1, 2, 3], [3, 3, 0]):
        totals = [sum(column) for column in zip(*(rows[i] for i in chosen), strict=True)]
        expected = codebleu([references[i] for i in chosen], [predictions[i] for i in chosen], reading)
        assert score_counts(totals, reading) == expected


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="got 0 for 1"):
        codebleu(["a"], [])
    with pytest.raises(ValueError, match=r"reading must be .* but got 'exact'"):
        codebleu(["a"], ["a"], "exact")
