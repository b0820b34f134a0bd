"""`run_trial`: the training function covering every tuning method, and the command that runs one trial without Ray.

    python -m raypeft.trial sweeps/quickstart.yaml --index 3

Load, tune, pick shots, decode, score, record. A sweep runs the same function in Ray Tune's processes.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from raypeft import machine
from raypeft.data import DATASETS
from raypeft.methods import TrainedMethod
from raypeft.metrics.scores import score, score_tests
from raypeft.models.loading import BaseCache
from raypeft.prompting.shots import pick_shots, prompt_columns
from raypeft.records import Report, report_nothing
from raypeft.results.store import ResultStore
from raypeft.retrieval.duplicates import exact_duplicates
from raypeft.services.local import LocalServices
from raypeft.services.protocol import Services
from raypeft.study import memory
from raypeft.study.config import Resources, RunOptions, Trial
from raypeft.study.plan import parameter_counts
from raypeft.trial import stages
from raypeft.trial.provenance import provenance
from raypeft.trial.tests import CandidateTests


@dataclass(slots=True)
class Stopwatch:
    """Seconds in each stage of a trial, as the row's columns."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[f"{name}_seconds"] = time.perf_counter() - started


def run_and_record(
    trial: Trial,
    sweep: str,
    store: ResultStore,
    bases: BaseCache,
    resources: Resources,
    report: Report = report_nothing,
    options: RunOptions = RunOptions(),  # noqa: B008 - frozen
    services: Services | None = None,
) -> dict[str, Any]:
    """Run a trial, write its row whatever happens, and return it: ok, oom, infeasible or failed.

    `services` are what the trials of a sweep share; None: this process's own.
    On a GPU a trial that is predicted not to fit its budget is recorded as infeasible and not run, unless forced.
    Raises for no fault of a trial.
    """
    row = {"id": trial.id, "sweep": sweep, **trial.fields, "status": "ok", "error": None, **provenance()}
    row |= parameter_counts(trial)
    meter = machine.Meter()
    started = time.perf_counter()
    try:
        card_gb = machine.card_gb()
        resources = memory.on_card(resources, card_gb)
        prediction = memory.predict(trial, resources)
        row["predicted_peak_memory_gb"] = prediction.peak_gb if prediction else None
        if too_large := memory.refusal(prediction, resources) if card_gb and not options.force else None:
            row |= {"status": "infeasible", "error": too_large}
        else:
            row |= run_trial(trial, bases, store, resources, report, meter, services, options, prediction)
    except Exception as error:
        row["status"] = "oom" if machine.is_out_of_memory(error) else "failed"
        row["error"] = f"{type(error).__name__}: {error}"
        traceback.print_exc()  # to the process's log; the row has the message
        bases.drop()  # whatever state the failure left, the next trial starts from a fresh load
    row |= {"total_seconds": time.perf_counter() - started, **meter.columns()}
    row["gpu_memory_gb"] = resources.gpu_memory_gb if machine.has_gpu() else None
    # Only now: while an exception is handled, its traceback holds the frames that hold the tensors.
    machine.free_memory()
    store.write_rows("trials", trial.id, [row])
    return row


def run_trial(
    trial: Trial,
    bases: BaseCache,
    store: ResultStore,
    resources: Resources,
    report: Report = report_nothing,
    meter: machine.Meter | None = None,
    services: Services | None = None,
    options: RunOptions = RunOptions(),  # noqa: B008 - frozen
    prediction: memory.Prediction | None = None,
) -> dict[str, Any]:
    """Everything a trial measures, by column; candidates, evaluations, tests and the adapter go to the store.

    `prediction` says how to stay within the GPU's memory. Raises ValueError for what only the data can show (missing
    columns, a prompt longer than the context, ...) and SandboxUnavailable where tests cannot be run safely.
    """
    import torch

    meter = meter or machine.Meter()
    services = services or LocalServices()
    dataset, method, watch = DATASETS[trial.dataset], trial.method, Stopwatch()
    with watch.stage("load"), meter.stage("load"):
        report("load", 0, 1)
        splits, measured = stages.load(trial, dataset)
        base = bases.get(*trial.base_key)
        measured |= {"model_notes": base.notes, "model_resolved_revision": base.revision}
    # Before training: what fails here would fail after it.
    with watch.stage("retrieve"):
        report("retrieve", 0, 1)
        shots = pick_shots(method, splits["train"], splits["test"], services)
    runs_tests = dataset.is_tested and not options.generate_only
    tests = CandidateTests(services, options.sandbox.settings) if runs_tests else None
    # Only a GPU has a budget to keep; elsewhere batches stay as asked and activations are kept.
    planned = prediction if machine.has_gpu() else None
    torch.manual_seed(trial.seed)
    with method.applied(base) as model, tests or nullcontext():
        measured |= stages.counted_params(model)
        if isinstance(method, TrainedMethod):
            with meter.stage("train"):
                measured |= stages.tune(trial, method, model, base, splits, planned, store, report)
        with watch.stage("generate"), meter.stage("generate"):
            batch_size = planned.generation_batch_size if planned else resources.generation_batch_size
            queries, candidates = stages.answer(trial, model, base, splits, shots, batch_size, store, report, tests)
        if tests is not None:
            with watch.stage("test"):
                test_rows = tests.rows(trial.id, report)
            store.write_rows("tests", trial.id, test_rows)
    with watch.stage("score"):
        report("score", 0, 1)
        if options.generate_only:
            measured |= {"status": "generated", "error": "not scored yet: raypeft score does it"}
        elif tests is not None:
            measured |= score_tests(test_rows, dataset.levels) | tests.columns
        else:
            measured |= score(candidates, [query.example.code for query in queries], dataset, method.trains)
    if not shots.columns:
        del watch.seconds["retrieve_seconds"]  # nothing was retrieved
    return measured | watch.seconds | {
        **prompt_columns(queries),
        **shots.columns,
        "exact_duplicates": exact_duplicates(splits["train"], splits["test"]),
        "generate_examples_per_second": len(queries) / watch.seconds["generate_seconds"],
    }  # fmt: skip
