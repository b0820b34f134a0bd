"""The command `raypeft sweep`, from the sweep file to the table: config -> plan -> trials -> rows -> table.

    python -m raypeft.sweep quickstart
    python -m raypeft.sweep sweeps/rq2.yaml --limit 20 defaults.num_train_epochs=1
    python -m raypeft.sweep rq2 --dry-run

Exit codes: 0 all trials ok; 1 some trials failed; 2 mistake in the sweep file or the command line; 130 interrupted.
"""

import sys

if __name__ == "__main__":
    from raypeft.stopping import end_quietly

    end_quietly()  # on Ctrl-C while the libraries below load

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from raypeft.analysis.claims.planning import check_claims
from raypeft.analysis.folder import say_damaged
from raypeft.analysis.report.terminal import print_summary
from raypeft.analysis.settings import labels
from raypeft.cli.dry_run import describe_plan, print_plan
from raypeft.cli.ending import exit_code
from raypeft.cli.report import report_lines
from raypeft.cli.selecting import Asked, add_arguments, only, prune, say_incomplete
from raypeft.results.places import sweep_url
from raypeft.results.reuse import take_over
from raypeft.results.standing import look_at
from raypeft.results.statuses import is_fault
from raypeft.results.store import ResultStore
from raypeft.runner.observers.lines import LineView
from raypeft.runner.observers.live import LiveView
from raypeft.runner.observers.view import say
from raypeft.runner.others import await_others
from raypeft.runner.run import SweepRun
from raypeft.stopping import Stop, Stopped
from raypeft.study.checking import LoadedSweep, load_config
from raypeft.study.config import RunOptions, SweepConfig, Trial
from raypeft.study.plan import plan_trials
from raypeft.study.sweepfile import ConfigError, find_sweep_file
from raypeft.trial.declarations import own_declarations, prepare_store
from raypeft.trial.stale import other_data


def run_sweep(
    sweep: LoadedSweep, asked: Asked | None = None, verbose: bool = False, options: RunOptions | None = None
) -> int:
    """Run the trials that have no result yet, print the table of all trials, and return the exit code."""
    config, asked = sweep.config, asked or Asked()
    trials = plan_trials(sweep)
    claims = check_claims(sweep, trials)
    chosen = only(trials, asked.only, sweep.document.source)
    results = sweep_url(config.results, config.name)
    store = prepare_store(results, sweep, trials)
    console = Console(stderr=True)
    if asked.prune:
        prune(store, {trial.id for trial in trials}, console)
    if config.reuse and not asked.rerun:
        say_reused(console, take_over(store, _reused(config), {trial.id for trial in trials} - store.finished()))
    standing = look_at(store)
    missing = standing.to_run([trial.id for trial in chosen], asked.retry, asked.rerun)
    say(console, f"{config.name}: {len(chosen)} trials, {len(chosen) - len(missing)} of them done before; "
                 f"results in {results}")  # fmt: skip
    for each in claims:
        if each.hindrance:
            say(console, f"warning: these trials cannot decide whether {each.sentence}: {each.hindrance}")
    say_incomplete(console, standing, missing)
    for place, ids in other_data(() if asked.rerun else trials, store.read_rows).items():
        named = ", ".join(ids[:4]) + (" ..." if len(ids) > 4 else "")
        say(console, f"warning: {place} has changed since {len(ids)} finished trials ran ({named}): their rows are of "
                     f"other data; --rerun runs them again")  # fmt: skip
    stopped: Stopped | None = None
    if missing:
        options = options or config.run_options()
        names = labels([trial.fields for trial in trials], own_declarations())
        by_id = dict(zip((trial.id for trial in trials), names, strict=True))
        run = SweepRun(config.name, results, config.resources, options, by_id, verbose, standing.versions)
        stopped = run_all(run, [trial for trial in chosen if trial.id in set(missing)], store, console)
    return say_end(store, chosen, console, stopped)


def say_end(store: ResultStore, trials: Sequence[Trial], console: Console, stopped: Stopped | None) -> int:
    """Print the table of the trials and what to do next; returns the exit code."""
    planned = {trial.id: index for index, trial in enumerate(trials)}
    rows = sorted((row for row in store.read_rows() if row["id"] in planned), key=lambda row: planned[row["id"]])
    print_summary(rows)
    say_damaged(store)
    if stopped:
        say(console, f"interrupted: {len(rows)} of {len(trials)} trials are done; the same command runs the others")
        return stopped.exit_code
    if rows:
        for line in report_lines(store.url):
            say(console, line)
    if failed := sum(row["status"] in ("failed", "oom") for row in rows):
        say(console, f"{failed} trials failed and are not run again by themselves: --retry all does that, "
                      f"with --only ID for single ones")  # fmt: skip
    say_next_steps(console, store.url, rows)
    return 0 if len(rows) == len(trials) and not any(is_fault(row["status"]) for row in rows) else 1


