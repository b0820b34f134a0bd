"""`run_trial`: the training function covering every tuning method, and the command that runs one trial without Ray.

    python -m raypeft.trial sweeps/quickstart.yaml --index 3

Load, tune, pick shots, decode, score, record. A sweep runs the same function in Ray Tune's processes.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from raypeft import memory, prompts
from raypeft.config import Resources, RunOptions, Trial, load_config, trial_columns
from raypeft.data import DATASETS
from raypeft.loading import Base, BaseCache
from raypeft.methods import Adapter, TrainedMethod
from raypeft.metrics.scores import score
from raypeft.plan import parameter_counts, plan_trials
from raypeft.progress import headline
from raypeft.provenance import provenance, splits_revision
from raypeft.records import Candidate, Dataset, Example, Prompt, Report, Services, Splits, report_nothing
from raypeft.results import ResultStore, sweep_url
from raypeft.retriever import LocalServices, leaks
from raypeft.shots import Shots, encode_queries, pick_shots, prompt_columns
from raypeft.sweepfile import ConfigError, find_sweep_file

LIMIT_SEED = 42
"""Seed of the sample that `limit` keeps: the same examples in every trial, whatever its own seed."""


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
    meter = memory.Meter()
    started = time.perf_counter()
    try:
        prediction = memory.predict(trial, resources)
        row["predicted_peak_memory_gb"] = prediction.peak_gb if prediction else None
        if too_large := memory.refusal(prediction, resources) if not options.force else None:
            row |= {"status": "infeasible", "error": too_large}
        else:
            row |= run_trial(trial, bases, store, resources, report, meter, services, options.generate_only)
    except Exception as error:
        row["status"] = "oom" if memory.is_out_of_memory(error) else "failed"
        row["error"] = f"{type(error).__name__}: {error}"
        traceback.print_exc()  # to the process's log; the row has the message
        bases.drop()  # whatever state the failure left, the next trial starts from a fresh load
    row |= {"total_seconds": time.perf_counter() - started, **meter.columns()}
    row["gpu_memory_gb"] = resources.gpu_memory_gb if memory.has_gpu() else None
    # Only now: while an exception is handled, its traceback holds the frames that hold the tensors.
    memory.free_memory()
    store.write_rows("trials", trial.id, [row])
    return row


def run_trial(
    trial: Trial,
    bases: BaseCache,
    store: ResultStore,
    resources: Resources,
    report: Report = report_nothing,
    meter: memory.Meter | None = None,
    services: Services | None = None,
    generate_only: bool = False,
) -> dict[str, Any]:
    """Everything a trial measures, by column; candidates, evaluations and the adapter go to the store.

    Raises ValueError for what only the data can show (missing columns, a prompt longer than the context, ...).
    """
    import torch

    meter = meter or memory.Meter()
    dataset, method, watch = DATASETS[trial.dataset], trial.method, Stopwatch()
    with watch.stage("load"), meter.stage("load"):
        report("load", 0, 1)
        splits = dataset.load(trial.dataset_path, trial.dataset_revision)
        revision = splits_revision(splits)
        splits = limited(splits, trial)
        base = bases.get(*trial.base_key)
    with watch.stage("retrieve"):  # before training: what fails here would fail after it
        report("retrieve", 0, 1)
        shots = pick_shots(method, splits["train"], splits["test"], services or LocalServices())
    # Only a GPU has a budget to keep; elsewhere batches stay as asked and activations are kept.
    planned = memory.predict(trial, resources) if memory.has_gpu() else None
    torch.manual_seed(trial.seed)
    measured: dict[str, Any] = {"model_notes": base.notes}
    with method.applied(base) as model:
        measured |= counted_params(model)
        if isinstance(method, TrainedMethod):
            saving = {
                "gradient_checkpointing": planned.gradient_checkpointing if planned else method.gradient_checkpointing,
                "micro_batch_size": planned.micro_batch_size if planned else None,
            }
            with meter.stage("train"):
                measured |= tune(trial, method, model, base, splits, saving, store, report)
        with watch.stage("generate"), meter.stage("generate"):
            batch_size = planned.generation_batch_size if planned else resources.generation_batch_size
            queries, candidates = answer(trial, dataset, model, base, splits, shots, batch_size, store, report)
    # Before they are scored, so that a fault in a metric loses no candidate.
    store.write_rows("candidates", trial.id, candidate_rows(trial.id, queries, candidates))
    store.drop_parts("candidates", trial.id)
    with watch.stage("score"):
        report("score", 0, 1)
        references = [query.example.code for query in queries]
        if generate_only:
            measured |= {"status": "generated", "error": "not scored yet: raypeft score does it"}
        else:
            measured |= score(candidates, references, dataset)
    if not shots.columns:
        del watch.seconds["retrieve_seconds"]  # nothing was retrieved
    return measured | watch.seconds | {
        **{f"{split}_examples": len(examples) for split, examples in splits.items()},
        **prompt_columns(queries),
        **shots.columns,
        "exact_duplicates": leaks(splits["train"], splits["test"]),
        "generate_examples_per_second": len(queries) / watch.seconds["generate_seconds"],
        "model_resolved_revision": base.revision,
        "dataset_resolved_revision": revision,
    }  # fmt: skip


def counted_params(model: Any) -> dict[str, int]:
    """`trainable_params` and `total_params` of a loaded model; nf4 weights count as what they stand for."""
    counts = [(each, each.quant_state.shape if hasattr(each, "quant_state") else each.shape)
              for each in model.parameters()]  # fmt: skip
    return {
        "trainable_params": sum(math.prod(shape) for each, shape in counts if each.requires_grad),
        "total_params": sum(math.prod(shape) for _, shape in counts),
    }


def tune(
    trial: Trial,
    method: TrainedMethod,
    model: Any,
    base: Base,
    splits: Splits,
    saving: dict[str, Any],
    store: ResultStore,
    report: Report,
) -> dict[str, Any]:
    """Train, keep the evaluations, save the adapter of the best one in PEFT's format."""
    from raypeft import virtual_tokens
    from raypeft.training import train_model

    form = prompts.form_of(trial.fidelity, method.trains, base.is_encoder_decoder, training=True)
    encoded = {
        split: [prompts.encode(each, base.tokenizer, (), base.is_encoder_decoder, form) for each in splits[split]]
        for split in ("train", "validation")
    }
    if trial.fidelity == "paper":
        room = DATASETS[trial.dataset].max_new_tokens
        encoded = {
            split: [prompts.cut_as_paper(each, room, base.is_encoder_decoder) for each in examples]
            for split, examples in encoded.items()
        }
    for split in encoded.values():
        prompts.check_fits(split, base.context_length, virtual_tokens=virtual_tokens.count(model))
    result = train_model(
        model,
        base.tokenizer.pad_token_id,
        encoded["train"],
        encoded["validation"],
        method,
        trial.seed,
        report,
        **saving,
    )
    store.write_rows("evals", trial.id, [{"id": trial.id, **asdict(each)} for each in result.evaluations])
    if isinstance(method, Adapter):
        save_adapter(trial.id, method, model, base, store)
    return {
        "gradient_checkpointing_used": bool(saving["gradient_checkpointing"]),
        "micro_batch_size": saving["micro_batch_size"] or method.per_device_train_batch_size,
        "best_eval_loss": result.best_eval_loss,
        "best_step": result.best_step,
        "steps": result.steps,
        "train_seconds": result.train_seconds,
        "eval_seconds": result.eval_seconds,
        "train_tokens_per_second": result.tokens / result.train_seconds,
    }


