"""MLflow: an experiment for each sweep, a run for each trial.

The server is that of MLFLOW_TRACKING_URI, with its credentials in MLflow's own variables; without it, MLflow writes
into its local store. `mlflow-skinny` is enough to report to a server.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from raypeft.runner.observers.trackers.backend import Run, Study

STATUS = {"ok": "FINISHED", "pruned": "KILLED"}
"""A trial's status in MLflow's words; FAILED for all others."""
LONGEST = 500
"""Characters of a parameter, as in MLflow's own limit."""


class MLflow:
    def __init__(self, study: Study) -> None:
        # By itself it would try a server that is away for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow.tracking import MlflowClient

        self.study, self.client = study, MlflowClient()
        found = self.client.get_experiment_by_name(study.name)
        self.experiment = found.experiment_id if found else self.client.create_experiment(study.name)

    def begin(self, run: Run) -> None:
        own = self.study.run_id(run.trial)
        found = self.client.search_runs([self.experiment], f"tags.`raypeft.run` = '{own}'", max_results=1)
        if found:
            run.handle = found[0].info.run_id
            self.client.update_run(run.handle, "RUNNING")
            return
        tags = {"raypeft.run": own, "raypeft.trial": run.trial, "raypeft.results": self.study.place}
        made = self.client.create_run(self.experiment, tags=tags, run_name=f"{run.label} {run.trial}")
        run.handle = made.info.run_id
        for name, value in run.params.items():
            self.client.log_param(run.handle, name, str(value)[:LONGEST])

    def log(self, run: Run, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.client.log_metric(run.handle, name, value, step=step)

    def end(self, run: Run, status: str, scores: Mapping[str, float]) -> None:
        self.log(run, run.step, {f"result/{name}": value for name, value in scores.items()})
        self.client.set_tag(run.handle, "raypeft.status", status)
        self.client.set_terminated(run.handle, STATUS.get(status, "FAILED"))

    def close(self) -> None:
        """Nothing: a run that goes on later stays open."""
