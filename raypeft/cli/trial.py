"""`raypeft trial`: run one trial of a sweep file in this process, without Ray.

python -m raypeft trial sweeps/quickstart.yaml --index 3
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Sequence

from raypeft.analysis.report.terminal import headline
from raypeft.analysis.warnings import decoded_slowly
from raypeft.gpu import take_budget
from raypeft.machine import quiet_libraries, use_threads
from raypeft.results.attempts import attempt, left_alone
from raypeft.results.places import sweep_url
from raypeft.results.standing import look_at
from raypeft.results.statuses import is_fault
from raypeft.runner.observers import listener_to
from raypeft.runner.observers.evaluations import EvaluationWriter
from raypeft.runner.observers.lines import TrialLines
from raypeft.runner.observers.progress import Progress
from raypeft.study.checking import load_config, with_all_data
from raypeft.study.plan import plan_sweep
from raypeft.study.sweepfile import ConfigError, find_sweep_file
from raypeft.trial.context import TrialContext
from raypeft.trial.declarations import prepare_store, suggested_trials
from raypeft.trial.run import run_and_record


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="raypeft trial",
        description="Run one trial of a sweep file in this process, without Ray.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  python -m raypeft trial quickstart --index 3 defaults.limit=20",
    )
    parser.add_argument("sweep", help="path of a sweep file, or its name in sweeps/")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="override fields of the sweep file, e.g. defaults.seed=1"
    )
    parser.add_argument(
        "--index", type=int, default=0, help="number of the trial in the list that --dry-run prints, counted from 0"
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="use at most N examples of each split (defaults.limit=N)"
    )
    parser.add_argument("--results", help="folder or URL for the results (default: the one in the sweep file)")
    parser.add_argument(
        "--force", action="store_true", help="run the trial even if it is predicted not to fit in GPU memory"
    )
    parser.add_argument(
        "--generate-only", action="store_true", help="store candidates without scores; `raypeft score` adds them later"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show the messages of Transformers and PEFT")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = make_parser().parse_intermixed_args(arguments)
    overrides = [*options.overrides, *([f"results={json.dumps(options.results)}"] if options.results else [])]
    try:
        sweep = with_all_data(load_config(find_sweep_file(options.sweep), overrides, options.limit))
        plan = plan_sweep(sweep)
        store = prepare_store(sweep_url(sweep.config.results, sweep.config.name), sweep, plan)
        trials = [*plan.trials, *suggested_trials(store, plan.suggesting)]
        if not trials:
            raise ConfigError(options.sweep, ["its trials are suggested while raypeft sweep runs; there is none yet"])
        if not 0 <= options.index < len(trials):
            raise ConfigError(options.sweep, [f"--index must be 0 to {len(trials) - 1} but got {options.index}"])
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    trial, config = trials[options.index], sweep.config
    use_threads(config.resources.cpus_per_trial)
    take_budget(config.resources.gpu_memory_gb)
    if not options.verbose:
        quiet_libraries()
    print(f"trial {options.index}, {trial.id}: {trial.label}")
    run_options = config.run_options(options.force, options.generate_only)
    progress = Progress(trial.label)
    seen = look_at(store).versions.get(trial.id)
    with attempt(store, trial.id, uuid.uuid4().hex, seen, progress.plain) as running:
        if running is not None:
            listener = listener_to(trial.id, EvaluationWriter(running.store), progress, TrialLines())
            context = TrialContext(
                trial, config.name, running.store, resources=config.resources, options=run_options, listener=listener,
                attempt=running.number,
            )  # fmt: skip
            with context.stop.on_signals():
                row = run_and_record(context)
    if running is None:
        left = left_alone(store, trial.id)
        print(f"not run: {left['error'] or 'another command has just run it'}", file=sys.stderr)
        return 1
    print(f"{row['status']}: " + (row["error"] or headline(row)))
    if note := decoded_slowly(row):
        print(note)
    return int(is_fault(row["status"]))
