"""`run_trial`: the training function covering every tuning method, and its row, whatever happens.

    row = run_and_record(TrialContext(trial, "quickstart", store))

Load, tune, pick shots, decode, score, record. A sweep runs the same function in Ray Tune's processes.
"""

from __future__ import annotations

import sys
import time
import traceback
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import torch

from raypeft import gpu
from raypeft.events import Finished, Pruned, Started
from raypeft.methods import TrainedMethod
from raypeft.metrics.scoring import level_columns
from raypeft.models.loading import Base
from raypeft.prompting.shots import Shots, pick_shots, prompt_columns
from raypeft.records import Candidate, Prompt, Splits
from raypeft.results import places
from raypeft.results.schema import schema_of
from raypeft.retrieval.duplicates import exact_duplicates
from raypeft.secrets import hidden_in_message
from raypeft.study import memory
from raypeft.study.plan import parameter_counts
from raypeft.trial import examples
from raypeft.trial.answer import (
    answer,
    ask,
    candidate_columns,
    candidate_rows,
    lost_references,
    path_columns,
    with_room_for_answers,
)
from raypeft.trial.checkpoints import drop_checkpoints
from raypeft.trial.columns import tables
from raypeft.trial.context import TrialContext
from raypeft.trial.encoders import check_form
from raypeft.trial.parts import Verdicts
from raypeft.trial.provenance import provenance
from raypeft.trial.scores import record_scores
from raypeft.trial.searching import learnt_fences
from raypeft.trial.tests import CandidateTests
from raypeft.trial.tune import check_training, counted_params, tune
from raypeft.trial.validation import ask_validation, validation_scores

Row = dict[str, Any]


def run_and_record(context: TrialContext) -> Row:
    """Run a trial, write its row whatever happens, and return it; its status is one of `STATUSES`.

    On a GPU a trial that is predicted not to fit its budget is recorded as infeasible and not run, unless forced.
    Raises for no fault of a trial; Stopped, without a row, where it was told to stop.
    """
    trial, started = context.trial, time.perf_counter()
    context.listener(Started(trial.label, trial.fields))
    row: Row = {"id": trial.id, "sweep": context.sweep, **trial.fields, "status": "ok", "error": None}
    row |= {"started_at": datetime.now(UTC), "attempts": context.attempt}
    try:
        check_columns(context)
        gpu.be_deterministic(context.options.deterministic)
        row |= provenance() | parameter_counts(trial)
        row |= run_within_budget(context)
    except Pruned as pruned:
        row |= {"status": "pruned", "error": str(pruned), **pruned.measured}
    except Exception as error:
        print_traceback()  # to the process's log; the row has the message
        row |= failure(error, context.resources.gpu_memory_gb, context.whole_gpu_memory_gb)
        context.bases.drop()  # whatever state the failure left, the next trial starts from a fresh load
    seconds = time.perf_counter() - started + sum(context.earlier.values())
    row |= {"total_seconds": seconds, **context.meter.columns()}
    row = record(context, row)
    drop_checkpoints(context, row)
    # Only now: while an exception is handled, its traceback holds the frames that hold the tensors.
    gpu.free_memory()
    context.listener(Finished(row))
    return row


def check_columns(context: TrialContext) -> None:
    """Raise ValueError, before anything is loaded, where the store has no place for what the trial may measure."""
    levels = context.trial.test_data.levels
    context.store.adopt("trials", schema_of(level_columns(levels)))  # those of a user's dataset are known only now
    for table, columns in tables(levels).items():
        lacking = {column.name for column in columns} - set(context.store.schemas[table].names)
        if lacking:
            raise ValueError(f"the table {table} of {context.store.url} must have a column for all that a trial "
                             f"measures but lacks {', '.join(sorted(lacking))}; the store was opened before a dataset "
                             f"or a metric that fills them was added")  # fmt: skip


