"""What a sweep's command says at its end, and its exit code."""

import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raypeft.cli.closing import kept_lines, say_end
from raypeft.results.store import ResultStore
from raypeft.stopping import Stopped
from raypeft.study.config import Trial
from raypeft.study.trials import make_trial
from raypeft.trial.columns import tables
from raypeft.trial.declarations import write_manifest

TRIALS = [make_trial({"model": "toy", "dataset": "toy", "tuning_method": "lora", "lora_r": r}) for r in (2, 4, 8)]


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    made = ResultStore(str(tmp_path / "results"), tables())
    write_manifest(made)
    return made


def write(store: ResultStore, trial: Trial, **row: Any) -> None:
    store.write_rows("trials", trial.id, [{"id": trial.id, **trial.fields, "status": "ok", "test_loss": 0.5, **row}])


def end(store: ResultStore, unsuggested: int = 0, stopped: Stopped | None = None) -> tuple[int, str]:
    console = Console(width=200, record=True, quiet=False)
    code = say_end(store, TRIALS, unsuggested, console, stopped, lambda rows: [f"the best of {len(rows)}"])
    return code, console.export_text()


def test_a_sweep_of_which_all_is_done_ends_with_0_and_says_what_to_do_next(store: ResultStore) -> None:
    for trial in TRIALS:
        write(store, trial)
    code, text = end(store)
    assert code == 0 and "the best of 3" in text and "python -m raypeft findings" in text
    assert "raypeft try" in text and "raypeft export" in text


def test_weights_of_full_fine_tuning_that_nobody_kept_are_told_unless_that_was_asked_for() -> None:
    full = {"tuning_method": "full", "status": "ok", "kept": None}
    others = [{**full, "kept": "models/x"}, {**full, "status": "failed"}, {**full, "tuning_method": "zero_shot"}]
    (line,) = kept_lines([full, *others], "adapter")
    assert "the weights of 1 trial were not kept; keep: model" in line
    assert [*kept_lines([full], "nothing"), *kept_lines(others, "adapter")] == []


def test_trials_that_a_search_has_still_to_suggest_are_not_done(store: ResultStore) -> None:
    for trial in TRIALS:
        write(store, trial)
    assert end(store, unsuggested=2)[0] == 1


def test_a_time_budget_that_is_used_up_ends_with_0_and_counts_what_is_left(store: ResultStore) -> None:
    write(store, TRIALS[0])
    code, text = end(store, unsuggested=2, stopped=Stopped(signal.SIGUSR1, is_time_over=True))
    assert code == 0 and "the time budget is used up: 1 of 5 trials are done" in text


@pytest.mark.parametrize(("status", "code"), [("pruned", 0), ("oom", 1), ("failed", 1)])
def test_a_pruned_trial_is_done_and_one_without_a_result_is_a_fault(store: ResultStore, status: str, code: int) -> None:
    for trial in TRIALS[1:]:
        write(store, trial)
    write(store, TRIALS[0], status=status, error="why", test_loss=None)
    assert end(store)[0] == code
