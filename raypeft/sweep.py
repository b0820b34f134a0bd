"""The command `raypeft sweep`, from the sweep file to the table: config -> plan -> trials -> rows -> table.

    python -m raypeft sweep quickstart
    python -m raypeft sweep sweeps/rq2.yaml --limit 20 defaults.num_train_epochs=1
    python -m raypeft sweep rq2 --dry-run

Exit codes: 0 all trials ok; 1 some trials failed; 2 mistake in the sweep file or the command line; 130 interrupted.
"""

import sys

if __name__ == "__main__":
    from raypeft.stopping import end_quietly

    end_quietly()  # on Ctrl-C while the libraries below load

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from rich.console import Console

from raypeft.analysis.claims.planning import check_claims
from raypeft.analysis.settings import labels
from raypeft.cli.closing import Row, kept_lines, say_end
from raypeft.cli.dry_run import describe_plan, print_plan
from raypeft.cli.ending import exit_code
from raypeft.cli.searching import result_lines, search_as_run
from raypeft.cli.selecting import Asked, add_arguments, only, prune, say_changed, say_incomplete, say_reused
from raypeft.results.leftovers import drop_trainings
from raypeft.results.places import sweep_url
from raypeft.results.reuse import take_over
from raypeft.results.standing import look_at
from raypeft.results.store import ResultStore
from raypeft.runner.observers.lines import LineView
from raypeft.runner.observers.live import LiveView
from raypeft.runner.observers.view import say
from raypeft.runner.others import await_others
from raypeft.runner.run import SweepRun
from raypeft.stopping import Stop, Stopped, time_budget
from raypeft.study.checking import LoadedSweep, load_config, with_all_data
from raypeft.study.config import SweepConfig, Trial
from raypeft.study.options import RunOptions
from raypeft.study.plan import Plan, plan_sweep
from raypeft.study.sweepfile import ConfigError, find_sweep_file
from raypeft.study.trackers import NAMES
from raypeft.study.trainings import shared_trainings
from raypeft.trial.columns import tables
from raypeft.trial.declarations import own_declarations, prepare_store, suggested_trials, unsuggested


def run_sweep(
    sweep: LoadedSweep, asked: Asked | None = None, verbose: bool = False, options: RunOptions | None = None
) -> int:
    """Run the trials that have no result yet, print the table of all trials, and return the exit code."""
    config, asked = sweep.config, asked or Asked()
    results = sweep_url(config.results, config.name)
    sweep, plan = _planned(sweep, results, asked.rerun)
    claims = check_claims(sweep, plan.trials)
    store = prepare_store(results, sweep, plan)
    console = Console(stderr=True)
    suggested = suggested_trials(store, plan.suggesting)
    trials = [*plan.trials, *suggested]
    chosen = only(trials, asked.only, sweep.document.source)
    options = options or config.run_options()
    trainings = shared_trainings(trials) if options.share_trainings else {}
    if asked.prune:
        prune(store, {trial.id for trial in trials} | set(trainings.values()), console)
    if config.reuse and not asked.rerun:
        _reuse(store, config, trials, console)
    standing = look_at(store)
    # Without a scheduler, every trial is to be trained to its end.
    retry = asked.retry if config.scheduler else (*asked.retry, "pruned")
    missing = standing.to_run([trial.id for trial in chosen], retry, asked.rerun)
    drop_trainings(store, trainings, standing.to_run(trainings, ("failed", *retry)))  # a failed one may yet be retried
    open_trials = 0 if asked.only else unsuggested(plan, trials)
    say(console, f"{config.name}: {len(chosen) + open_trials} trials, {len(chosen) - len(missing)} of them done "
                 f"before; results in {results}")  # fmt: skip
    for each in claims:
        if each.hindrance:
            say(console, f"warning: these trials cannot decide whether {each.sentence}: {each.hindrance}")
    say_incomplete(console, standing, missing)
    changed = say_changed(console, trials, store, missing)
    stale = {trial: standing.versions[trial] for trial in changed}
    stopped: Stopped | None = None
    if missing or open_trials:
        names = labels([trial.fields for trial in trials], own_declarations())
        run = SweepRun(
            config.name,
            results,
            config.resources,
            options,
            labels=dict(zip((trial.id for trial in trials), names, strict=True)),
            verbose=verbose,
            seen=standing.versions,
            search=search_as_run(config, plan, open_trials, standing.pruned(missing), stale),
            max_concurrent_trials=config.max_concurrent_trials,
            time_budget_hours=config.time_budget_hours,
            report_to=config.report_to,
            unshared=frozenset(standing.with_status("lost")),
            trainings=trainings,
        )
        stopped = run_all(run, [trial for trial in chosen if trial.id in set(missing)], store, console)
        if not asked.only:
            chosen = [*plan.trials, *suggested_trials(store, plan.suggesting)]
            open_trials = unsuggested(plan, chosen)

    def last_lines(rows: Sequence[Row]) -> Iterable[str]:
        return (*result_lines(store, plan, config, stale), *kept_lines(rows, config.keep))

    return say_end(store, chosen, open_trials, console, stopped, last_lines)