def save_adapter(trial_id: str, method: Adapter, model: Any, base: Base, store: ResultStore) -> None:
    """Write the adapter as PEFT reads it, with a note where the base is not the checkpoint as it is stored."""
    with tempfile.TemporaryDirectory() as folder:
        method.save(model, Path(folder))
        if base.adapter_note:
            from raypeft.codegen2 import write_adapter_note

            write_adapter_note(Path(folder), base.adapter_note)
        store.write_folder(f"adapters/{trial_id}", Path(folder))


def answer(
    trial: Trial,
    dataset: Dataset,
    model: Any,
    base: Base,
    splits: Splits,
    shots: Shots,
    batch_size: int,
    store: ResultStore,
    report: Report,
) -> tuple[list[Prompt], list[list[Candidate]]]:
    """The test split's prompts with the trial's shots, and the candidates for each.

    Each batch's candidates are stored as they come, so that a trial that is killed keeps what it made.
    """
    from raypeft import virtual_tokens
    from raypeft.generation import generate

    method, max_new_tokens = trial.method, trial.max_new_tokens or dataset.max_new_tokens
    form = prompts.form_of(trial.fidelity, method.trains, base.is_encoder_decoder)
    queries = encode_queries(splits["test"], shots, method, form, base, max_new_tokens, virtual_tokens.count(model))
    stop = () if method.trains else dataset.untuned_stop
    if trial.fidelity == "paper":
        stop = form.stop or dataset.paper_stop
    parts = itertools.count()

    def keep(places: Sequence[int], found: list[list[Candidate]]) -> None:
        rows = candidate_rows(trial.id, [queries[place] for place in places], found)
        store.write_part("candidates", trial.id, next(parts), rows)

    candidates = generate(
        model,
        base.tokenizer,
        queries,
        num_beams=trial.num_beams,
        num_return_sequences=trial.num_return_sequences,
        do_sample=trial.do_sample,
        temperature=trial.temperature,
        top_p=trial.top_p,
        seed=trial.seed,
        max_new_tokens=max_new_tokens,
        stop=stop,
        stop_together=trial.fidelity == "paper",
        batch_size=batch_size,
        keep=keep,
        report=report,
    )
    return queries, candidates


