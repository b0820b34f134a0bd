"""The Ray Tune run over a sweep's trials.

A Tune trial is one raypeft trial. `reuse_actors` keeps a trial's process for the next one of equal resources, so
imports and, for trials of one model, the loaded base are paid once (0.02 s between two trials against 5 to 7 s).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from raypeft.analysis.report import headline_scores
from raypeft.machine import enforce_budget, use_threads
from raypeft.models.loading import BaseCache
from raypeft.results.store import ResultStore
from raypeft.runner.observers.progress import ProgressView
from raypeft.runner.session import trial_resources
from raypeft.services.cluster import ClusterServices
from raypeft.study.config import Resources, RunOptions, Trial
from raypeft.trial.columns import tables
from raypeft.trial.run import run_and_record

REPORT_INTERVAL = 0.5
"""Seconds between two progress reports of a trial."""

SERVICES = ClusterServices()
"""The handles to what trials share that this worker process holds."""

BASES = BaseCache()
"""The base model that this worker process holds from one trial to the next."""


def tune_trials(
    trials: Sequence[Trial],
    sweep: str,
    results: str,
    resources: Resources,
    view: ProgressView,
    verbose: bool = False,
    options: RunOptions = RunOptions(),  # noqa: B008 - frozen
) -> None:
    """Run every trial under Ray Tune, each in the order given as resources come free. Each writes its own row."""
    settings = {
        "sweep": sweep,
        "results": results,
        "resources": resources.model_dump(),
        "folder": str(Path.cwd()),
        "options": options.model_dump(),
    }
    space = {**settings, "trial": tune.grid_search([trial.model_dump() for trial in trials])}
    with tempfile.TemporaryDirectory(prefix="raypeft-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(run_tune_trial, trial_resources(resources)),
            param_space=space,
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=scratch,  # Tune's own bookkeeping; the results are elsewhere
                verbose=2 if verbose else 0,
                callbacks=[Watcher(view, sweep, ResultStore(results, tables()))],
            ),
        )
        tuner.fit()


def run_tune_trial(settings: dict[str, Any]) -> None:
    """The function that Ray Tune runs in a worker process: one trial, from settings to its row in the store."""
    if Path(settings["folder"]).is_dir():
        os.chdir(settings["folder"])
    trial = Trial.model_validate(settings["trial"])
    resources = Resources.model_validate(settings["resources"])
    options = RunOptions.model_validate(settings["options"])
    use_threads(resources.cpus_per_trial)
    SERVICES.sandbox_workers = options.sandbox.workers
    enforce_budget(resources.gpu_memory_gb)
    store = ResultStore(settings["results"], tables())
    said, last = "", time.monotonic()

    def report(stage: str, done: int, total: int, **figures: float) -> None:
        nonlocal said, last
        if stage != said or time.monotonic() - last >= REPORT_INTERVAL:
            said, last = stage, time.monotonic()
            tune.report({"stage": stage, "done_count": done, "total_count": total, "figures": figures})

    row = run_and_record(trial, settings["sweep"], store, BASES, resources, report, options, SERVICES)
    scores = {name: row.get(name) for name in ("status", "error", *(score.name for score in headline_scores()))}
    tune.report({"row": scores})


class Watcher(tune.Callback):
    """Passes what Tune hears to the view, and writes the row of a trial whose process died."""

    def __init__(self, view: ProgressView, sweep: str, store: ResultStore) -> None:
        self.view, self.sweep, self.store = view, sweep, store

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks to resume an experiment; a sweep resumes from its rows instead.
        return {}

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **_: Any) -> None:
        ours = Trial.model_validate(trial.config["trial"])
        self.view.start(ours.id, ours.label)

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **_: Any
    ) -> None:
        ours = Trial.model_validate(trial.config["trial"])
        if "row" in result:
            self.view.finish(ours.id, result["row"])
        elif "stage" in result:
            self.view.update(ours.id, result["stage"], result["done_count"], result["total_count"], result["figures"])

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **_: Any) -> None:
        # A trial's own exceptions are rows already; here its whole process is gone.
        ours = Trial.model_validate(trial.config["trial"])
        row = {
            "id": ours.id,
            "sweep": self.sweep,
            **ours.fields,
            "status": "failed",
            "error": "the trial's process died before it could record anything; most often the machine ran out of "
            "memory. Run it alone to see why: python -m raypeft.trial SWEEP --index N",
        }
        self.store.write_rows("trials", ours.id, [row])
        self.view.finish(ours.id, row)