def run_all(run: SweepRun, trials: Sequence[Trial], store: ResultStore, console: Console) -> Stopped | None:
    """Run trials, and wait for those that other commands run. Returns the signal that stopped them, if one did."""
    from raypeft.runner.session import RayLost

    try:
        while trials:
            run_missing(run, trials, console)
            with Stop().on_signals():
                trials = await_others(run.driver, trials, store, console)
    except Stopped as stopped:
        return stopped
    except RayLost as lost:
        say(console, str(lost))
    return None


def _reused(config: SweepConfig) -> dict[str, str]:
    return {name: sweep_url(config.results, name) for name in config.reuse if name != config.name}


def say_reused(console: Console, taken: Mapping[str, str]) -> None:
    """Say how many trials were copied from which sweep."""
    for name, count in Counter(taken.values()).items():
        say(console, f"{count} trials were finished by {name} and are copied from its results")


def run_missing(run: SweepRun, trials: Sequence[Trial], console: Console) -> None:
    """Run trials under Ray Tune and show their progress. Raises Stopped after a signal, and RayLost."""
    from raypeft.runner.session import ray_session
    from raypeft.runner.tuning import tune_trials

    view = (LiveView if console.is_terminal else LineView)(len(trials), console)
    stop = Stop()
    say(console, "starting Ray")
    with stop.on_signals(), ray_session(run.verbose), view:
        tune_trials(run, trials, [view], stop)


def say_next_steps(console: Console, results: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the commands that are useful next."""
    if not rows:
        return
    say(
        console,
        f"""
next steps:
  raypeft findings {results}     significance of the differences between trials
  raypeft report {results} --markdown     these tables in Markdown
  pandas.read_parquet("{results}/trials")     all rows: fields, scores, times, memory and versions""",
    )


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="raypeft sweep",
        description="Run all trials of a sweep file. Trials that already have results are not run again.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""examples:
  python -m raypeft.sweep quickstart                        a small study on a toy model; a few minutes on a laptop
  python -m raypeft.sweep quickstart --dry-run              list its trials without running them
  python -m raypeft.sweep quickstart --dry-run -v           also show a prompt of each form, as the model reads it
  python -m raypeft.sweep conala_smollm2 --limit 20         a quick test with 20 examples of each split
  python -m raypeft.sweep quickstart grids.0.seed=[1,2,3]   override any field (values in YAML)
  python -m raypeft.sweep --new mine.yaml --data data.jsonl --model Qwen2.5-Coder-0.5B     a sweep for your data
  RAY_ADDRESS=auto python -m raypeft.sweep quickstart       on the Ray cluster of this machine

exit codes: 0 all trials ok; 1 some trials failed; 2 mistake in the sweep file or the command line; 130 interrupted""",
    )
    parser.add_argument("sweep", help="path of a sweep file, or its name in sweeps/")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="override fields of the sweep file, e.g. defaults.seed=1"
    )
    parser.add_argument("--dry-run", action="store_true", help="list the trials without running them")
    parser.add_argument("--json", action="store_true", help="with --dry-run: print one JSON object")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="use at most N examples of each split (defaults.limit=N)"
    )
    parser.add_argument(
        "--results", metavar="DIR", help="folder or URL for the results (default: the one in the sweep file)"
    )
    add_arguments(parser)
    parser.add_argument(
        "--force", action="store_true", help="also run trials that are predicted not to fit in GPU memory"
    )
    parser.add_argument(
        "--generate-only", action="store_true", help="store candidates without scores; `raypeft score` adds them later"
    )
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="show the messages of Ray and Transformers; with --dry-run: show prompts as the models read them",
    )
    new = parser.add_argument_group("a new sweep file for your own data")
    new.add_argument("--new", action="store_true", help="write the sweep file instead of running it")
    new.add_argument("--data", metavar="FILE", help="with --new: your data (JSONL, JSON, CSV, TSV or Parquet)")
    new.add_argument("--model", metavar="NAME", help="with --new: a model of the table, a hub id or a folder")
    for name in ("prompt", "answer", "messages"):
        new.add_argument(
            f"--{name}", metavar="COLUMN", help=f"with --new: the column of the {name}, if it is not found"
        )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser()
    options = parser.parse_intermixed_args(arguments)
    if options.json and not options.dry_run:
        parser.error("--json needs --dry-run")
    if options.new:
        return main_new(parser, options)
    overrides = list(options.overrides)
    if options.results:
        overrides.append(f"results={json.dumps(options.results)}")
    try:
        sweep = load_config(find_sweep_file(options.sweep), overrides, options.limit)
        if options.json:
            print(json.dumps(describe_plan(sweep), indent=1))
        elif options.dry_run:
            print_plan(sweep, options.verbose)
        else:
            run_options = sweep.config.run_options(options.force, options.generate_only)
            return run_sweep(sweep, Asked.of(options), options.verbose, run_options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def main_new(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Write a new sweep file; returns the exit code."""
    from raypeft.cli.new_sweep import write_new_sweep

    if not options.data or not options.model:
        parser.error("--new needs --data FILE and --model NAME")
    columns = {name: getattr(options, name) for name in ("prompt", "answer", "messages") if getattr(options, name)}
    try:
        print(write_new_sweep(Path(options.sweep), options.data, options.model, columns))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
