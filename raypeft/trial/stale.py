"""Finds finished trials whose data has changed since: their rows belong to other data than a rerun would have.

other_data(trials, store.read_rows)       # {"/data/conala": ["61da8be3c4", ...]}
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from raypeft.data import is_here
from raypeft.data.declared.mix import MixedData
from raypeft.data.revision import splits_revision
from raypeft.study.config import Trial
from raypeft.trial.examples import loaded


def other_data(trials: Iterable[Trial], read_rows: Callable[[], Iterable[Mapping[str, Any]]]) -> dict[str, list[str]]:
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
