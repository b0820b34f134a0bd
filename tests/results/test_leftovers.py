"""What no trial needs is found, and what is half-written is removed once nobody can be writing it."""

import os
import time
from pathlib import Path

import pytest

from raypeft.results import leftovers
from raypeft.results.attempts import attempt
from raypeft.results.leases import leased
from raypeft.results.leftovers import drop_temporaries, drop_trainings, files_by_trial
from raypeft.results.places import sweep_url
from raypeft.results.store import ResultStore
from raypeft.trial.columns import tables


def left(path: Path, hours: float) -> Path:
    """A file that was last written so many hours ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    os.utime(path, (time.time() - 3600 * hours,) * 2)
    return path


def test_half_written_files_go_after_an_hour_and_not_while_someone_may_be_writing(tmp_path: Path) -> None:
    store = ResultStore(str(tmp_path / "study"), tables())
    root = Path(store.root)
    old = [left(root / ".tmp/checkpoint", 1.1), left(root / ".running/a/.tmp/checkpoint", 30)]
    new = [left(root / ".tmp/other", 0.9), left(root / "trials/a.parquet", 30)]
    drop_temporaries(store)
    assert [path.exists() for path in (*old, *new)] == [False, False, True, True]


def test_a_folder_is_as_old_as_the_newest_file_in_it(tmp_path: Path) -> None:
    store = ResultStore(str(tmp_path / "study"), tables())
    for name, hours in (("lost/weights", 3), ("lost/deep/config", 2), ("now/weights", 3), ("now/deep/config", 0)):
        left(Path(store.root) / ".tmp" / name, hours)
    for folder in ("lost", "lost/deep", "now", "now/deep"):
        os.utime(Path(store.root) / ".tmp" / folder, (time.time() - 7200,) * 2)
    drop_temporaries(store)
    assert store.names(".tmp") == [".tmp/now"] and store.exists(".tmp/now/weights")


def test_half_written_files_on_s3_go_as_well(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ResultStore(sweep_url(bucket, "leftovers"), tables())
    for name in (".tmp/checkpoint", ".tmp/adapter/weights"):
        store.put(name, b"half")
    drop_temporaries(store)
    assert store.names(".tmp") == [".tmp/adapter", ".tmp/checkpoint"]
    monkeypatch.setattr(leftovers, "OLD", -60.0)
    drop_temporaries(store)
    assert store.names(".tmp") == []


def test_all_that_a_trial_has_left_is_found_without_a_row(tmp_path: Path) -> None:
    store = ResultStore(str(tmp_path / "study"), tables())
    names = ["adapters/a/weights", "checkpoints/a/training.pt", "checkpoints/b.last.pt", "models/b/weights",
             "candidates.partial/c/00000.parquet", ".running/c/trials/c.parquet", "tests/a.parquet",
             "trials/all.parquet", "checkpoints/.hidden"]  # fmt: skip
    for name in names:
        left(Path(store.root) / name, 0)
    assert {trial: sorted(found) for trial, found in files_by_trial(store).items()} == {
        "a": ["adapters/a", "checkpoints/a", "tests/a.parquet"],
        "b": ["checkpoints/b.last.pt", "models/b"],
        "c": [".running/c", "candidates.partial/c"],
    }


def test_a_shared_training_goes_once_none_of_its_trials_is_still_to_run(tmp_path: Path) -> None:
    store = ResultStore(str(tmp_path / "study"), tables())
    for name in ("needed", "over", "of_a_trial"):
        left(Path(store.root) / "checkpoints" / name / "training.pt", 0)
    drop_trainings(store, {"a": "needed", "b": "needed", "c": "over", "d": "over"}, ["b", "e"])
    assert store.names("checkpoints") == ["checkpoints/needed", "checkpoints/of_a_trial"]


def test_the_training_of_a_rerun_that_was_interrupted_stays(tmp_path: Path) -> None:
    store = ResultStore(str(tmp_path / "study"), tables())
    store.write_rows("trials", "a", [{"id": "a", "status": "ok"}])
    left(Path(store.root) / "checkpoints/shared/training.pt", 0)
    with pytest.raises(KeyboardInterrupt), attempt(store, "a", "one", "ok None"):
        raise KeyboardInterrupt
    drop_trainings(store, {"a": "shared", "b": "shared"}, [])
    assert store.names("checkpoints") == ["checkpoints/shared"]


def test_no_training_goes_while_another_command_runs_trials(tmp_path: Path) -> None:
    store = ResultStore(str(tmp_path / "study"), tables())
    left(Path(store.root) / "checkpoints/shared/training.pt", 0)
    with leased(store, "c", "another command"):
        drop_trainings(store, {"a": "shared", "b": "shared"}, [])
        assert store.names("checkpoints") == ["checkpoints/shared"]
    drop_trainings(store, {"a": "shared", "b": "shared"}, [])
    assert store.names("checkpoints") == []
