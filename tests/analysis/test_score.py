"""Scores of stored candidates, made again without a model; tests that were never run are run now."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from raypeft.analysis.score import _test_split, score_again
from raypeft.cli.score import main
from raypeft.data import DATASETS
from raypeft.metrics.metric import Answers
from raypeft.metrics.scoring import row_scores
from raypeft.records import Candidate
from raypeft.results.store import ResultStore
from raypeft.sandbox import Limits, SandboxSettings
from raypeft.study.options import RunOptions
from raypeft.study.trials import make_trial
from raypeft.trial.columns import tables
from raypeft.trial.context import TrialContext
from raypeft.trial.declarations import write_manifest
from raypeft.trial.run import run_and_record

QUICK = SandboxSettings(Limits(seconds_per_test=0.3))
ADD = "print(sum(map(int, input().split())))"
TESTS = json.dumps({"inputs": ["1 2", "3 4"], "outputs": ["3", "7"]})


def problem(number, level="introductory", tests=TESTS):
    return {
        "problem_id": number, "question": f"add two numbers, {number}", "solutions": json.dumps([ADD]), "url": "",
        "input_output": tests, "difficulty": level, "starter_code": "",
    }  # fmt: skip


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "apps"
    folder.mkdir()
    rows = [problem(1), problem(2, "interview"), problem(3, tests="{")]
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return folder


@pytest.fixture
def generated(tmp_path, data):
    """A sweep whose one trial was generated and not scored; its candidates are then replaced by known programs."""
    store = ResultStore(str(tmp_path / "results"), tables())
    fields = {"dataset": "apps", "dataset_path": str(data), "max_new_tokens": 4, "num_return_sequences": 2}
    trial = make_trial({"model": "toy", "tuning_method": "zero_shot", **fields})
    row = run_and_record(TrialContext(trial, "s", store, options=RunOptions(generate_only=True)))
    assert row["status"] == "generated", row["error"]
    programs = {("1", 0): ADD, ("1", 1): "print(7)", ("2", 0): "print(3)", ("2", 1): "while 1: pass"}
    stored = store.read_rows("candidates", trial.id)
    store.write_rows(
        "candidates", trial.id, [each | {"text": programs[each["example_id"], each["rank"]]} for each in stored]
    )
    return store


def test_what_was_only_generated_gets_its_tests_and_scores(generated):
    assert score_again(generated, QUICK) == 1
    (row,) = generated.read_rows()
    assert (row["status"], row["error"], row["problems_without_tests"]) == ("ok", None, 1)
    assert row["avg_tests_passed"] == pytest.approx((1 + 0.5 + 0.5 + 0) / 4)
    assert (row["pass_at_1"], row["pass_at_2"], row["pass_at_5"]) == (0.25, 0.5, None)
    assert (row["pass_at_1_introductory"], row["pass_at_1_interview"]) == (0.5, 0)
    assert row["pass_at_1_competition"] is None
    assert (row["passed_tests"], row["wrong_answer_tests"], row["time_limit_tests"]) == (4, 2, 2)
    assert row["em_at_1"] is None
    assert len(generated.read_rows("tests")) == 8


def test_tests_that_were_run_are_not_run_again_unless_asked_for(generated):
    score_again(generated, QUICK)
    (row,) = generated.read_rows()
    tests = generated.read_rows("tests")
    generated.write_rows("tests", row["id"], [each | {"passed": True, "outcome": "passed"} for each in tests])
    score_again(generated, QUICK)
    assert generated.read_rows()[0]["pass_at_1"] == 1, "from the rows as they are"
    score_again(generated, QUICK, rerun_tests=True)
    assert generated.read_rows()[0]["pass_at_1"] == 0.25


@pytest.fixture
def options_with(tmp_path, monkeypatch):
    """What `raypeft score` runs the tests of a folder with whose sweep has a given section `sandbox`."""
    given = []
    monkeypatch.setattr("raypeft.cli.score.score_again", lambda store, settings, *rest: given.append(settings) or 0)
    store = ResultStore(str(tmp_path / "results"), tables())
    store.write_rows("candidates", "a", [{"id": "a", "example_id": "0", "rank": 0, "text": "x", "reference": "x"}])

    def options(section, *arguments):
        manifest = write_manifest(store)
        store.write_manifest(replace(manifest, sweep={"name": "s", "text": yaml.safe_dump({"sandbox": section})}))
        return given.pop() if main([store.url, *arguments]) == 0 else None

    return options


def test_tests_are_run_with_the_limits_of_the_sweep(options_with, capsys):
    section = {"seconds_per_test": 10, "memory_mb": 2048, "stop": "first_fail", "tier": "B", "workers": 3}
    assert options_with(section) == SandboxSettings(Limits(10, 2048), "B", "first_fail")
    assert "seconds_per_test 10" in capsys.readouterr().out


def test_an_option_goes_before_what_the_sweep_says(options_with):
    section = {"seconds_per_test": 10, "tier": "B", "stop": "first_fail"}
    assert options_with(section, "--seconds-per-test", "4", "--stop", "none") == SandboxSettings(Limits(4), "B")


def test_a_folder_cannot_ask_for_programs_without_isolation(options_with):
    assert not options_with({"allow_unsafe_execution": True}).allow_unsafe_execution


def test_a_section_that_cannot_be_read_is_told(options_with, capsys):
    assert options_with({"seconds_per_test": "long"}) is None
    assert "section sandbox" in capsys.readouterr().err


def aside(store):
    return sorted(str(path.relative_to(store.root)).split("/", 2)[2]
                  for path in (Path(store.root) / "superseded").rglob("*.parquet"))  # fmt: skip


def test_what_is_scored_anew_leaves_a_copy_of_what_was_there_and_of_nothing_else(generated):
    (before,) = generated.read_rows()
    score_again(generated, QUICK)
    (row,) = generated.read_rows()
    assert aside(generated) == [f"trials/{row['id']}.parquet"]
    (copy,) = (Path(generated.root) / "superseded").rglob("trials/*.parquet")
    assert pq.read_table(copy).to_pylist()[0]["status"] == before["status"] == "generated"
    score_again(generated, QUICK)
    assert aside(generated) == [f"trials/{row['id']}.parquet"], "the second call changed nothing"
    assert not (Path(generated.root) / ".scoring").exists()


def edit_a_test(data):
    """Give the first problem another expected output, under the same id."""
    text = (data / "test.jsonl").read_text(encoding="utf-8")
    (data / "test.jsonl").write_text(text.replace('\\"7\\"', '\\"8\\"', 1), encoding="utf-8")
    _test_split.cache_clear()  # another process has no memory of the data either


def test_candidates_are_not_judged_by_tests_that_were_edited_since(generated, data, capsys):
    (before,) = generated.read_rows()
    edit_a_test(data)
    assert main([generated.url]) == 2
    told = capsys.readouterr().err
    assert before["test_resolved_revision"] in told and "--other-tests" in told
    assert generated.read_rows() == [before]


def test_edited_tests_that_are_asked_for_are_run_and_the_row_says_of_which_data_they_are(generated, data):
    edit_a_test(data)
    score_again(generated, QUICK, other_tests=True)
    (row,) = generated.read_rows()
    assert row["pass_at_1"] == 0, "the first program passed the test as it was"
    assert row["test_resolved_revision"] == _test_split("apps", None, str(data), None)[1]


def test_a_dataset_that_has_changed_since_is_an_error_that_names_the_example(generated, data, capsys):
    lines = (data / "test.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (data / "test.jsonl").write_text(lines[1], encoding="utf-8")
    assert main([generated.url, "--other-tests"]) == 2
    assert "must have example 1 and its tests" in capsys.readouterr().err


def test_without_isolation_the_command_refuses_and_names_the_flag(generated, capsys):
    assert main([generated.url, "--tier", "U"]) == 2
    assert "allow_unsafe_execution" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value", "told"),
    [
        ("--seconds-per-test", "0", "--seconds-per-test: "),
        ("--tier", "D", "--tier: "),
        ("--memory-mb", "1", "--memory-mb: "),
    ],
)
def test_a_limit_out_of_bounds_is_refused_by_its_flag(generated, capsys, flag, value, told):
    assert main([generated.url, flag, value]) == 2
    assert told in capsys.readouterr().err


def test_stored_candidates_are_scored_again_and_nothing_else_of_the_row_changes(tmp_path, capsys):
    store = ResultStore(str(tmp_path), tables())
    trial = make_trial({"model": "toy", "dataset": "toy", "tuning_method": "icl"})
    row = {"id": trial.id, "sweep": "s", **trial.fields, "status": "ok", "em_at_1": 0.9, "train_seconds": 5.0}
    store.write_rows("trials", trial.id, [row])
    candidates = [[Candidate(str(number), 0, text, 3, "eos")] for number, text in enumerate(["x = 1", "y = f(x)"])]
    references = ["x = 2", "y = f(x)"]
    rows = [
        {"id": trial.id, **asdict(found[0]), "reference": reference, "matches": False, "prompt_tokens": 9}
        for found, reference in zip(candidates, references, strict=True)
    ]
    store.write_rows("candidates", trial.id, rows)
    before = store.read_rows()[0]
    assert main([str(tmp_path)]) == 0
    after = store.read_rows()[0]
    answers = replace(Answers.from_rows(rows, paper_stop=DATASETS["toy"].paper_stop, trains=False), fenced=False)
    expected = row_scores(answers, ("reference",))
    assert {name: after[name] for name in expected} == pytest.approx(expected)
    assert {name for name in after if after[name] != before[name]} <= set(expected)
    assert "1 trial scored again" in capsys.readouterr().out


def test_a_folder_without_candidates_is_refused(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "holds no candidates/" in capsys.readouterr().err


def test_a_row_of_a_method_that_is_not_known_here_is_left_as_it_is_and_said_so(tmp_path, capsys):
    store = ResultStore(str(tmp_path), tables())
    store.write_rows("trials", "a", [{"id": "a", "model": "toy", "dataset": "toy", "tuning_method": "adalora",
                                      "status": "ok", "em_at_1": 0.5}])  # fmt: skip
    store.write_rows("candidates", "a", [{"id": "a", "example_id": "0", "rank": 0, "text": "x", "reference": "x"}])
    assert main([str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "a: not scored again" in told and "adalora" in told and "0 trials scored again" in told
    assert store.read_rows()[0]["em_at_1"] == 0.5
