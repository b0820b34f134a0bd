"""What `raypeft status` says of a sweep that runs, has ended, or was interrupted."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raypeft.cli.status import look, main, shown
from raypeft.events import Evaluated, Stage, Step
from raypeft.results.leases import leased
from raypeft.results.store import ResultStore
from raypeft.runner.observers.progress import Progress
from raypeft.study.checking import load_config
from raypeft.study.plan import plan_sweep
from raypeft.trial.columns import tables
from raypeft.trial.declarations import write_manifest

SWEEP = """
name: small
defaults: {model: toy, dataset: toy}
grids: [{tuning_method: [zero_shot, {name: lora, lora_r: [2, 4, 8]}]}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> tuple[ResultStore, list[Any]]:
    """The results folder of a sweep of four trials, and its trials."""
    (tmp_path / "small.yaml").write_text(SWEEP)
    plan = plan_sweep(load_config(tmp_path / "small.yaml"))
    store = ResultStore(str(tmp_path / "small"), tables())
    write_manifest(store, load_config(tmp_path / "small.yaml"), plan)
    return store, plan.trials


def write(store: ResultStore, trial: Any, **row: Any) -> None:
    row = {"id": trial.id, **trial.fields, "status": "ok", "total_seconds": 100.0, "train_seconds": 60.0, **row}
    store.write_rows("trials", trial.id, [row])


def told(store: ResultStore) -> str:
    console = Console(width=200, record=True)
    console.print(shown(look(store.url)))
    return console.export_text()


def test_done_running_waiting_and_failed_trials_are_counted(folder: tuple[ResultStore, list[Any]]) -> None:
    store, trials = folder
    write(store, trials[0])
    write(store, trials[1], status="failed", error="ValueError: too long\nand more")
    with leased(store, trials[2].id, "driver"):
        text = told(store)
    assert "small: 2 of 4 trials done (1 ok, 1 failed), 1 running, 1 waiting" in text
    assert f"{trials[1].id}  failed: ValueError: too long" in text and "and more" not in text
    assert "next: lora r 8" in text


def test_a_running_trial_says_how_far_it_is(
    folder: tuple[ResultStore, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raypeft.results.leases.BEAT", 0.01)
    store, trials = folder
    progress = Progress("lora r 4")
    progress.hear(trials[2].id, Stage("train", 0, 40))
    progress.hear(trials[2].id, Step(30, 40, 0.51, 1e-3))
    progress.hear(trials[2].id, Evaluated(30, 1.0, 0.5, 0.625, 1e-3, 1.0))
    with leased(store, trials[2].id, "driver", progress.plain):
        deadline = time.monotonic() + 10
        while "step 30/40" not in (text := told(store)) and time.monotonic() < deadline:
            time.sleep(0.02)
    assert "lora r 4" in text and "training step 30/40" in text and "validation loss 0.625" in text and "left" in text


def test_the_time_left_is_learned_from_trials_that_ended(folder: tuple[ResultStore, list[Any]]) -> None:
    store, trials = folder
    with leased(store, trials[2].id, "driver"):
        assert "about" not in told(store)
        write(store, trials[0], total_seconds=10.0, train_seconds=None)
        write(store, trials[1])
        state = look(store.url)
        # One of the trials like the one that ended has just begun, the other waits.
        assert state.seconds_left() == pytest.approx(200.0, abs=5)
        assert replace(state, now=time.time() + 30).seconds_left() == pytest.approx(170.0, abs=5)


def test_an_interrupted_sweep_says_what_goes_on(folder: tuple[ResultStore, list[Any]]) -> None:
    store, trials = folder
    write(store, trials[0])
    assert "nothing runs: the command that started the sweep has ended" in told(store)


def test_a_sweep_that_has_ended_is_over(folder: tuple[ResultStore, list[Any]]) -> None:
    store, trials = folder
    for trial in trials:
        write(store, trial)
    assert look(store.url).is_over
    assert "4 of 4 trials done (4 ok), 0 running" in told(store)


def test_a_lost_trial_counts_as_waiting(folder: tuple[ResultStore, list[Any]]) -> None:
    store, trials = folder
    write(store, trials[0], status="lost", error="gone")
    assert "0 of 4 trials done, 0 running, 4 waiting" in told(store)


def test_where_output_is_no_terminal_the_state_is_printed_once(
    folder: tuple[ResultStore, list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([folder[0].url]) == 0
    assert "0 of 4 trials done" in capsys.readouterr().out


def test_a_folder_without_results_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err
