"""MLflow: an experiment for each sweep, a run for each trial.

The server is that of MLFLOW_TRACKING_URI, with its credentials in MLflow's own variables; without it, MLflow writes
into its local store. `mlflow-skinny` is enough to report to a server.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from raypeft.results.statuses import is_fault
from raypeft.runner.observers.trackers.backend import ReportedSweep, Run

GOES_ON = ("lost", "pruned")
"""Statuses of trials that may go on from a checkpoint. A trial with another one is run from its start, in a new run."""
LONGEST = 500
"""Characters of a parameter, as in MLflow's own limit."""
AT_ONCE = 100
"""Parameters in one request, as in MLflow's own limit."""


class MLflow:
    def __init__(self, sweep: ReportedSweep, say: Callable[[str], None]) -> None:
        # By itself it would try a server that is away for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow.tracking import MlflowClient

        self.sweep, self.client = sweep, MlflowClient()
        found = self.client.get_experiment_by_name(sweep.name)
        self.experiment = found.experiment_id if found else self.client.create_experiment(sweep.name)
        self.logged: dict[str, dict[str, int]] = {}
        """Trial -> metric -> the last step that an earlier command logged: MLflow would keep a point twice."""

    def begin(self, run: Run) -> None:
        own = self.sweep.run_id(run.trial)
        found = self.client.search_runs(
            [self.experiment], f"tags.`raypeft.run` = '{own}'", max_results=1, order_by=["attributes.start_time DESC"]
        )
        if found and found[0].data.tags.get("raypeft.status", GOES_ON[0]) in GOES_ON:
            self._go_on(run, found[0])
            return
        from mlflow.entities import Param

        links = {f"raypeft.{name}": url for name, url in self.sweep.links.items()}
        tags = {"raypeft.run": own, "raypeft.trial": run.trial, "mlflow.note.content": self.sweep.note, **links}
        made = self.client.create_run(self.experiment, tags=tags, run_name=f"{run.label} {run.trial}")
        run.handle = made.info.run_id
        params = [Param(name, str(value)[:LONGEST]) for name, value in run.params.items()]
        for first in range(0, len(params), AT_ONCE):
            self.client.log_batch(run.handle, params=params[first : first + AT_ONCE])

    def _go_on(self, run: Run, found: Any) -> None:
        run.handle = found.info.run_id
        self.client.update_run(run.handle, "RUNNING")
        if "raypeft.status" in found.data.tags:
            self.client.delete_tag(run.handle, "raypeft.status")
        self.logged[run.trial] = {
            name: max(point.step for point in self.client.get_metric_history(run.handle, name))
            for name in found.data.metrics
            if not name.startswith("result/")
        }

    def log(self, run: Run, step: int, values: Mapping[str, float]) -> None:
        logged = self.logged.get(run.trial, {})
        self._log(run, step, {name: value for name, value in values.items() if step > logged.get(name, -1)})

    def _log(self, run: Run, step: int, values: Mapping[str, float], tags: Mapping[str, str] | None = None) -> None:
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        if metrics or tags:
            self.client.log_batch(run.handle, metrics, tags=[RunTag(*each) for each in (tags or {}).items()])

    def end(self, run: Run, status: str, scores: Mapping[str, float]) -> None:
        results = {f"result/{name}": value for name, value in scores.items()}
        self._log(run, run.step, results, {"raypeft.status": status})
        self.client.set_terminated(run.handle, in_its_words(status))

    def interrupt(self, run: Run) -> None:
        self.client.set_terminated(run.handle, "KILLED")

    def close(self) -> None:
        """Nothing: each run is ended by itself."""


BACKEND = MLflow


def in_its_words(status: str) -> str:
    """A trial's status as MLflow names it."""
    if status in GOES_ON:
        return "KILLED"
    return "FAILED" if is_fault(status) else "FINISHED"