def limited(splits: Splits, trial: Trial) -> Splits:
    """A seeded sample of each split where the trial has a limit, in the split's own order."""

    def sample(examples: list[Example], limit: int | None) -> list[Example]:
        if limit is None or limit >= len(examples):
            return examples
        kept = set(random.Random(LIMIT_SEED).sample(range(len(examples)), limit))
        return [example for index, example in enumerate(examples) if index in kept]

    limits: dict[str, int | None] = dict.fromkeys(splits, trial.limit)
    limits["test"] = min((limit for limit in (trial.limit, trial.test_limit) if limit), default=None)
    return {split: sample(examples, limits[split]) for split, examples in splits.items()}


def candidate_rows(
    trial_id: str, queries: Sequence[Prompt], candidates: Sequence[Sequence[Candidate]]
) -> Iterator[dict[str, Any]]:
    for query, found in zip(queries, candidates, strict=True):
        reference = query.example.code
        for candidate in found:
            matches = candidate.text.strip() == reference.strip()
            yield {
                "id": trial_id,
                **asdict(candidate),
                "reference": reference,
                "matches": matches,
                "prompt_tokens": len(query.prompt_ids),
                "shots": query.shots,
                "dropped_shots": query.dropped_shots,
            }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="raypeft trial",
        description="Run one trial of a sweep file in this process, without Ray.",
        epilog="example: python -m raypeft.trial quickstart --index 3 defaults.limit=20",
    )
    parser.add_argument("sweep", help="the sweep file, or the name of one in sweeps/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="fields to override, e.g. defaults.seed=1")
    parser.add_argument("--index", type=int, default=0, help="which trial, counted from 0 as --dry-run lists them")
    parser.add_argument("--results", help="folder or URL that holds the results (default: the sweep's, else results)")
    parser.add_argument(
        "--force", action="store_true", help="run a trial that is predicted not to fit the GPU's memory"
    )
    parser.add_argument("--generate-only", action="store_true", help="store candidates unscored, for `raypeft score`")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what Transformers and PEFT print")
    options = parser.parse_intermixed_args(arguments)
    try:
        sweep = load_config(find_sweep_file(options.sweep), options.overrides)
        trials = plan_trials(sweep)
        if not 0 <= options.index < len(trials):
            raise ConfigError(options.sweep, [f"--index must be 0 to {len(trials) - 1} but got {options.index}"])
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    trial, config = trials[options.index], sweep.config
    store = ResultStore(sweep_url(options.results or config.results, config.name), trial_columns())
    store.set_aside(trial.id)
    use_threads(config.resources)
    memory.enforce_budget(config.resources.gpu_memory_gb)
    if not options.verbose:
        quiet_libraries()
    print(f"trial {options.index}, {trial.id}: {trial.label}")
    how = RunOptions(force=options.force, generate_only=options.generate_only)
    row = run_and_record(trial, config.name, store, BaseCache(), config.resources, _print_progress, how)
    print(f"{row['status']}: " + (row["error"] or headline(row)))
    return 0 if row["status"] in ("ok", "generated") else 1


def use_threads(resources: Resources) -> None:
    """Give torch the trial's CPU cores where it computes on the CPU."""
    import os

    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(min(resources.cpus_per_trial, os.cpu_count() or 1))


def quiet_libraries() -> None:
    """Keep the libraries' bars and advice off the screen; errors still come as exceptions."""
    import logging
    import warnings

    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)


def _print_progress(stage: str, done: int, total: int, **figures: float) -> None:
    """One line for every tenth of a stage."""
    if done == total or done % max(1, total // 10) == 0:
        print(
            f"  {stage} {done}/{total}" + "".join(f"  {name} {value:.4g}" for name, value in figures.items()),
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
