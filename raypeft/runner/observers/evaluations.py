"""Keeps each evaluation in the store as it comes, so that a trial that is killed keeps its loss curve."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from typing import Any

from raypeft.events import Evaluated, Event
from raypeft.results.store import ResultStore
from raypeft.runner.observers import Observer


class EvaluationWriter(Observer):
    """Writes the table `evals` of each trial anew at every evaluation: it has a few dozen rows."""

    def __init__(self, store: ResultStore) -> None:
        self.store = store
        self.rows: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def hear(self, trial_id: str, event: Event) -> None:
        if isinstance(event, Evaluated):
            self.rows[trial_id].append({"id": trial_id, **asdict(event)})
            self.store.write_rows("evals", trial_id, self.rows[trial_id])
