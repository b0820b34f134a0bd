"""What thousands of trials cost the command that runs them: planning, Ray Tune, the store and the live view.

    python benchmarks/tune_trials.py --trials 10000 --out benchmarks/results/tune_trials.md

The trials are stand-ins: planner, Tune, leases, events, rows and observers are the real ones, and in the worker processes
a function takes the place of a trial's work, which reports five steps and two evaluations and writes a row. So what is
measured is what a sweep adds to its trials. Each line is of the trials since the line above.
"""

import io
import os
import sys
import tempfile
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import psutil
import ray
from many_trials import in_a_process, sweep_file
from reports import add_numbers, add_out, arguments, command, flags, head, publish, row

SCORES = {"em_at_1": 0.5, "em_at_10": 0.5, "em_at_10_low": 0.25, "em_at_10_high": 0.75, "test_examples": 20}


def stand_in(context):
    """What stands in for `raypeft.trial.run.run_and_record`."""
    from raypeft.events import Evaluated, Finished, Started, Step

    trial = context.trial
    context.listener(Started(trial.label, trial.fields))
    for step in range(1, 6):
        context.listener(Step(step, 5, 1 / step, 1e-3))
    for step in (2, 5):
        context.listener(Evaluated(step, float(step), 1 / step, 1.1 / step, 1e-3, 0.1 * step))
    finished = {"id": trial.id, "sweep": context.sweep, **trial.fields, "status": "ok", "best_eval_loss": 0.22, **SCORES,
                "started_at": datetime.now(UTC), "attempts": context.attempt, "total_seconds": 0.01}  # fmt: skip
    context.store.write_rows("trials", trial.id, [finished])
    context.listener(Finished(finished))
    return finished


def put_in_place():
    """Runs in each worker process of Ray before its first task."""
    from raypeft.runner import tuning

    tuning.run_and_record = stand_in


def watch(folder, every, found, over):
    """Note time and memory of this process each time that so many more trials are done."""
    process, started, done = psutil.Process(), time.perf_counter(), 0
    while not over.wait(0.5):
        count = sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
        if count >= done + every:
            done = count
            found.append((count, time.perf_counter() - started, process.memory_info().rss / 2**20))


def main():
    parser = arguments(__doc__)
    add_numbers(parser, trials=10_000, every=1_000, cpus=2)
    add_out(parser)
    options = parser.parse_args()
    from raypeft.sweep import main as sweep

    with tempfile.TemporaryDirectory() as folder:
        path = sweep_file(folder, options.trials)
        text = path.read_text() + "resources: {cpus_per_trial: 1}\n"
        path.write_text(text)
        ray.init(
            num_cpus=options.cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
            runtime_env={"worker_process_setup_hook": put_in_place},
        )  # fmt: skip
        found, over = [], threading.Event()
        watcher = threading.Thread(target=watch, args=(Path(folder) / "many" / "trials", options.every, found, over))
        watcher.start()
        started = time.perf_counter()
        with redirect_stdout(io.StringIO()) as told, redirect_stderr(told):
            code = sweep([str(path), "--results", folder])
        whole = time.perf_counter() - started
        over.set()
        watcher.join()
        ray.shutdown()
        assert code == 0, told.getvalue()[-2000:]
        results = f"{folder}/many"
        after = {words[0]: in_a_process("raypeft", *words[:1], results, *words[1:])
                 for words in (("status", "--once"), ("report", "--no-html"))}  # fmt: skip
    publish(report(options, found, whole, after), options.out)


def report(options, found, whole, after):
    lines = []
    for (before, earlier, _), (count, seconds, memory) in zip([(0, 0.0, 0.0), *found], found, strict=False):
        each = 1000 * (seconds - earlier) / (count - before)
        lines.append(row(f"{count:,}", f"{seconds:.0f}", f"{each:.0f}", f"{memory:.0f}"))
    return [
        f"# {options.trials:,} trials under Ray Tune",
        "",
        f"{command('tune_trials', flags(options, 'trials', 'every', 'cpus'))} on {os.cpu_count()} cores, Python "
        f"{sys.version.split()[0]}, Ray {ray.__version__}. The whole command: {whole:.0f} s.",
        "",
        *head("> trials done", "> seconds", "> ms a trial", "> memory of the command, MiB"),
        *lines,
        "",
        f"Afterwards `raypeft status` takes {after['status']:.1f} s and `raypeft report --no-html` "
        f"{after['report']:.1f} s, with their start.",
    ]


if __name__ == "__main__":
    main()
