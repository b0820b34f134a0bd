"""How a trial can end, and what hangs on it."""

import pytest
from rich.console import Console

from raypeft import sweep as command
from raypeft.analysis.report.terminal import print_summary
from raypeft.records import Status
from raypeft.results.standing import look_at
from raypeft.results.statuses import STATUSES, is_fault, status_column
from raypeft.results.store import ResultStore
from raypeft.study.checking import load_config
from raypeft.study.plan import plan_trials
from raypeft.study.trials import make_trial
from raypeft.trial.columns import tables

SWEEP = "name: s\ngrids: [{model: toy, dataset: toy, tuning_method: zero_shot}]\n"


@pytest.fixture
def stopped(monkeypatch):
    """A status that raypeft has not: the trial gave up early, which is a finding and no fault."""
    status = Status("stopped", "its losses did not fall", is_finished=True, is_fault=False)
    monkeypatch.setitem(STATUSES, "stopped", status)
    return status


def ended(folder, status):
    """The exit code of a sweep whose one trial has a row with `status`, and which trials a further run would take."""
    (folder / "s.yaml").write_text(SWEEP)
    sweep = load_config(folder / "s.yaml", [f"results={folder}"])
    (trial,) = plan_trials(sweep)
    store = ResultStore(str(folder / "s"), tables())
    store.write_rows("trials", trial.id, [{"id": trial.id, **trial.fields, "status": status, "error": "why"}])
    return look_at(store).to_run([trial.id])


@pytest.mark.parametrize(
    ("status", "settled", "fault"),
    [("ok", True, False), ("oom", True, True), ("generated", True, False), ("infeasible", False, True),
     ("failed", True, True), ("lost", False, True)],
)  # fmt: skip
def test_a_settled_trial_is_not_run_again_and_a_fault_is_the_exit_code(tmp_path, status, settled, fault):
    assert (ended(tmp_path, status) == []) == settled
    assert is_fault(status) == fault


def test_the_column_is_described_by_the_statuses():
    assert status_column().description == (
        "How the trial ended: ok, oom (the GPU ran out of memory), infeasible (predicted not to fit in GPU memory), "
        "generated (not scored yet), pruned (stopped early by the scheduler of its search), failed or "
        "lost (its process, its node or the results were lost)"
    )


def test_a_status_that_is_added_ends_trials_and_is_told(tmp_path, stopped, monkeypatch, capsys):
    monkeypatch.setattr(command, "run_missing", lambda *_: pytest.fail("nothing is missing"))
    assert ended(tmp_path, "stopped") == []
    assert command.main([str(tmp_path / "s.yaml"), "--results", str(tmp_path)]) == 0
    assert "stopped: " in capsys.readouterr().out
    assert "stopped (its losses did not fall)" in status_column().description
    (column,) = (each for each in tables()["trials"] if each.name == "status")
    assert column == status_column()


def test_a_status_that_nobody_knows_is_a_fault_and_listed_with_its_error(capsys):
    row = {"id": "a", **make_trial({"model": "toy", "dataset": "toy", "tuning_method": "icl"}).fields}
    print_summary([row | {"status": "vanished", "error": "why"}], Console(width=120))
    assert is_fault("vanished")
    assert "vanished: a toy toy icl: why" in capsys.readouterr().out