def _planned(sweep: LoadedSweep, results: str, rerun: bool) -> tuple[LoadedSweep, Plan]:
    """The sweep and its plan. Where a trial is still to run, data that is not on this machine is loaded first: what is
    wrong with it is told before anything starts. Raises ConfigError."""
    plan = plan_sweep(sweep)
    is_done = not rerun and not plan.suggesting and {trial.id for trial in plan.trials} <= _finished(results)
    if is_done or not sweep.has_unread_data:
        return sweep, plan
    sweep = with_all_data(sweep)
    return sweep, plan_sweep(sweep)


def _finished(results: str) -> set[str]:
    try:
        return ResultStore.existing(results, tables()).finished()
    except (OSError, ValueError):
        return set()  # no folder yet, or one of which `prepare_store` says what is wrong


def _reuse(store: ResultStore, config: SweepConfig, trials: Sequence[Trial], console: Console) -> None:
    """Copy what other sweeps have finished of these trials."""
    others = {name: sweep_url(config.results, name) for name in config.reuse if name != config.name}
    missing = {trial.id for trial in trials} - store.finished()
    say_reused(console, take_over(store, others, missing, config.resources.gpu_memory_gb))


def run_all(run: SweepRun, trials: Sequence[Trial], store: ResultStore, console: Console) -> Stopped | None:
    """Run trials, and wait for those that other commands run. Returns the signal that stopped them, if one did."""
    from raypeft.runner.pulse import RayLost

    try:
        with time_budget(run.time_budget_hours) as stop:
            while True:
                run_missing(run, trials, console, stop)
                with stop.on_signals():
                    left, waited = await_others(run, trials, store, console, stop)
                if not left or (left == trials and not waited):  # what cannot be recorded is not tried for ever
                    return None
                trials = left
    except Stopped as stopped:
        return stopped
    except RayLost as lost:
        say(console, str(lost))
        return None


def run_missing(run: SweepRun, trials: Sequence[Trial], console: Console, stop: Stop) -> None:
    """Run trials under Ray Tune and show their progress. Raises Stopped after a signal, and RayLost."""
    from raypeft.runner.cards import card_notes
    from raypeft.runner.nodes import fleet_of
    from raypeft.runner.observers.trackers import ReportedSweep, reporter
    from raypeft.runner.session import ray_session
    from raypeft.runner.share import share_of_machine
    from raypeft.runner.tuning import tune_trials

    total = len(trials) + (run.search.unsuggested if run.search else 0)
    view = (LiveView if console.is_terminal else LineView)(total, console)
    tell = partial(say, console)
    share = partial(share_of_machine, run.resources.use_gpu, tell, stop.check)
    tell("starting Ray")
    with stop.on_signals(), ray_session(tell, run.verbose, share) as session, ExitStack() as observing:
        reported = ReportedSweep(run.name, run.results)
        trackers = [reporter(name, reported, tell) for name in run.report_to]
        observers = [observing.enter_context(each) for each in (*trackers, view)]
        fleet = observing.enter_context(fleet_of(run, trials, session.is_ours))
        for note in (*fleet.notes, *card_notes(run.resources, fleet)):
            tell(note)
        tune_trials(run, trials, observers, stop, fleet, session.pulse)


DATA = "your data: a file, a folder, a URL or hf://owner/name (JSONL, JSON, CSV, TSV or Parquet)"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="raypeft sweep",
        description="Run all trials of a sweep file. Trials that already have results are not run again.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""examples:
  python -m raypeft sweep quickstart                        a small study on a toy model; a few minutes on a laptop
  python -m raypeft sweep quickstart --dry-run              list its trials without running them
  python -m raypeft sweep quickstart --dry-run -v           also show a prompt of each form, as the model reads it
  python -m raypeft sweep conala_smollm2 --limit 20         a quick test with 20 examples of each split
  python -m raypeft sweep quickstart grids.0.seed=[1,2,3]   override any field (values in YAML)
  python -m raypeft sweep --new mine.yaml --data data.jsonl --model Qwen2.5-Coder-0.5B     a sweep for your data
  python -m raypeft sweep quickstart --address auto         on the Ray cluster of this machine

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
    parser.add_argument("--address", metavar="ADDRESS", help="Ray cluster of this machine: auto, HOST:PORT or local")
    parser.add_argument(
        "--report-to",
        action="append",
        metavar="TRACKER",
        help=f"a tracker for each trial: {NAMES}",
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
    new.add_argument("--data", metavar="DATA", help=f"with --new: {DATA}")
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
    if options.address:
        os.environ["RAY_ADDRESS"] = options.address
    overrides = list(options.overrides)
    if options.results:
        overrides.append(f"results={json.dumps(options.results)}")
    if options.report_to:
        overrides.append(f"report_to={json.dumps(options.report_to)}")
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
