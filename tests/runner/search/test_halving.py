"""ASHA's decisions reach the trial, and only trials of one search are held against each other."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from raypeft.events import Evaluated, Pruned, Stage, to_plain
from raypeft.results.store import ResultStore
from raypeft.runner.search.halving import Halving, PrunedByNote, note_of
from raypeft.study.parameters import Asha
from raypeft.study.trials import make_trial
from raypeft.trial.columns import tables

EPOCHS = 10


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(str(tmp_path / "results"), tables())


def evaluated(epoch: float, loss: float) -> Evaluated:
    return Evaluated(int(epoch), epoch, loss, loss, 1e-3, 1.0)


def tune_trial(name: str, search: str = "one") -> Any:
    trial = make_trial({"model": "toy", "dataset": "toy", "tuning_method": "lora", "num_train_epochs": EPOCHS})
    planned = {"id": name, "trial": trial.model_dump(), "search": search}
    return SimpleNamespace(trial_id=f"tune {name}", config={"planned": planned})


def halving(store: ResultStore) -> Halving:
    return Halving(Asha(grace_period=0.1, reduction_factor=2), store, "driver")


def told(made: Halving, trial: Any, *curve: tuple[float, float]) -> bool:
    """Report a curve of (epoch, loss); whether the trial was then told to stop."""
    for epoch, loss in curve:
        report = {"events": [to_plain(Stage("train", 1, 2)), to_plain(evaluated(epoch, loss))]}
        assert made.on_trial_result(None, trial, report) == TrialScheduler.CONTINUE
    return trial.config["planned"]["id"] in made.stopped


def test_a_trial_that_lags_behind_is_told_by_a_note_with_the_reason(store: ResultStore) -> None:
    made, good, bad = halving(store), tune_trial("good"), tune_trial("bad")
    assert not told(made, good, (1, 0.5))
    assert told(made, bad, (1, 0.9))
    with pytest.raises(Pruned, match=r"after 10 % of its training its validation loss, 0.9, was not"):
        PrunedByNote(store, "driver").hear("bad", evaluated(1, 0.9))
    PrunedByNote(store, "driver").hear("good", evaluated(1, 0.5))
    made.forget("bad")
    assert not store.exists(note_of("driver", "bad"))


def test_trials_of_other_searches_and_of_none_are_no_rivals(store: ResultStore) -> None:
    made, good, other, plain = halving(store), tune_trial("good"), tune_trial("other", "two"), tune_trial("plain", "")
    assert not told(made, good, (1, 0.1))
    assert not told(made, other, (1, 0.9))
    assert not told(made, plain, (1, 5.0), (5, 5.0))


def test_no_trial_is_stopped_before_the_grace_period_or_after_its_last_step(store: ResultStore) -> None:
    made, good, bad = halving(store), tune_trial("good"), tune_trial("bad")
    assert not told(made, good, (0.5, 0.1), (10, 0.1))
    assert not told(made, bad, (0.5, 0.9), (10, 0.9))


def test_the_lowest_loss_so_far_counts_since_its_weights_are_kept(store: ResultStore) -> None:
    made, good, late = halving(store), tune_trial("good"), tune_trial("late")
    assert not told(made, good, (1, 0.5))
    assert not told(made, late, (0.5, 0.4), (1, 0.8))


def test_trials_of_an_earlier_command_count(store: ResultStore) -> None:
    made, bad = halving(store), tune_trial("bad")
    made.remember("one", {"earlier": [(0.1, 0.5), (0.5, 0.3)]})
    assert told(made, bad, (1, 0.9))


def test_a_trial_that_runs_again_is_one_rival_with_what_it_had_come_to_at_each_rung(store: ResultStore) -> None:
    made, again, rival = halving(store), tune_trial("again"), tune_trial("rival")
    made.remember("one", {"again": [(0.1, 0.9), (0.5, 0.3)]})
    assert not told(made, again, (1, 0.9))
    assert not told(made, rival, (1, 0.8))


def test_a_trial_that_goes_on_is_not_stopped_where_it_has_been(store: ResultStore) -> None:
    made, going_on = halving(store), tune_trial("going on")
    made.remember("one", {"going on": [(0.1, 0.9)], "later": [(0.1, 0.5)]})
    assert not told(made, going_on, (1, 0.9))
    assert told(made, tune_trial("new"), (1, 0.9))


def test_a_trial_is_told_once(store: ResultStore) -> None:
    made, good, bad = halving(store), tune_trial("good"), tune_trial("bad")
    told(made, good, (1, 0.5))
    told(made, bad, (1, 0.9))
    store.remove(note_of("driver", "bad"))
    assert told(made, bad, (5, 0.9))
    assert not store.exists(note_of("driver", "bad"))


def test_a_store_that_refuses_a_note_ends_no_sweep(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError("away")

    made = halving(store)
    told(made, tune_trial("good"), (1, 0.5))
    for name in ("put", "remove"):
        monkeypatch.setattr(ResultStore, name, refused)
    assert told(made, tune_trial("bad"), (1, 0.9))
    made.forget("bad")
