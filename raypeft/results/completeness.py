"""What a finished trial must have beside its row, and what a folder leaves out on purpose.

    absent = absent_tables("results/rq2")          # before the folders of a sweep are made
    note_left_out(store, absent)
    dict(incomplete(store, rows, manifest.left_out))     # {"61da8be3c4": "candidates"}

Results that are shared or committed often come without candidates or adapters. There the table's folder is missing, or
the manifest does not tell yet. When a sweep goes on from such results, the manifest notes whose files are not missed
(`left_out`). From then on every file of every other trial is missed where it is not there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from raypeft.results.attempts import is_final
from raypeft.results.files import Folder
from raypeft.results.gathered import gathered
from raypeft.results.statuses import STATUSES
from raypeft.results.store import TOGETHER, ResultStore

Row = Mapping[str, Any]
LeftOut = Mapping[str, Collection[str]]
"""Table -> ids of the trials whose files there are not missed."""
NAMES = {"candidates": "candidates", "evals": "evaluations", "adapters": "adapter"}
"""Table or folder -> what people call a trial's part of it."""
COLUMNS = ("id", "status", "started_at", "sweep", "decode", "best_eval_loss", "kept")


def standing_rows(store: ResultStore) -> dict[str, Row]:
    """Trial id -> some columns of its row (`COLUMNS`)."""
    every = gathered(store, "trials")
    return {row["id"]: row for row in (every.rows(COLUMNS) if every else store.read_rows())}


def incomplete(store: ResultStore, rows: Mapping[str, Row], left_out: LeftOut | None) -> Iterator[tuple[str, str]]:
    """Trials with a result that lacks a file, and what it is. Without `left_out`, a table without any file was left
    out on purpose.
    """
    there = {table: _trials_in(store, table) for table in NAMES}
    if left_out is None:
        there = {table: found or None for table, found in there.items()}
    for trial, table in _demanded(rows, Path(store.root).name):
        found = there[table]
        if found is not None and trial not in found and trial not in (left_out or {}).get(table, ()):
            yield trial, NAMES[table]


def _demanded(rows: Mapping[str, Row], sweep: str) -> Iterator[tuple[str, str]]:
    """What results must have: trial and table."""
    for trial, row in rows.items():
        if not is_final(row):
            continue
        if STATUSES[row["status"]].has_answers and row.get("decode") is not False:
            yield trial, "candidates"
        if row.get("best_eval_loss") is not None:
            yield trial, "evals"
        # The adapter of a trial that was taken over stays with the sweep that ran it.
        if row.get("kept") == f"adapters/{trial}" and row.get("sweep") == sweep:
            yield trial, "adapters"


def _trials_in(store: ResultStore, table: str) -> Collection[str] | None:
    """The trials that have a file in a table; None where all have, or may have, one."""
    found = {name.rpartition("/")[2].removesuffix(".parquet") for name in store.names(table)}
    return None if TOGETHER in found else found


def absent_tables(url: str) -> list[str]:
    """The tables that have no folder in the results at `url`."""
    folder = Folder(url)
    return [table for table in NAMES if not folder.exists(table)]


def note_left_out(store: ResultStore, absent: Iterable[str]) -> None:
    """Note in the manifest that finished trials have no files in tables whose folders were `absent`; also in those that
    are empty, where the manifest has no such note yet.
    """
    manifest = store.read_manifest()
    if manifest is None:
        return
    lacking = list(absent) if manifest.left_out is not None else [table for table in NAMES if not store.names(table)]
    demanded = list(_demanded(standing_rows(store), Path(store.root).name)) if lacking else []
    leave_out(store, {table: [trial for trial, each in demanded if each == table] for table in lacking})


def leave_out(store: ResultStore, more: LeftOut) -> None:
    """Add trials to those whose files are not missed in some tables. A folder without a manifest stays as it is."""
    manifest = store.read_manifest()
    if manifest is None:
        return
    known = manifest.left_out or {}
    merged = {table: sorted({*known.get(table, ()), *more.get(table, ())}) for table in {**known, **more}}
    found = {table: trials for table, trials in merged.items() if trials}
    if found != manifest.left_out:
        store.write_manifest(replace(manifest, left_out=found))