def failure(error: Exception, gpu_memory_gb: float, whole_gb: float | None = None) -> Row:
    """What a row says of the error that ended its trial, which asked for so much memory, in GiB.

    Out of memory is a result only where the process had all the memory that the trial may use. `whole_gb` is more than
    `gpu_memory_gb` for a trial that shared a GPU.
    """
    told = hidden_in_message(f"{type(error).__name__}: {error}")  # rows are shared
    if not gpu.is_out_of_memory(error):
        return {"status": "lost" if is_loss(error) else "failed", "error": told}
    if whole_gb and whole_gb > gpu_memory_gb:
        shared = f"it shared a GPU, with {gpu_memory_gb:g} of {whole_gb:g} GiB, and has all when it is run again"
        return {"status": "lost", "error": f"{shared}: {told}"}
    if gpu.had_its_budget(gpu_memory_gb):
        return {"status": "oom", "error": told}
    held = f"other processes held GPU memory of this trial, which had {gpu.budget_gb():.1f} of {gpu_memory_gb:g} GiB"
    return {"status": "lost", "error": f"{held}: {told}"}


def print_traceback() -> None:
    """Print the error that is being handled into the process's log, without secrets."""
    print(hidden_in_message(traceback.format_exc()), file=sys.stderr, flush=True)


def is_loss(error: Exception) -> bool:
    """Whether an error says that something around the trial was lost: a store, a disk, an actor of Ray."""
    return places.is_loss(error) or type(error).__module__.startswith("ray.")


def record(context: TrialContext, row: Row) -> Row:
    """Write the row and return it; one that cannot be written is replaced by a failed one that says why."""
    try:
        context.store.write_rows("trials", context.trial.id, [row])
    except Exception as error:
        print_traceback()
        kept = {name: row[name] for name in ("id", "sweep", "started_at", "attempts", *context.trial.fields)}
        row = kept | failure(error, context.resources.gpu_memory_gb, context.whole_gpu_memory_gb)
        try:
            context.store.write_rows("trials", context.trial.id, [row])
        except Exception:
            print_traceback()  # the store itself is out of order: the trial is run again by the same command
            row["error"] = f"its row could not be written: {row['error']}"
    return row


def run_within_budget(context: TrialContext) -> Row:
    """`run_trial` with a plan for the GPU's memory, or, for a trial that cannot fit it, the reason."""
    budget_gb = gpu.budget_gb()
    resources = memory.on_card(context.resources, budget_gb)
    prediction = memory.predict(context.trial, resources)
    row: Row = {
        "predicted_peak_memory_gb": prediction.peak_gb if prediction else None,
        "gpu_memory_gb": resources.gpu_memory_gb if budget_gb else None,
        "gpu_share": context.gpu_share,
    }
    if budget_gb and not context.options.force and (too_large := memory.refusal(prediction, resources)):
        return row | refused(context, too_large)
    # Only a GPU has a budget to keep; elsewhere batches stay as asked and activations are kept.
    context = replace(context, resources=resources, memory_plan=prediction if budget_gb else None)
    return row | run_trial(context)


def refused(context: TrialContext, too_large: str) -> Row:
    """What a row says of a trial that is predicted not to fit the memory that it got.

    That is a result only where it would not fit all the memory that it may use on this card either.
    """
    whole_gb = max(context.whole_gpu_memory_gb or 0.0, context.resources.gpu_memory_gb)
    card_gb = gpu.card_gb()
    empty = memory.on_card(context.resources.model_copy(update={"gpu_memory_gb": whole_gb}),
                           card_gb and card_gb - gpu.SPARE_GB)  # fmt: skip
    if reason := memory.refusal(memory.predict(context.trial, empty), empty):
        return {"status": "infeasible", "error": reason}
    return {"status": "lost", "error": f"this trial got a part of the GPU's memory alone: {too_large}"}


