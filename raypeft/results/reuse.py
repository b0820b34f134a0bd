"""Finished trials of other sweeps, taken over instead of being run again.

    taken = take_over(store, {"rq2": "results/rq2"}, [trial.id for trial in missing], gpu_memory_gb=24)

A trial's id is a hash of its fields, so the same id in another sweep's results is the same trial. Its rows are copied.
The column `sweep` still names the sweep that ran it, and its adapter stays in that sweep's folder.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from raypeft.gpu import SMALLER
from raypeft.results.completeness import NAMES, leave_out
from raypeft.results.statuses import STATUSES
from raypeft.results.store import ResultStore


def counts_here(row: Mapping[str, Any], gpu_memory_gb: float) -> bool:
    """Whether another sweep's row is a result of a sweep too whose trials may use so much GPU memory, in GiB.

    A trial that ran out of less memory may fit.
    """
    if row["status"] == "oom" and (row.get("gpu_memory_gb") or 0.0) < SMALLER * gpu_memory_gb:
        return False
    return row["status"] in STATUSES and STATUSES[row["status"]].is_finished


def take_over(
    store: ResultStore, others: Mapping[str, str], ids: Collection[str], gpu_memory_gb: float
) -> dict[str, str]:
    """Copy the rows of the trials `ids` that another sweep has finished; returns trial id -> the sweep's name.

    `others` are names of sweeps and the URLs of their results; the first that has a trial gives it. A trial that ran
    out of memory is taken where it had as much as it would have here, `gpu_memory_gb` in GiB. A sweep without results
    gives none. Raises ValueError for a file that cannot be read.
    """
    taken: dict[str, str] = {}
    lacking: dict[str, list[str]] = {}
    for name, url in others.items():
        try:
            other = ResultStore.existing(url, {})
        except FileNotFoundError:
            continue
        rows_of = {table: other.by_trial(table) for table in store.schemas}
        for trial_id in sorted(other.finished() & set(ids) - taken.keys()):
            if not all(counts_here(row, gpu_memory_gb) for row in rows_of["trials"](trial_id)):
                continue
            # The row of the trial comes last: it is what makes the trial count as finished.
            for table in sorted(store.schemas, key=lambda each: each == "trials"):
                if rows := rows_of[table](trial_id):
                    names = store.schemas[table].names
                    known = [{key: value for key, value in row.items() if key in names} for row in rows]
                    store.write_rows(table, trial_id, known)
                    if table == "trials":
                        taken[trial_id] = name
                else:
                    lacking.setdefault(table, []).append(trial_id)
    # What a sweep has without a file there is taken over without one.
    leave_out(store, {table: lacking[table] for table in NAMES if table in lacking})
    return taken
