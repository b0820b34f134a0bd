"""Finds finished trials whose data or weights have changed since: their rows belong to others than a rerun would have.

other_data(trials, store.read_rows)       # {"/data/conala": ["61da8be3c4", ...]}
other_weights(trials, store.read_rows)    # {"/models/tuned": ["61da8be3c4", ...]}
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from raypeft.data import is_here
from raypeft.data.declared.mix import MixedData
from raypeft.data.revision import splits_revision
from raypeft.models.folders import weights_changed_at, weights_revision
from raypeft.models.table import MODELS
from raypeft.study.config import Trial
from raypeft.trial.examples import loaded

ReadRows = Callable[[], Iterable[Mapping[str, Any]]]


def other_data(trials: Iterable[Trial], read_rows: ReadRows) -> dict[str, list[str]]:
    """By folder or file, the ids of finished trials that loaded other examples from it than are there now.

    Only data on this machine is read again. A declared dataset needs no check, since its content is a part of the id.
    """
    local = [(trial, paths) for trial in trials if (paths := _paths(trial))]
    if not local:
        return {}  # without reading a row
    used = {row["id"]: row.get("dataset_resolved_revision") for row in read_rows()}
    revisions: dict[tuple[Any, ...], str] = {}
    found: dict[str, list[str]] = {}
    for trial, paths in local:
        if not used.get(trial.id):
            continue
        key = trial.data_name, *paths
        if key not in revisions:
            try:
                revisions[key] = splits_revision(loaded(trial))
            except (OSError, ValueError):
                revisions[key] = ""  # gone or broken: a trial that needs it says so
        if revisions[key] and revisions[key] != used[trial.id]:
            found.setdefault(" or ".join(paths), []).append(trial.id)
    return found


def _paths(trial: Trial) -> tuple[str, ...]:
    """Where a trial's data is on this machine; empty where some of it is elsewhere."""
    sides: list[Any] = [(trial.data, trial.declared, trial.dataset_path)]
    if trial.test_dataset:
        sides.append((trial.test_data, trial.test_declared, trial.test_dataset_path))
    if not all(is_here(*side) for side in sides):
        return ()
    mixed = trial.declared.paths if isinstance(trial.declared, MixedData) else []
    return (*mixed, *(path for *_, path in sides if path and path not in mixed))


def other_weights(trials: Iterable[Trial], read_rows: ReadRows) -> dict[str, list[str]]:
    """By folder or file, the ids of finished trials that loaded other weights from it than are there now.

    Only weights on this machine are looked at, and read only if their files have changed since a trial began.
    """
    places: dict[str, list[str]] = {}
    for trial in trials:
        # What a name of the table stands for comes with raypeft, or from the hub.
        if place := trial.model_path or ("" if trial.model in MODELS else trial.model):
            places.setdefault(place, []).append(trial.id)
    here = {place: ids for place, ids in places.items() if Path(place).expanduser().exists()}
    rows = {row["id"]: row for row in read_rows() if row.get("model_resolved_revision")} if here else {}
    found = {}
    for place, ids in here.items():
        if other := _of_other_weights(Path(place).expanduser(), [rows[each] for each in ids if each in rows]):
            found[place] = other
    return found


def _of_other_weights(source: Path, rows: list[Mapping[str, Any]]) -> list[str]:
    """The ids of the rows whose trials loaded other weights than are there now."""
    try:
        changed = weights_changed_at(source)
        began = [row["started_at"].timestamp() if row.get("started_at") else 0.0 for row in rows]
        later = [row for row, start in zip(rows, began, strict=True) if start < changed]
        revision = weights_revision(source) if later else ""
    except OSError:
        return []  # gone or broken: a trial that needs them says so
    return [row["id"] for row in later if row["model_resolved_revision"] != revision]
