"""Which trials a sweep runs on demand, as the command line says it, without Ray."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raypeft import sweep as command
from raypeft.cli.selecting import say_changed
from raypeft.results.leases import leased
from raypeft.results.store import ResultStore
from raypeft.runner.run import SweepRun
from raypeft.study.checking import load_config
from raypeft.study.config import Trial
from raypeft.study.plan import plan_trials
from raypeft.study.trials import make_trial
from raypeft.trial.columns import tables

SWEEP = "name: s\ngrids: [{model: toy, dataset: toy, tuning_method: zero_shot, max_new_tokens: [1, 2, 3, 4]}]\n"


class Folder:
    """A sweep of four trials, and which of them the last command ran."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "s.yaml"
        self.file.write_text(SWEEP)
        self.trials = plan_trials(load_config(self.file))
        self.store = ResultStore(str(folder / "s"), tables())
        self.ran: list[str] = []

    def add(self, place: int, status: str, **more: Any) -> str:
        trial = self.trials[place]
        self.store.write_rows("trials", trial.id, [{"id": trial.id, **trial.fields, "status": status, **more}])
        return trial.id

    def run(self, *words: str) -> int:
        self.ran.clear()
        return command.main([str(self.file), "--results", str(self.file.parent), *words])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    made = Folder(tmp_path)

    def run_missing(run: SweepRun, trials: Sequence[Trial], console: object, stop: object) -> bool:
        made.ran += [trial.id for trial in trials]
        return False

    monkeypatch.setattr(command, "run_missing", run_missing)
    return made


def test_a_failure_is_run_again_only_on_demand_and_a_loss_always(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    failed, oom, lost, ok = (folder.add(place, status) for place, status in enumerate(("failed", "oom", "lost", "ok")))
    assert folder.run() == 1 and folder.ran == [lost]
    assert "2 trials failed, and will not run again without --retry all" in capsys.readouterr().err
    folder.run("--retry", "failed")
    assert folder.ran == [failed, lost]
    folder.run("--retry", "all")
    assert folder.ran == [failed, oom, lost]
    folder.run("--rerun")
    assert folder.ran == [failed, oom, lost, ok]
    assert not (Path(folder.store.root) / "superseded").exists(), "old rows stay until new ones are there"


def test_single_trials_are_named_by_the_beginnings_of_their_ids(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [trial.id for trial in folder.trials]
    for asked in (["--only", ids[2][:6], "--only", ids[0]], ["--only", f"{ids[2][:6]},{ids[0]}"]):
        folder.run(*asked)
        assert folder.ran == [ids[0], ids[2]]
    assert "s: 2 trials, 0 of them done before" in capsys.readouterr().err
    assert folder.run("--only", ids[1][:-1] + "x") == 2
    assert f"did you mean {ids[1]}?" in capsys.readouterr().err and folder.ran == []


def test_rows_that_are_no_longer_planned_stay_out_of_the_table_and_are_pruned_on_demand(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in range(4):
        folder.add(place, "ok")
    folder.store.write_rows("trials", "old", [{**folder.store.read_rows()[0], "id": "old", "status": "failed"}])
    assert folder.run() == 0
    assert "failed" not in capsys.readouterr().out
    assert folder.run("--prune") == 0
    assert "moved to superseded/: 1 trial no longer planned" in capsys.readouterr().err
    assert "old" not in folder.store.statuses()
    assert len(list((Path(folder.store.root) / "superseded").rglob("trials/old.parquet"))) == 1


def test_a_start_removes_what_a_killed_command_has_left_half_written(folder: Folder) -> None:
    for trial in folder.trials:
        folder.add(folder.trials.index(trial), "ok")
    half = Path(folder.store.root) / ".tmp" / "checkpoint"
    half.write_bytes(b"half")
    assert folder.run() == 0 and half.exists()
    os.utime(half, (half.stat().st_mtime - 4000,) * 2)
    assert folder.run() == 0 and not half.exists()


def test_pruning_takes_all_that_trials_have_left_but_not_from_under_another_command(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = folder.add(0, "ok")
    root = Path(folder.store.root)
    names = ["checkpoints/{}.last.pt", "checkpoints/{}/training.pt", "candidates.partial/{}/00000.parquet"]
    for trial in (planned, "left", "runs"):
        for name in names:
            folder.store.put(name.format(trial), b"state")
    with leased(folder.store, "runs", "another command"):
        folder.run("--prune")
    assert "moved to superseded/: 1 trial no longer planned" in capsys.readouterr().err
    moved = {str(path.relative_to(root)).split("/", 2)[2] for path in root.rglob("superseded/*/**/*") if path.is_file()}
    assert moved == {name.format("left") for name in names}
    assert all(folder.store.exists(name.format(trial)) for trial in (planned, "runs") for name in names)


def test_a_result_that_lost_its_candidates_is_run_again_and_named(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [folder.add(place, "ok") for place in range(4)]
    for trial in ids[1:]:
        folder.store.write_rows("candidates", trial, [{"id": trial}])
    folder.run()
    assert folder.ran == [ids[0]]
    assert f"run again, since their candidates are missing: 1 finished trial ({ids[0]})" in capsys.readouterr().err


def test_a_damaged_row_is_named_and_its_trial_runs_again(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [folder.add(place, "ok") for place in range(4)]
    path = Path(folder.store.root) / "trials" / f"{ids[1]}.parquet"
    path.write_bytes(path.read_bytes()[:-7])
    folder.run()
    assert folder.ran == [ids[1]]
    assert f"left out: {path}: must be a Parquet file but is damaged" in capsys.readouterr().err


def test_a_sweep_names_the_finished_trials_of_weights_that_were_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    trial = make_trial({"model": str(tmp_path), "dataset": "toy", "tuning_method": "zero_shot"})
    store = ResultStore(str(tmp_path / "s"), tables())
    store.write_rows("trials", trial.id, [{"id": trial.id, **trial.fields, "model_resolved_revision": "sha256:0"}])
    assert say_changed(Console(stderr=True, width=400), [trial], store, ()) == [trial.id]
    told = capsys.readouterr().err
    assert "1 finished trial ran: their rows are of other weights" in told and f"--rerun --only {trial.id}" in told
