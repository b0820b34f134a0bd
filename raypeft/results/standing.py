"""Which trials of a plan still have to run, by the rows that stand in the folder.

standing = look_at(store)
standing.to_run([trial.id for trial in trials], retry={"failed"})
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs

from raypeft.results.attempts import is_final, publish, unpublished, version
from raypeft.results.gathered import gathered
from raypeft.results.leases import holder
from raypeft.results.statuses import STATUSES, is_settled
from raypeft.results.store import TOGETHER, ResultStore

COLUMNS = ("id", "status", "started_at", "sweep", "decode", "best_eval_loss", "kept")


@dataclass(frozen=True, slots=True)
class Standing:
    """The rows of a folder, and what is missing beside them."""

    rows: Mapping[str, Mapping[str, Any]]
    """Trial id -> some columns of its row (`COLUMNS`)."""
    incomplete: Mapping[str, str]
    """Trial id -> what its row says that there is but is not there, such as its adapter."""

    @property
    def versions(self) -> dict[str, str]:
        """Trial id -> which row stands."""
        return {trial: version(row) for trial, row in self.rows.items()}

    def to_run(self, ids: Iterable[str], retry: Collection[str] = (), rerun: bool = False) -> list[str]:
        """The trials that have to run: those without a row, or with one that is not to last, or that is incomplete.

        `retry` are statuses whose trials run again; with `rerun` all do.
        """
        return [each for each in ids if rerun or self._is_open(each, retry)]

    def _is_open(self, trial_id: str, retry: Collection[str]) -> bool:
        row = self.rows.get(trial_id)
        if row is None or trial_id in self.incomplete or row["status"] in retry:
            return True
        return not is_settled(row["status"])

    def pruned(self, ids: Iterable[str]) -> list[str]:
        """Those of these trials that were stopped early."""
        stopped = set(self.with_status("pruned"))
        return [each for each in ids if each in stopped]

    def with_status(self, status: str) -> list[str]:
        """The trials whose row has a status."""
        return [trial for trial, row in self.rows.items() if row["status"] == status]

    def count(self, ids: Iterable[str], status: str) -> int:
        """How many of these trials have a status."""
        return sum(each in self.rows and self.rows[each]["status"] == status for each in ids)


def look_at(store: ResultStore) -> Standing:
    """What stands in a folder. What a killed command left unpublished is published first."""
    for trial in unpublished(store):
        lease = holder(store, trial)
        if lease is None or lease.is_dead:
            publish(store, trial)
    every = gathered(store, "trials")
    rows = {row["id"]: row for row in (every.rows(COLUMNS) if every else store.read_rows())}
    return Standing(rows, dict(_incomplete(store, rows)))


def _incomplete(store: ResultStore, rows: Mapping[str, Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    """Trials with a result whose files are missing.

    A table without any file was left out of the folder on purpose, as in results that are published.
    """
    candidates, evaluations = _names(store, "candidates"), _names(store, "evals")
    selector = pyarrow.fs.FileSelector(f"{store.root}/adapters", allow_not_found=True)
    adapters = {info.base_name for info in store.filesystem.get_file_info(selector)}
    sweep = Path(store.root).name
    for trial, row in rows.items():
        if not is_final(row):
            continue
        has_answers = STATUSES[row["status"]].has_answers and row.get("decode") is not False
        if candidates and has_answers and trial not in candidates:
            yield trial, "candidates"
        elif evaluations and row.get("best_eval_loss") is not None and trial not in evaluations:
            yield trial, "evaluations"
        # The adapter of a trial that was taken over stays with the sweep that ran it.
        elif (
            adapters and row.get("kept") == f"adapters/{trial}" and row.get("sweep") == sweep and trial not in adapters
        ):
            yield trial, "adapter"


def _names(store: ResultStore, table: str) -> Collection[str]:
    """The trials that have a file in a table; none where all have, or may have, one."""
    found = {info.base_name.removesuffix(".parquet") for info in store.infos(table)}
    return () if TOGETHER in found else found
