"""The command that runs a sweep, where it plans, refuses, and finds no Ray. What it runs is in test_sweep.py."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from raypeft.results.leases import take
from raypeft.results.store import ResultStore
from raypeft.study.checking import load_config
from raypeft.study.sweepfile import find_sweep_file
from raypeft.sweep import describe_plan, main
from raypeft.trial.columns import tables


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: a\ngrids: [{model: tpy, dataset: toy, tuning_method: zero_shot}]", "did you mean toy?"),
        ("name: a\ngrids: []", "grids"),
        ("- 1", "must be a mapping"),
    ],
)
def test_a_wrong_sweep_file_ends_with_2_before_anything_starts(tmp_path, capsys, text, told):
    (tmp_path / "wrong.yaml").write_text(text)
    assert main([str(tmp_path / "wrong.yaml"), "--results", str(tmp_path / "results")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_data_elsewhere_that_cannot_be_read_ends_with_2_before_anything_starts(tmp_path, capsys):
    file = tmp_path / "s.yaml"
    file.write_text(
        "name: s\ndatasets:\n"
        f"  gone: {{path: '{(tmp_path / 'gone.jsonl').as_uri()}', prompt: q, answer: a}}\n"
        "  private: {path: 'hf://nobody/private', prompt: q, answer: a}\n"
        f"results: {tmp_path / 'results'}\n"
        "grids: [{model: toy, dataset: [gone, private], tuning_method: zero_shot}]\n"
    )
    assert main([str(file), "--dry-run"]) == 0
    assert main([str(file)]) == 2
    told = capsys.readouterr().err
    assert "2 errors" in told and "line 3, datasets.gone: " in told and "gone.jsonl must be a file" in told
    assert "line 4, datasets.private: hf://nobody/private cannot be loaded from the hub" in told
    assert not (tmp_path / "results").exists() and "starting Ray" not in told


def test_a_missing_sweep_file_ends_with_2_and_names_the_shipped_ones(capsys):
    assert main(["no_such_sweep"]) == 2
    assert "quickstart.yaml" in capsys.readouterr().err


def test_a_dry_run_as_json_lists_the_trials_by_the_rows_columns(capsys):
    assert main(["quickstart", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan == describe_plan(load_config(find_sweep_file("quickstart")))
    columns = {"id", "fits", *(column.name for column in tables()["trials"])}
    assert plan["sweep"] == "quickstart"
    assert all(set(trial) <= columns for trial in plan["trials"])


def test_the_papers_grids_are_planned_offline_with_exact_counts_and_all_fit():
    plan = describe_plan(load_config(find_sweep_file("rq2")))["trials"]
    assert len(plan) == 39 * 2
    assert len({(row["model"], row["tuning_method"]) for row in plan}) == 39
    counts = {(row["model"], row["tuning_method"]): row["trainable_params"] for row in plan}
    assert counts["codet5p-770m", "full"] == 737_639_424
    assert counts["CodeLlama-7b-hf", "ia3"] == 1_007_616
    assert all(row["fits"] for row in plan)


def test_the_papers_code_is_planned_with_its_own_values():
    plan = describe_plan(load_config(find_sweep_file("rq2"), ["defaults.fidelity=paper"]))["trials"]
    prefix, ia3 = (next(row for row in plan if row["tuning_method"] == name) for name in ("prefix_tuning", "ia3"))
    assert (prefix["num_virtual_tokens"], prefix["trainable_params"]) == (10, 184_320)
    assert ia3["learning_rate"] == 3e-3


def test_the_quantisation_study_is_figure_5s():
    plan = describe_plan(load_config(find_sweep_file("rq2_quantization")))["trials"]
    assert sorted((row["model"][10:13], row["tuning_method"]) for row in plan if row["dataset"] == "conala") == [
        ("13b", "qlora_4bit"), ("13b", "qlora_8bit"), ("34b", "qlora_4bit"),
        ("7b-", "lora"), ("7b-", "qlora_4bit"), ("7b-", "qlora_8bit"),
    ]  # fmt: skip
    assert all(row["fits"] for row in plan)


def test_a_dry_run_marks_what_does_not_fit(tmp_path, capsys):
    (tmp_path / "s.yaml").write_text(
        "name: s\ngrids: [{model: CodeLlama-7b-hf, dataset: conala, tuning_method: [full, qlora_4bit]}]"
    )
    assert main([str(tmp_path / "s.yaml"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.count("DOES NOT FIT") == 1
    assert "predicted not to fit 24 GB: 1 trial;" in said


def test_target_modules_that_the_model_has_not_are_refused_before_anything_runs(tmp_path, capsys):
    (tmp_path / "s.yaml").write_text(
        "name: s\ngrids: [{model: codegen2-1B, dataset: conala, tuning_method: lora, target_modules: [q_proj]}]"
    )
    assert main([str(tmp_path / "s.yaml"), "--dry-run"]) == 2
    assert (
        "must name layers of codegen2-1B (qkv_proj, out_proj, fc_in, fc_out) but got q_proj" in capsys.readouterr().err
    )


def test_limit_reaches_every_trial_even_where_a_grid_has_its_own(tmp_path, capsys):
    (tmp_path / "s.yaml").write_text(
        "name: s\ndefaults: {model: toy, dataset: toy}\n"
        "grids: [{tuning_method: zero_shot, limit: 50}, {tuning_method: icl}]"
    )
    assert main([str(tmp_path / "s.yaml"), "--dry-run", "--json", "--limit", "3"]) == 0
    assert [trial["limit"] for trial in json.loads(capsys.readouterr().out)["trials"]] == [3, 3]


def test_the_sweep_file_is_read_once_whatever_limits_it_has(tmp_path, capsys, monkeypatch):
    file = tmp_path / "s.yaml"
    file.write_text("name: s\ngrids: [{model: toy, dataset: toy, tuning_method: zero_shot, limit: [50, 60]}]")
    read, usual = [], Path.read_text

    def read_text(path, *arguments, **options):
        read.append(path)
        return usual(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read_text)
    assert main([str(file), "--dry-run", "--json", "--limit", "3"]) == 0
    assert [trial["limit"] for trial in json.loads(capsys.readouterr().out)["trials"]] == [3]
    assert read.count(file) == 1


def test_a_grids_wrong_limit_is_told_even_where_the_command_line_gives_another(tmp_path, capsys):
    file = tmp_path / "s.yaml"
    file.write_text("name: s\ngrids:\n  - {model: toy, dataset: toy, tuning_method: zero_shot, limit: many}")
    assert main([str(file), "--dry-run", "--limit", "3"]) == 2
    assert "line 3, grids.0.limit: must be a valid integer but got 'many'" in capsys.readouterr().err


def test_a_cluster_that_does_not_answer_ends_with_2_and_its_address(tmp_path):
    (tmp_path / "s.yaml").write_text("name: s\ngrids: [{model: toy, dataset: toy, tuning_method: zero_shot}]")
    words = [sys.executable, "-m", "raypeft.sweep", str(tmp_path / "s.yaml"), "--address", "127.0.0.1:1"]
    process = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert process.returncode == 2
    assert "RAY_ADDRESS has 1 error" in process.stderr and "Traceback" not in process.stderr
    assert "must name a Ray cluster that answers but got 127.0.0.1:1" in process.stderr


def test_a_trial_whose_row_cannot_be_written_is_not_run_for_ever(tmp_path, monkeypatch):
    runs = []
    monkeypatch.setattr("raypeft.sweep.run_missing", lambda run, trials, *_: runs.append(len(trials)))
    file = tmp_path / "s.yaml"
    file.write_text("name: s\ngrids: [{model: toy, dataset: toy, tuning_method: zero_shot}]\n")
    assert main([str(file), "--results", str(tmp_path)]) == 1
    assert runs == [1]


def test_trials_of_a_command_that_dies_are_run_by_the_one_that_waited_for_them(tmp_path, monkeypatch):
    runs = []

    def run_missing(run, trials, *_):
        runs.append(len(trials))
        store = ResultStore(run.results, tables())
        if len(runs) == 1:
            assert take(store, trials[0].id, "another command")  # which has all that this one lacks
        else:
            store.write_rows("trials", trials[0].id, [{"id": trials[0].id, **trials[0].fields, "status": "failed"}])

    monkeypatch.setattr("raypeft.sweep.run_missing", run_missing)
    dies = lambda _: shutil.rmtree(tmp_path / "s/.leases")  # noqa: E731
    monkeypatch.setattr("raypeft.runner.others.time.sleep", dies)
    file = tmp_path / "s.yaml"
    file.write_text("name: s\ngrids: [{model: toy, dataset: toy, tuning_method: zero_shot}]\n")
    main([str(file), "--results", str(tmp_path)])
    assert runs == [1, 1]
