"""Scores that are added: a metric, a dataset with levels of its own, one that is judged in both ways."""

import ast
import json
from dataclasses import replace

import pytest
from rich.console import Console

from raypeft.analysis.report.terminal import headline, print_summary
from raypeft.analysis.score import score_again
from raypeft.cli.findings import main as findings
from raypeft.data import DATASETS
from raypeft.metrics import METRICS
from raypeft.metrics.metric import Answers, Metric, Score
from raypeft.results.store import ResultStore
from raypeft.study.trials import make_trial
from raypeft.trial.columns import tables
from raypeft.trial.context import TrialContext
from raypeft.trial.run import run_and_record

QUICK = {"model": "toy", "dataset": "toy", "limit": 6, "max_new_tokens": 8, "num_beams": 2, "num_return_sequences": 2}


def parses(text):
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def per_example(answers: Answers):
    return {"parses": {example: float(parses(texts[0])) for example, texts in answers.candidates.items()}}


def compute(answers: Answers):
    values = per_example(answers)["parses"].values()
    return {"parses": sum(values) / len(values)}


PARSES = Metric(
    name="parses",
    needs="reference",
    scores=(Score("parses", "parses", "share of first candidates that are Python", hits="parses", in_headline=True),),
    compute=compute,
    per_example=per_example,
)


def run(store, **fields):
    row = run_and_record(TrialContext(make_trial(QUICK | fields), "s", store))
    assert row["status"] == "ok", row["error"]
    return row


def printed(rows, capsys):
    print_summary(rows, Console(width=160))
    return capsys.readouterr().out


def test_a_metric_that_is_added_has_its_column_its_heading_and_its_comparison(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(METRICS, "parses", PARSES)
    store = ResultStore(str(tmp_path), tables())
    rows = [run(store, tuning_method="zero_shot"), run(store, tuning_method="icl", num_shots=2)]
    assert [row["parses"] for row in store.read_rows()] == pytest.approx(
        [row["parses"] for row in sorted(rows, key=lambda row: row["id"])]
    )
    assert all(0 <= row["parses"] <= 1 for row in rows)
    assert f"parses {100 * rows[0]['parses']:.1f} %" in headline(rows[0])
    assert " parses " in printed(rows, capsys)
    assert findings([str(tmp_path), "--markdown"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "| parses |" in line)
    assert " : " in line, "hits and misses are compared by McNemar's test"
    stored = store.read_rows("example_scores", rows[0]["id"])
    assert len([each for each in stored if each["score"] == "parses"]) == 6
    assert set(stored[0]) == {"id", "example_id", "score", "value"}, "no text of the dataset"


def test_results_from_before_a_metric_get_its_score_by_scoring_again(tmp_path, monkeypatch):
    row = run(ResultStore(str(tmp_path), tables()), tuning_method="zero_shot")
    monkeypatch.setitem(METRICS, "parses", PARSES)
    store = ResultStore(str(tmp_path), tables())
    store.upgrade()
    assert store.read_rows()[0]["parses"] is None
    assert score_again(store) == 1
    (after,) = store.read_rows()
    assert after["parses"] is not None
    assert after["codebleu_low"] == row["codebleu_low"]


@pytest.fixture
def graded(monkeypatch):
    """A dataset like toy_apps whose levels are its own, registered for the test."""

    def load(source, revision):
        splits = DATASETS["toy_apps"].load(source, revision)
        return {
            split: [replace(each, level="easy" if place % 2 else "hard") for place, each in enumerate(examples)]
            for split, examples in splits.items()
        }

    dataset = replace(DATASETS["toy_apps"], name="graded", load=load, levels=("easy", "hard"))
    monkeypatch.setitem(DATASETS, "graded", dataset)
    return dataset


def test_a_dataset_with_levels_of_its_own_has_scores_and_headings_for_each(tmp_path, graded, capsys):
    store = ResultStore(str(tmp_path), tables())
    row = run(store, dataset="graded", tuning_method="zero_shot", num_beams=1)
    (stored,) = store.read_rows()
    assert stored["pass_at_1_easy"] == row["pass_at_1_easy"] is not None
    assert stored["avg_tests_passed_hard_high"] is not None
    assert "pass_at_1_interview" not in row, "APPS's levels are those of APPS"
    assert "easy: pass@1 of easy problems, hard: pass@1 of hard problems" in printed([row], capsys)


def test_a_dataset_judged_by_reference_and_tests_gets_both_kinds_of_scores(tmp_path, monkeypatch, capsys):
    both = replace(DATASETS["toy_apps"], name="both", judged_by=("reference", "tests"))
    monkeypatch.setitem(DATASETS, "both", both)
    store = ResultStore(str(tmp_path), tables())
    row = run(store, dataset="both", tuning_method="zero_shot", num_beams=1)
    assert row["em_at_1"] is not None and row["pass_at_1"] is not None and row["codebleu"] is not None
    assert json.loads(row["sandbox_isolation"])
    table = printed([row], capsys)
    assert "EM@1" in table and "pass@1 [95 %]" in table


def test_a_metric_that_fills_an_undeclared_column_fails_the_trial_and_loses_no_row(tmp_path, monkeypatch):
    monkeypatch.setitem(METRICS, "parses", replace(PARSES, scores=()))
    store = ResultStore(str(tmp_path), tables())
    row = run_and_record(TrialContext(make_trial(QUICK | {"tuning_method": "zero_shot"}), "s", store))
    assert row["status"] == "failed"
    assert "metric parses must declare the columns that it fills" in store.read_rows()[0]["error"]
    assert len(store.read_rows("candidates")) == 12, "candidates are kept"


@pytest.mark.parametrize(
    ("fields", "counted"),
    [
        ({}, False),
        ({"prompt_form": "plain"}, False),
        ({"prompt_form": "fenced"}, True),
        ({"prompt_template": "# {nl}\n"}, False),
        ({"prompt_template": {"query": "# {nl}\n```python\n", "answer": "{code}\n```"}}, True),
        ({"fidelity": "paper"}, True),
        ({"tuning_method": "lora", "num_train_epochs": 1}, True),
    ],
)
def test_an_untuned_trial_is_counted_as_in_the_paper_where_it_was_asked_in_fences(tmp_path, fields, counted):
    row = run(ResultStore(str(tmp_path), tables()), **{"tuning_method": "zero_shot", **fields})
    assert (row.get("em_at_1_paper") is not None) == counted


def test_scoring_again_takes_a_score_away_that_is_no_longer_computed(tmp_path):
    store = ResultStore(str(tmp_path), tables())
    row = run(store, tuning_method="zero_shot")
    store.write_rows("trials", row["id"], [row | {"em_at_1_paper": 0.5}])
    score_again(store)
    (after,) = store.read_rows()
    assert (after["em_at_1_paper"], after["em_at_1"]) == (None, row["em_at_1"])
