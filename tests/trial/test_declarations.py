"""What a sweep writes beside its results."""

import json
from pathlib import Path

import pytest
import yaml

from raypeft.data import DATASETS
from raypeft.methods import METHODS
from raypeft.metrics.scoring import declared_scores
from raypeft.results.reuse import take_over
from raypeft.results.statuses import STATUSES
from raypeft.results.store import ResultStore
from raypeft.study.checking import load_config
from raypeft.study.plan import plan_sweep, plan_trials
from raypeft.training.columns import SCORES
from raypeft.trial.columns import tables
from raypeft.trial.declarations import prepare_store, write_manifest

SWEEP = """
name: s
defaults: {model: toy, dataset: toy_apps}
grids: [{tuning_method: [zero_shot, lora], seed: [1, 2]}]
"""


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "s"), tables())


def sweep(tmp_path, *overrides):
    (tmp_path / "s.yaml").write_text(SWEEP)
    return load_config(tmp_path / "s.yaml", overrides)


def test_it_holds_the_sweep_as_it_was_run_and_its_plan(tmp_path, store):
    given = sweep(tmp_path, "defaults.limit=7", "results=s3://key:secret@bucket")
    plan = plan_sweep(given)
    trials = plan.trials
    write_manifest(store, given, plan)
    found = store.read_manifest()
    assert yaml.safe_load(found.sweep["text"])["defaults"] == {"model": "toy", "dataset": "toy_apps", "limit": 7}
    assert "secret" not in Path(store.root, "manifest.json").read_text()
    (tmp_path / "again.yaml").write_text(found.sweep["text"])
    assert [each.id for each in plan_trials(load_config(tmp_path / "again.yaml"))] == [each.id for each in trials]
    assert found.plan.keys() == {each.id for each in trials}
    assert all(fields["limit"] == 7 for fields in found.plan.values())


def test_a_store_has_room_for_the_scores_by_level_of_rows_that_it_takes_over(tmp_path):
    (tmp_path / "mine.jsonl").write_text("".join(
        json.dumps({"q": f"q{n}", "t": ["assert f() == 1"], "l": "hard one"}) + "\n" for n in range(9)
    ))  # fmt: skip
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({
        "name": "s", "grids": [{"model": "toy", "dataset": "mine", "tuning_method": "zero_shot", "max_new_tokens": 9}],
        "datasets": {"mine": {"path": str(tmp_path / "mine.jsonl"), "prompt": "q", "tests": "t", "levels": "l"}},
    }))  # fmt: skip
    given = load_config(tmp_path / "s.yaml", [f"results={tmp_path / 'here'}"])
    plan = plan_sweep(given)
    other = ResultStore(str(tmp_path / "other"), tables(["hard_one"]))
    other.write_rows("trials", plan.trials[0].id, [
        {"id": plan.trials[0].id, **plan.trials[0].fields, "status": "ok", "pass_at_1_hard_one": 0.25}])  # fmt: skip
    store = prepare_store(str(tmp_path / "here"), given, plan)
    take_over(store, {"other": other.url}, [plan.trials[0].id], 24)
    assert store.read_rows()[0]["pass_at_1_hard_one"] == 0.25


def test_it_holds_everything_that_this_version_declares(tmp_path, store):
    write_manifest(store, sweep(tmp_path))
    found = store.read_manifest()
    assert [*found.declarations.scores] == [*declared_scores(), *SCORES]
    assert found.declarations.statuses == STATUSES
    assert found.declarations.datasets.keys() == DATASETS.keys()
    assert found.declarations.dataset("apps").levels == DATASETS["apps"].levels
    assert found.declarations.methods.keys() == METHODS.keys()
    assert found.declarations.method("lora").defaults["lora_r"] == METHODS["lora"].model_fields["lora_r"].default
    assert {name: [*columns] for name, columns in found.tables.items()} == tables()
    assert {"raypeft_version", "git_commit", "torch_version"} <= found.made_by.keys()


def test_scoring_again_keeps_the_sweep_and_the_plan(tmp_path, store):
    given = sweep(tmp_path)
    write_manifest(store, given, plan_sweep(given))
    first = store.read_manifest()
    write_manifest(store)
    assert store.read_manifest() == first
