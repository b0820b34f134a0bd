"""One trial of a results folder, as a command names it.

row = chosen(store.read_rows(), "61da8", "results/rq2")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from raypeft.mistakes import nearest

Row = Mapping[str, Any]


def chosen(rows: Iterable[Row], trial_id: str, place: str) -> Row:
    """The row of a trial, by its id or the beginning of it. Raises ValueError where no trial or several have it."""
    by_id = {row["id"]: row for row in rows}
    found = [row for each, row in by_id.items() if each.startswith(trial_id)]
    if len(found) != 1:
        known = ", ".join(list(by_id)[:8]) + (" ..." if len(by_id) > 8 else "")
        what = "several have it" if found else f"none has it{nearest(trial_id, by_id)}"
        raise ValueError(f"--trial must be the id of one trial of {place} ({known}) but got {trial_id}: {what}")
    return found[0]
