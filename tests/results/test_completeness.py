"""Files that are missing are missed, but for those that were left out on purpose."""

import shutil
from pathlib import Path

from raypeft.results.completeness import absent_tables, note_left_out
from raypeft.results.declarations import Declarations
from raypeft.results.manifest import Manifest
from raypeft.results.reuse import take_over
from raypeft.results.standing import look_at
from raypeft.results.store import ResultStore
from raypeft.trial.columns import tables


def started(folder: Path) -> ResultStore:
    """The store of a sweep whose command has just begun."""
    absent = absent_tables(str(folder))
    store = ResultStore(str(folder), tables())
    store.write_manifest(Manifest(Declarations(), {}).over(store.read_manifest()))
    note_left_out(store, absent)
    return store


def finished(store: ResultStore, trial: str) -> None:
    store.write_rows("trials", trial, [{"id": trial, "status": "ok", "sweep": "study", "best_eval_loss": 1.0}])
    for table in ("candidates", "evals"):
        store.write_rows(table, trial, [{"id": trial}])


def test_the_only_trial_of_a_sweep_that_loses_its_candidates_is_run_again(tmp_path: Path) -> None:
    finished(started(tmp_path / "study"), "a")
    (tmp_path / "study" / "candidates" / "a.parquet").unlink()
    assert look_at(started(tmp_path / "study")).incomplete == {"a": "candidates"}


def test_a_folder_that_came_without_a_table_goes_on_and_misses_only_what_is_new(tmp_path: Path) -> None:
    finished(started(tmp_path / "study"), "a")
    shutil.rmtree(tmp_path / "study" / "candidates")
    store = started(tmp_path / "study")
    assert look_at(store).incomplete == {}
    finished(store, "b")
    assert look_at(started(tmp_path / "study")).incomplete == {}
    (tmp_path / "study" / "candidates" / "b.parquet").unlink()
    assert look_at(started(tmp_path / "study")).incomplete == {"b": "candidates"}


def test_what_stands_in_a_folder_of_an_earlier_version_is_done_without_its_candidates(tmp_path: Path) -> None:
    store = ResultStore(str(tmp_path / "study"), tables())
    finished(store, "a")
    (tmp_path / "study" / "candidates" / "a.parquet").unlink()
    assert look_at(store).incomplete == {}
    for _ in range(2):
        assert look_at(started(tmp_path / "study")).incomplete == {}


def test_a_trial_that_is_taken_over_from_results_without_candidates_is_done(tmp_path: Path) -> None:
    other = ResultStore(str(tmp_path / "other"), tables())
    finished(other, "a")
    (tmp_path / "other" / "candidates" / "a.parquet").unlink()
    store = started(tmp_path / "study")
    finished(store, "b")
    take_over(store, {"other": other.url}, ["a"], 24)
    assert look_at(store).incomplete == {}
