"""What the command says of a search at its end."""

import json
from pathlib import Path

import pytest

from raypeft.data.revision import splits_revision
from raypeft.results.store import ResultStore
from raypeft.study.checking import load_config
from raypeft.study.plan import plan_trials
from raypeft.sweep import main
from raypeft.trial.columns import tables
from raypeft.trial.examples import loaded

SEARCH = """
name: s
search: random
num_samples: 3
defaults: {model: toy, dataset: conala, dataset_path: data, decode: false}
grids: [{tuning_method: lora}]
parameters: {learning_rate: {min: 1.0e-4, max: 1.0e-1, distribution: log_uniform}}
"""


def test_a_command_that_runs_one_trial_tells_the_best_of_the_whole_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.yaml").write_text(SEARCH.replace("conala, dataset_path: data", "toy"))
    trials = plan_trials(load_config(tmp_path / "s.yaml"))
    store = ResultStore(str(tmp_path / "s"), tables())
    for trial, loss in zip(trials, (0.3, 0.1, 0.2), strict=True):
        store.write_rows("trials", trial.id, [{"id": trial.id, **trial.fields, "status": "ok", "best_eval_loss": loss}])
    assert main([str(tmp_path / "s.yaml"), "--results", str(tmp_path), "--only", trials[0].id]) == 0
    assert f"the best of 3 trials by eval_loss is {trials[1].id}" in capsys.readouterr().err


def test_the_best_of_a_search_is_none_of_other_data_and_the_command_that_makes_it_anew_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    for split in ("train", "validation", "test"):
        (tmp_path / "data" / f"{split}.jsonl").write_text(json.dumps({"nl": f"sum {split}", "cmd": "sum(x)"}) + "\n")
    (tmp_path / "s.yaml").write_text(SEARCH.replace("data,", f"{tmp_path / 'data'},"))
    trials = plan_trials(load_config(tmp_path / "s.yaml"))
    store = ResultStore(str(tmp_path / "s"), tables())
    revisions = "sha256:old", "sha256:old", splits_revision(loaded(trials[2]))
    for trial, revision, loss in zip(trials, revisions, (0.1, 0.2, 0.3), strict=True):
        row = {"id": trial.id, **trial.fields, "status": "ok", "best_eval_loss": loss}
        store.write_rows("trials", trial.id, [row | {"dataset_resolved_revision": revision}])
    assert main([str(tmp_path / "s.yaml"), "--results", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    assert f"--rerun --only {trials[0].id},{trials[1].id} runs them again\n" in said
    assert f"the best of 1 trials by eval_loss is {trials[2].id}" in said
