"""How a sweep that is told to stop comes to an end."""

import os
import signal
from pathlib import Path

import pytest

from raypeft.results.store import ResultStore
from raypeft.runner.ending import Ending, note_of, stopped_by_note
from raypeft.stopping import Stop
from raypeft.trial.columns import tables


@pytest.mark.parametrize(
    ("is_time_over", "running", "told"),
    [
        (False, {"a", "b"}, "told to stop: 2 running trials stop after their current step or batch"),
        (True, {"a"}, "the time budget is used up: 1 running trial stops after its current step or batch"),
    ],
)
def test_a_sweep_that_is_told_to_stop_says_so_once_before_its_trials_have_ended(
    tmp_path: Path, is_time_over: bool, running: set[str], told: str
) -> None:
    store, stop, said = ResultStore(str(tmp_path / "study"), tables()), Stop(), []
    ending = Ending(stop, store, "key", lambda: running, said.append)
    assert not ending.stop_all() and said == []
    stop.number, stop.is_time_over = int(signal.SIGUSR1), is_time_over
    assert not ending.stop_all() and not ending.stop_all() and store.exists(note_of("key"))
    (line,) = said
    assert line.startswith(told)
    running.clear()
    assert ending.stop_all() and said == [line]


def test_a_note_that_cannot_be_written_is_tried_again_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, stop = ResultStore(str(tmp_path / "study"), tables()), Stop()
    ending = Ending(stop, store, "key", set, lambda _: None)
    stop.number = int(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(ResultStore, "writing", refused)
        assert not ending.stop_all()
    assert ending.stop_all() and store.exists(note_of("key"))


def test_the_results_folder_is_looked_at_anew_before_a_note_since_its_folder_may_be_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, opened, real = ResultStore(str(tmp_path / "study"), tables()), [], os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: opened.append(path) or real(path, *rest))
    with stopped_by_note(store, "key", Stop()):
        assert opened[:2] == [store.root, f"{store.root}/.stop"]


def refused(*_: object) -> None:
    raise OSError("away")
