"""Trials that other commands run: which are awaited, and which are taken over."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from raypeft.results.leases import take
from raypeft.results.manifest import add_to_plan
from raypeft.results.store import ResultStore
from raypeft.runner import others
from raypeft.runner.run import SearchRun, SweepRun
from raypeft.stopping import Stop
from raypeft.study.checking import load_config
from raypeft.study.config import Trial
from raypeft.study.options import Resources, RunOptions
from raypeft.study.plan import plan_sweep
from raypeft.study.searching import SearchPoint
from raypeft.trial.columns import tables
from raypeft.trial.declarations import write_manifest

SEARCH = """
name: study
search: optuna
num_samples: 12
defaults: {model: toy, dataset: toy}
grids: [{tuning_method: lora}]
parameters: {learning_rate: {min: 1.0e-4, max: 1.0e-1, distribution: log_uniform}}
"""


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    made = ResultStore(str(tmp_path / "results"), tables())
    write_manifest(made)
    return made


@pytest.fixture
def point(tmp_path: Path) -> SearchPoint:
    pytest.importorskip("optuna")
    (tmp_path / "study.yaml").write_text(SEARCH)
    (found,) = plan_sweep(load_config(tmp_path / "study.yaml")).suggesting
    return found


def suggested(store: ResultStore, point: SearchPoint) -> Trial:
    """What another command has suggested."""
    trial = point.trial({"learning_rate": 0.01})
    add_to_plan(store, {trial.id: trial.fields})
    return trial


def awaited(store: ResultStore, point: SearchPoint) -> tuple[list[Trial], str]:
    """What a command without trials of its own is left with, and what it said."""
    search = SearchRun("best_eval_loss", True, points=[point], unsuggested=3)
    run = SweepRun("study", store.url, Resources(), RunOptions(), search=search)
    said = io.StringIO()
    left, _ = others.await_others(run, [], store, Console(file=said), Stop())
    return left, said.getvalue()


@pytest.mark.parametrize("ends", [True, False])
def test_what_another_command_has_suggested_is_awaited_and_taken_over_if_that_one_dies(
    store: ResultStore, point: SearchPoint, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    trial = suggested(store, point)
    assert take(store, trial.id, "another command")

    def meanwhile(_: float) -> None:
        if ends:
            store.write_rows("trials", trial.id, [{"id": trial.id, **trial.fields, "status": "ok"}])
        store.remove(f".leases/{trial.id}.json")

    monkeypatch.setattr(others.time, "sleep", meanwhile)
    left, said = awaited(store, point)
    assert left == ([] if ends else [trial]) and said.startswith("waiting for 1 trials that another command runs")


def test_what_a_command_has_suggested_that_is_gone_by_now_is_taken_over(store: ResultStore, point: SearchPoint) -> None:
    assert awaited(store, point) == ([], "")
    trial = suggested(store, point)
    assert awaited(store, point) == ([trial], "")
