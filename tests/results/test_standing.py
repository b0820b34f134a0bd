"""Which trials run: by the status of their rows, and by what is missing beside them."""

from pathlib import Path

import pytest

from raypeft.results.standing import look_at
from raypeft.results.store import ResultStore
from raypeft.trial.columns import tables

STATUSES = ("ok", "generated", "oom", "infeasible", "failed", "lost", "of another version")


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    made = ResultStore(str(tmp_path / "study"), tables())
    for status in STATUSES:
        made.write_rows("trials", status, [{"id": status, "status": status}])
    return made


def test_infrastructure_is_tried_again_and_a_trials_own_failure_is_not(store: ResultStore) -> None:
    ids = [*STATUSES, "new"]
    standing = look_at(store)
    assert standing.to_run(ids) == ["infeasible", "lost", "of another version", "new"]
    assert set(standing.to_run(ids, ("failed",))) - set(standing.to_run(ids)) == {"failed"}
    assert set(standing.to_run(ids, ("failed", "oom"))) - set(standing.to_run(ids)) == {"failed", "oom"}
    assert standing.to_run(ids, rerun=True) == ids


def finished(store: ResultStore, trial: str, **columns: object) -> None:
    row = {"id": trial, "status": "ok", "sweep": "study", "best_eval_loss": 1.0, "kept": f"adapters/{trial}"}
    store.write_rows("trials", trial, [{**row, **columns}])
    for table in ("candidates", "evals"):
        store.write_rows(table, trial, [{"id": trial}])
    (Path(store.root) / "adapters" / trial).mkdir(parents=True)


@pytest.mark.parametrize(("name", "what"), [("candidates/b.parquet", "candidates"), ("evals/b.parquet", "evaluations")])
def test_a_result_that_lost_a_file_is_made_again(tmp_path: Path, name: str, what: str) -> None:
    store = ResultStore(str(tmp_path / "study"), tables())
    for trial in "abc":
        finished(store, trial)
    assert look_at(store).incomplete == {}
    (Path(store.root) / name).unlink()
    assert look_at(store).incomplete == {"b": what}
    assert look_at(store).to_run("abc") == ["b"]


@pytest.mark.parametrize("status", ["oom", "pruned"])
def test_a_trial_that_ended_before_it_answered_lacks_no_candidates(tmp_path: Path, status: str) -> None:
    store = ResultStore(str(tmp_path / "study"), tables())
    finished(store, "a", decode=True)
    finished(store, "b", decode=True, status=status, kept=None)
    (Path(store.root) / "candidates" / "b.parquet").unlink()
    assert look_at(store).to_run("ab") == []


def test_a_result_that_lost_its_adapter_is_made_again_unless_another_sweep_has_it(tmp_path: Path) -> None:
    store = ResultStore(str(tmp_path / "study"), tables())
    for trial in "ab":
        finished(store, trial)
    finished(store, "c", sweep="another")
    for trial in "bc":
        (Path(store.root) / "adapters" / trial).rmdir()
    assert look_at(store).incomplete == {"b": "adapter"}


def test_tables_that_were_left_out_of_the_whole_folder_are_not_missed(tmp_path: Path) -> None:
    store = ResultStore(str(tmp_path / "study"), tables())
    finished(store, "a", kept=None)
    (Path(store.root) / "candidates" / "a.parquet").unlink()
    assert look_at(store).incomplete == {}


def test_an_attempt_that_was_left_with_its_row_counts(tmp_path: Path) -> None:
    store = ResultStore(str(tmp_path / "study"), tables())
    finished(store, "a", best_step=1)
    store.inside(".running/a").write_rows("trials", "a", [{"id": "a", "status": "ok", "best_step": 2}])
    assert look_at(store).rows.keys() == {"a"}
    assert store.read_rows()[0]["best_step"] == 2
