"""Which trials of a plan still have to run, by the rows that stand in the folder.

standing = look_at(store)
standing.to_run([trial.id for trial in trials], retry={"failed"})
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from raypeft.results.attempts import publish, unpublished, version
from raypeft.results.completeness import incomplete, standing_rows
from raypeft.results.leases import holder
from raypeft.results.statuses import is_settled
from raypeft.results.store import ResultStore


@dataclass(frozen=True, slots=True)
class Standing:
    """The rows of a folder, and what is missing beside them."""

    rows: Mapping[str, Mapping[str, Any]]
    """Trial id -> some columns of its row (`raypeft.results.completeness`)."""
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
    rows, manifest = standing_rows(store), store.read_manifest()
    # Of several files that a trial lacks, the first is named.
    lacking = list(incomplete(store, rows, manifest.left_out if manifest else None))
    return Standing(rows, dict(reversed(lacking)))
