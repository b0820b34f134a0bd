"""Finds finished trials whose data has changed since: their rows belong to other data than a rerun would have.

other_data(trials, store.read_rows)       # {"/data/conala": ["61da8be3c4", ...]}
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from raypeft.data.revision import splits_revision
from raypeft.study.config import Trial


def other_data(trials: Iterable[Trial], read_rows: Callable[[], Iterable[Mapping[str, Any]]]) -> dict[str, list[str]]:
    """By folder or file, the ids of finished trials that loaded other examples from it than are there now.

    Only data on this machine is read again. A declared dataset needs no check, since its content is a part of the id.
    """
    local = [trial for trial in trials if not trial.declared and trial.dataset_path and "://" not in trial.dataset_path]
    if not local:
        return {}  # without reading a row
    used = {row["id"]: row.get("dataset_resolved_revision") for row in read_rows()}
    revisions: dict[tuple[str, str], str] = {}
    found: dict[str, list[str]] = {}
    for trial in local:
        path = trial.dataset_path
        if path is None or not used.get(trial.id):
            continue
        key = trial.dataset, path
        if key not in revisions:
            try:
                revisions[key] = splits_revision(trial.data.load(path, trial.dataset_revision))
            except (OSError, ValueError):
                revisions[key] = ""  # gone or broken: a trial that needs it says so
        if revisions[key] and revisions[key] != used[trial.id]:
            found.setdefault(path, []).append(trial.id)
    return found