def run_trial(context: TrialContext) -> Row:
    """Everything a trial measures, by column; candidates, tests and the adapter go to the store.

    Raises ValueError for what only the data can show (missing columns, a prompt longer than the context, ...) and
    SandboxUnavailable where tests cannot be run safely.
    """
    trial, method = context.trial, context.trial.method
    context.bases.make_room(*trial.base_key)  # before the meter starts
    with context.stage("load"):
        splits, measured = examples.load(trial)
        base = context.bases.get(*trial.base_key)
        check_form(trial, base)
        context = replace(context, learns_fences=learnt_fences(trial, splits))
        measured |= lost_references(context, base, splits["test"])
        measured |= {"learns_fences": context.learns_fences, "model_notes": base.notes}
        measured |= {"model_resolved_revision": base.revision}
    context = with_room_for_answers(context, base, splits)
    # Before training: what fails here would fail after it.
    with context.stage("retrieve"):
        shots = pick_shots(method, splits["train"], splits["test"], context.services)
    tests = candidate_tests(context) if context.runs_tests else None
    torch.manual_seed(trial.seed)
    with tests or nullcontext():
        of_model, queries, candidates = with_model(context, base, splits, shots, tests)
        # Tests and scores need no model. The base stays where the next trial can use it.
        context.bases.make_room(*trial.base_key)
        measured |= of_model
        if trial.decode:
            measured |= judged(context, queries, candidates, tests)
    if context.decoded_together:
        measured["generation_batch_size"] = min(context.decoded_together)
    if not shots.columns:
        del context.seconds["retrieve_seconds"]  # nothing was retrieved
    duplicates = exact_duplicates(splits["train"], splits["test"])
    return context.seconds | measured | shots.columns | {"exact_duplicates": duplicates}


def with_model(
    context: TrialContext, base: Base, splits: Splits, shots: Shots, tests: CandidateTests | None
) -> tuple[Row, list[Prompt], list[list[Candidate]]]:
    """All that the trial does with its model, which is gone afterwards: what was measured, by column, the prompts and
    their candidates."""
    trial, method, candidates = context.trial, context.trial.method, []
    with method.applied(base) as model:
        measured = counted_params(model)
        queries = ask(context, model, base, splits["test"], shots) if trial.decode else []
        validation = ask_validation(context, model, base, splits)
        with context.stage("check"):
            if queries or validation.queries:
                measured |= path_columns(context, model, base, [*queries, *validation.queries])
            if isinstance(method, TrainedMethod):
                check_training(context, model, base, splits)
        if isinstance(method, TrainedMethod):
            with context.stage("train"):
                measured |= tune(context, method, model, base, splits)
        if trial.decode:
            with context.stage("generate"):
                candidates = answer(context, model, base, queries, tests)
        if validation.queries:
            with context.stage("validate"):
                measured |= validation_scores(validation, model, base)
    return measured, queries, candidates


def candidate_tests(context: TrialContext) -> CandidateTests:
    """The tests of a trial's candidates, with the verdicts of the trial that was interrupted."""
    settings = context.options.sandbox.settings
    verdicts = Verdicts(context.store, context.trial.id, settings)
    return CandidateTests(context.services, settings, context.trial.fidelity == "paper", verdicts, context.stop)


def judged(
    context: TrialContext, queries: list[Prompt], candidates: list[list[Candidate]], tests: CandidateTests | None
) -> Row:
    """The trial's scores, and what its prompts and tests were, by column."""
    trial, store = context.trial, context.store
    row = prompt_columns(queries) | candidate_columns(queries, candidates, context.max_new_tokens)
    row["generate_examples_per_second"] = len(queries) / context.seconds["generate_seconds"]
    if tests is not None:
        with context.stage("test"):
            store.write_rows("tests", trial.id, tests.collect(trial.id, context.listener))
        row |= tests.columns
    if context.options.generate_only:
        return row | {"status": "generated", "error": "not scored yet: raypeft score does it"}
    with context.stage("score"):
        answered = candidate_rows(trial.id, queries, candidates)
        tested = tests.rows if tests else ()
        return row | record_scores(trial.fields | {"id": trial.id}, store, context.dataset, answered, tested)
