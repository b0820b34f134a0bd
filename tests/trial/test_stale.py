"""Finished trials whose data or weights have changed since."""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from raypeft.data.revision import splits_revision
from raypeft.models.folders import weights_revision
from raypeft.study.config import Trial
from raypeft.study.trials import make_trial
from raypeft.trial.examples import loaded
from raypeft.trial.stale import other_data, other_weights


def write(folder: Path, code: str = "sum(x)") -> None:
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text(json.dumps({"nl": f"sum {split}", "cmd": code}) + "\n")


def trial(folder: Path) -> Trial:
    return make_trial({"model": "toy", "dataset": "conala", "dataset_path": str(folder), "tuning_method": "zero_shot"})


def row(planned: Trial) -> dict[str, Any]:
    revision = splits_revision(planned.data.load(planned.dataset_path, None))
    return {"id": planned.id, "dataset_resolved_revision": revision}


def test_data_that_was_edited_is_noticed_and_data_that_was_not_is_not(tmp_path: Path) -> None:
    write(tmp_path)
    planned = trial(tmp_path)
    rows = [row(planned)]
    assert other_data([planned], lambda: rows) == {}
    write(tmp_path, "total(x)")
    assert other_data([planned], lambda: rows) == {str(tmp_path): [planned.id]}


def test_data_that_is_gone_elsewhere_or_was_never_loaded_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path)
    planned = trial(tmp_path)
    assert other_data([planned], lambda: [{"id": planned.id, "dataset_resolved_revision": None}]) == {}
    rows = [row(planned)]
    (tmp_path / "test.jsonl").unlink()
    assert other_data([planned], lambda: rows) == {}
    toy = make_trial({"model": "toy", "dataset": "toy", "tuning_method": "zero_shot"})
    assert other_data([toy], lambda: [{"id": toy.id, "dataset_resolved_revision": "sha256:0"}]) == {}


def test_an_edited_test_dataset_is_noticed(tmp_path: Path) -> None:
    write(tmp_path)
    fields = {"test_dataset": "conala", "test_dataset_path": str(tmp_path)}
    planned = make_trial({"model": "toy", "dataset": "toy", "tuning_method": "zero_shot", **fields})
    rows = [{"id": planned.id, "dataset_resolved_revision": splits_revision(loaded(planned))}]
    assert other_data([planned], lambda: rows) == {}
    write(tmp_path, "total(x)")
    assert other_data([planned], lambda: rows) == {str(tmp_path): [planned.id]}


def of_model(folder: Path) -> tuple[Trial, dict[str, Any]]:
    """A trial of the weights in a folder, and its row, as of a while ago: the clock of a file system is coarse."""
    planned = make_trial({"model": str(folder), "dataset": "toy", "tuning_method": "zero_shot"})
    started = datetime.now(UTC) - timedelta(seconds=1)
    return planned, {
        "id": planned.id,
        "model_resolved_revision": weights_revision(folder),
        "started_at": started,
    }


def test_weights_that_were_replaced_are_noticed_and_the_same_ones_written_anew_are_not(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    planned, row = of_model(tmp_path)
    assert other_weights([planned], lambda: [row]) == {}
    weights.write_bytes(b"one")
    assert other_weights([planned], lambda: [row]) == {}
    weights.write_bytes(b"two")
    os.utime(weights, (0, 0))  # as of a copy that kept its time stamp
    assert other_weights([planned], lambda: [row]) == {str(tmp_path): [planned.id]}


def test_a_link_that_points_to_other_weights_is_noticed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text(name)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "one")
    planned, row = of_model(link)
    time.sleep(0.02)
    row["started_at"] = datetime.now(UTC)
    time.sleep(0.02)
    assert other_weights([planned], lambda: [row]) == {}
    link.unlink()
    link.symlink_to(tmp_path / "two")
    assert other_weights([planned], lambda: [row]) == {str(link): [planned.id]}


def test_weights_that_nobody_touched_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    planned, row = of_model(tmp_path)
    monkeypatch.setattr("raypeft.trial.stale.weights_revision", lambda source: "sha256:other")
    row["started_at"] += timedelta(seconds=2)
    assert other_weights([planned], lambda: [row]) == {}


def test_weights_that_are_gone_or_come_with_raypeft_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    planned, row = of_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert other_weights([planned], lambda: [row]) == {}
    toy = make_trial({"model": "toy", "dataset": "toy", "tuning_method": "zero_shot"})
    assert other_weights([toy], lambda: [{"id": toy.id, "model_resolved_revision": "sha256:0"}]) == {}
