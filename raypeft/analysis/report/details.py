"""Everything that is known of single trials, for the page's drill-down: all columns, and the learning curve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from raypeft.analysis.report.study import Study
from raypeft.analysis.settings import labels

MOST_TEXT = 600
"""Characters of a text column that are shown."""
MOST_EVALUATIONS = 100_000


def trial_details(study: Study) -> dict[str, Any]:
    """All columns of all trials: those that all trials share once, the others by trial.

    `{"shared": {column: value}, "columns": [...], "units": {...}, "rows": {id: [...]}, "labels": {id: name}}`
    """
    rows = study.rows
    names = [name for name in dict.fromkeys(name for row in rows for name in row)
             if any(row.get(name) is not None for row in rows)]  # fmt: skip
    shown = {row["id"]: {name: plain(row.get(name)) for name in names} for row in rows}
    shared, columns = {}, []
    for name in names:
        values = [each[name] for each in shown.values()]
        if len(rows) > 1 and all(value == values[0] for value in values):
            shared[name] = values[0]
        elif name != "id":
            columns.append(name)
    named = labels(rows, study.declared) if rows else []
    return {
        "shared": shared,
        "columns": columns,
        "rows": {trial: [each[name] for name in columns] for trial, each in shown.items()},
        "labels": {row["id"]: name for row, name in zip(rows, named, strict=True)},
    }


def evaluations(study: Study) -> dict[str, list[list[Any]]]:
    """Trial id -> its evaluations as [step, epoch, training loss, validation loss]."""
    found: dict[str, list[list[Any]]] = {}
    left = MOST_EVALUATIONS
    for trial, rows in study.evaluations.items():
        left -= len(rows)
        if left >= 0:
            found[trial] = [[plain(row[name]) for name in ("step", "epoch", "train_loss", "eval_loss")] for row in rows]
    return found


def plain(value: Any) -> Any:
    """A value as JSON has it. What is no finite number becomes a text; long texts are cut."""
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, str):
        return value if len(value) <= MOST_TEXT else f"{value[:MOST_TEXT]} … ({len(value):,} characters)"
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value
