"""Finished trials whose data has changed since."""

import json
from pathlib import Path
from typing import Any

from raypeft.data.revision import splits_revision
from raypeft.study.config import Trial
from raypeft.study.trials import make_trial
from raypeft.trial.examples import loaded
from raypeft.trial.stale import other_data


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
