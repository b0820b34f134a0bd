"""Answers that a reader browses: verdicts, and bounds of what a page holds."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

from report_folders import add_answers, add_row, add_tests, hits_of_share, made_row, made_study, store_at

from raypeft.analysis.report.examples import MOST_CHARACTERS, MOST_TESTS, choose, examples_of, hits_of, packed
from raypeft.analysis.report.panels import panels
from raypeft.analysis.report.study import open_study


def unpacked(blob: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(blob)))


def test_an_answer_is_right_if_it_matches(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    add_answers(store, add_row(store, made_row(hits_of_share(0.5))), [True, False])
    study = open_study([str(tmp_path)])
    right, wrong = examples_of(study, study.rows[0])
    assert [each.is_right for each in right.answers] == [False, True] and right.is_right
    assert not wrong.is_right and (wrong.instruction, wrong.reference) == ("instruction 1", "x = 1")
    assert hits_of(study, study.rows[0]) == {"e0": True, "e1": False}


def test_an_answer_with_tests_is_right_if_it_passes_all_of_them(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    trial = add_row(store, made_row(more={"pass_at_1": 0.5}, dataset="toy_apps"))
    add_answers(store, trial, [True])
    store.write_rows("tests", trial, [
        {"id": trial, "example_id": "e0", "rank": rank, "test": test, "passed": passed, "outcome": outcome,
         "error": error}
        for rank, test, passed, outcome, error in (
            (0, 0, True, "passed", None), (0, 1, True, "passed", None),
            (1, 0, True, "passed", None), (1, 1, False, "wrong_answer", "3 is not 4"))
    ])  # fmt: skip
    study = open_study([str(tmp_path)])
    (example,) = examples_of(study, study.rows[0])
    assert [each.is_right for each in example.answers] == [True, False]
    assert example.answers[1].note == "tests: 1 passed, 1 wrong_answer (3 is not 4)"


def test_a_page_holds_instructions_and_references_once(tmp_path: Path) -> None:
    made_study(tmp_path)
    study = open_study([str(tmp_path)])
    found = choose(study, panels(study))
    assert len(found.trials) == 10 and list(found.tasks) == ["toy-0"] and found.left_out == ""
    assert unpacked(found.tasks["toy-0"])[3] == ["e3", "instruction 3", "x = 1"]
    first = unpacked(found.trials[study.rows[0]["id"]])
    assert first["task"] == "toy-0" and first["answers"][0] == [["y = 2", 0, -1.5, ""], ["x = 1", 1, -1.5, ""]]


def test_a_page_holds_the_shots_of_a_prompt_and_a_line_for_each_test(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    trial = add_row(store, made_row(hits_of_share(0.5), tuning_method="icl", num_shots=2))
    add_answers(store, trial, [True], shots=("t7", "t3"))
    add_tests(store, trial, "e0", "passed", "wrong_answer", *["passed"] * MOST_TESTS)
    study = open_study([str(tmp_path)])
    found = unpacked(choose(study, panels(study)).trials[trial])
    lines = found["answers"][0][0][4].splitlines()
    assert found["shots"] == [["t7", "t3"]]
    assert lines[:2] == ["test 1: passed", "test 2: wrong_answer: 1 is not right"]
    assert lines[-1] == "… and 2 more tests" and len(lines) == MOST_TESTS + 1


def test_where_there_is_no_room_the_best_of_each_method_stay_and_the_page_says_so(tmp_path: Path) -> None:
    made_study(tmp_path)
    study = open_study([str(tmp_path)])
    found = choose(study, panels(study), most_bytes=1_000)
    methods = [next(row["tuning_method"] for row in study.rows if row["id"] == trial) for trial in found.trials]
    assert 1 <= len(found.trials) < 10 and methods[:2] == ["lora", "full"]
    assert (
        found.left_out
        == f"Examples of {10 - len(found.trials)} further trials are left out, so that this page stays small."
    )


def test_a_long_answer_is_cut_and_says_how_long_it_was(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    trial = add_row(store, made_row(hits_of_share(0.5)))
    add_answers(store, trial, [False], wrong="x" * 100_000)
    study = open_study([str(tmp_path)])
    text = unpacked(choose(study, panels(study)).trials[trial])["answers"][0][0][0]
    assert text[:MOST_CHARACTERS] == "x" * MOST_CHARACTERS and text.endswith("… cut here: 100,000 characters in all")


def test_packed_data_hold_no_sign_of_markup() -> None:
    text = {"a": "</script><b>&\u0000\u2028"}
    assert not set("<>&") & set(packed(text)) and unpacked(packed(text)) == text


def test_a_folder_without_candidates_has_no_examples(tmp_path: Path) -> None:
    add_row(store_at(tmp_path), made_row(hits_of_share(0.5)))
    study = open_study([str(tmp_path)])
    assert choose(study, panels(study)).trials == {} and hits_of(study, study.rows[0]) == {}
