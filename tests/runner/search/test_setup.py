"""What Tune is told of a search: which curves ASHA begins with, and which trials it compares."""

from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from raypeft.cli.searching import search_as_run
from raypeft.results.manifest import add_to_plan
from raypeft.results.store import ResultStore
from raypeft.runner.run import SearchRun, SweepRun
from raypeft.runner.search.halving import Halving
from raypeft.runner.search.setup import make_halving, plain, tune_search
from raypeft.runner.search.suggesting import Suggestions
from raypeft.stopping import Stop
from raypeft.study.checking import load_config
from raypeft.study.config import Trial
from raypeft.study.options import Resources, RunOptions
from raypeft.study.parameters import Asha
from raypeft.study.plan import plan_sweep
from raypeft.study.trials import make_trial
from raypeft.trial.columns import tables
from raypeft.trial.declarations import write_manifest


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    made = ResultStore(str(tmp_path / "results"), tables())
    write_manifest(made)
    return made


def stored(store: ResultStore, seed: int, status: str = "") -> Trial:
    """A trial of a plan with a curve, and with a row if there is a status."""
    trial = make_trial(
        {"model": "toy", "dataset": "toy", "tuning_method": "lora", "num_train_epochs": 10, "seed": seed}
    )
    add_to_plan(store, {trial.id: trial.fields})
    store.write_rows("evals", trial.id, [{"id": trial.id, "step": 1, "epoch": 2.0, "eval_loss": seed / 10}])
    if status:
        store.write_rows("trials", trial.id, [{"id": trial.id, **trial.fields, "status": status}])
    return trial


def sweep(search: SearchRun) -> SweepRun:
    return SweepRun("study", "results", Resources(), RunOptions(), search=search)


@pytest.fixture
def halving(store: ResultStore) -> Callable[..., Halving]:
    def made(
        known: Collection[Trial],
        to_run: Collection[Trial] = (),
        stale: Collection[Trial] = (),
        to_the_end: Collection[Trial] = (),
    ) -> Halving:
        of, old = {trial.id: "one" for trial in known}, {trial.id: "ok None" for trial in stale}
        end = frozenset(trial.id for trial in to_the_end)
        search = SearchRun("best_eval_loss", True, Asha(), of, stale=old, to_the_end=end)
        found = make_halving(sweep(search), [*to_run], store)
        assert found
        return found

    return made


def test_a_curve_of_other_data_is_no_rival(store: ResultStore, halving: Callable[..., Halving]) -> None:
    now, then = (stored(store, seed, "ok") for seed in (1, 2))
    assert halving([now, then], stale=[then]).best == {now.id: 0.1}


@pytest.mark.parametrize("status", ["", "lost", "failed"])
def test_asha_knows_the_curve_of_a_trial_that_goes_on_after_an_interruption(
    store: ResultStore, halving: Callable[..., Halving], status: str
) -> None:
    trial = stored(store, 1, status)
    assert halving([trial], to_run=[trial]).best == {trial.id: 0.1}


def test_asha_does_not_know_the_curve_of_a_result_that_is_made_anew(
    store: ResultStore, halving: Callable[..., Halving]
) -> None:
    again, retried = stored(store, 1, "ok"), stored(store, 2, "pruned")
    found = halving([again, retried], to_run=[again, retried], to_the_end=[retried])
    assert found.best == {retried.id: 0.2}, "one that is trained to its end now is not judged, but a rival as before"


def test_a_pruned_trial_that_runs_again_on_demand_has_no_rivals(store: ResultStore) -> None:
    trial = stored(store, 1)
    for retried, search in ((frozenset(), "key"), (frozenset({trial.id}), "")):
        found = SearchRun("best_eval_loss", True, to_the_end=retried)
        assert plain(sweep(found), {}, trial, "key")["search"] == search


SEARCH = """
name: study
search: optuna
num_samples: 12
scheduler: asha
defaults: {model: toy, dataset: toy}
grids: [{tuning_method: lora, num_train_epochs: 10}]
parameters: {learning_rate: {min: 1.0e-4, max: 1.0e-1, distribution: log_uniform}}
"""


def test_asha_compares_the_trials_that_are_left_when_nothing_more_is_to_be_suggested(
    tmp_path: Path, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "1")
    (tmp_path / "study.yaml").write_text(SEARCH)
    loaded = load_config(tmp_path / "study.yaml")
    plan = plan_sweep(loaded)
    (point,) = plan.suggesting
    ended, left = (point.trial({"learning_rate": rate}) for rate in (0.01, 0.02))
    add_to_plan(store, {trial.id: trial.fields for trial in (ended, left)})
    store.write_rows("evals", ended.id, [{"id": ended.id, "step": 1, "epoch": 2.0, "eval_loss": 0.1}])
    store.write_rows("trials", ended.id, [{"id": ended.id, **ended.fields, "status": "ok"}])
    search = search_as_run(loaded.config, plan, unsuggested=0, pruned=(), stale={})
    assert search
    found = tune_search(sweep(search), [left], store, Stop(), room=1).config
    assert isinstance(found.search_alg, Suggestions) and isinstance(found.scheduler, Halving)
    given = found.search_alg.suggest("tune0")
    assert isinstance(given, dict) and given["planned"]["search"] == point.key
    assert found.scheduler.best == {ended.id: 0.1}
    assert found.search_alg.suggest("tune1") == Suggestions.FINISHED
