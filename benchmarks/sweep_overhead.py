"""What Ray Tune costs a trial: sixteen short trials in a sweep, one at a time, against the same in one plain process.

    python benchmarks/sweep_overhead.py --out benchmarks/results/sweep_overhead.md

A trial is a few steps of LoRA on the embedded study. Both ways call `run_and_record` with the same trials; a trial's own
seconds come from its row, so the overhead is the wall time between the first row and the last that no trial accounts for.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean

from reports import add_numbers, add_out, arguments, command, flags, head, publish, row

SWEEP = """
name: overhead
defaults: {model: toy, dataset: toy, limit: %d, num_beams: 2, num_return_sequences: 2, max_new_tokens: 16}
grids:
  - tuning_method: {name: lora, num_train_epochs: 1}
    seed: [%s]
resources: {cpus_per_trial: %d}
"""


def run_plainly(sweep_file, folder):
    """The same trials in this process, as a loop."""
    from raypeft.machine import quiet_libraries, use_threads
    from raypeft.models.loading import BaseCache
    from raypeft.results.store import ResultStore
    from raypeft.study.checking import load_config
    from raypeft.study.plan import plan_trials
    from raypeft.trial.columns import tables
    from raypeft.trial.context import TrialContext
    from raypeft.trial.run import run_and_record

    sweep = load_config(sweep_file)
    quiet_libraries()
    use_threads(sweep.config.resources.cpus_per_trial)
    store, bases = ResultStore(f"{folder}/plain", tables()), BaseCache()
    for trial in plan_trials(sweep):
        run_and_record(TrialContext(trial, "plain", store, bases, resources=sweep.config.resources))


def gaps(folder):
    """Seconds of each trial, and seconds between the end of one and the start of the next, in order."""
    from raypeft.results.store import ResultStore
    from raypeft.trial.columns import tables

    rows = sorted(ResultStore(folder, tables()).read_rows(), key=lambda row: row["started_at"])
    assert all(row["status"] == "ok" for row in rows), [row["error"] for row in rows]
    starts = [row["started_at"].timestamp() for row in rows]
    seconds = [row["total_seconds"] for row in rows]
    return seconds, [starts[i + 1] - starts[i] - seconds[i] for i in range(len(rows) - 1)]


def main():
    parser = arguments(__doc__)
    add_numbers(parser, trials=16)
    parser.add_argument("--limit", type=int, default=64, help="examples of each split; sets a trial's length")
    add_out(parser)
    parser.add_argument("--plain", nargs=2, metavar=("SWEEP", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        run_plainly(Path(options.plain[0]), options.plain[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        sweep_file = Path(folder) / "overhead.yaml"
        seeds = ", ".join(map(str, range(options.trials)))
        sweep_file.write_text(SWEEP % (options.limit, seeds, os.cpu_count()))
        walls = {}
        for name, way in {
            "plain": [sys.executable, __file__, "--plain", str(sweep_file), folder],
            "overhead": [sys.executable, "-m", "raypeft.sweep", str(sweep_file), "--results", folder],
        }.items():
            started = time.perf_counter()
            subprocess.run(way, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            walls[name] = time.perf_counter() - started
        plain, plain_gaps = gaps(f"{folder}/plain")
        tuned, tuned_gaps = gaps(f"{folder}/overhead")
    # After the first trial, which pays the imports and the model's load in both.
    extra = (sum(tuned[1:]) + sum(tuned_gaps) - sum(plain[1:]) - sum(plain_gaps)) / (options.trials - 1)
    report = [
        f"# Sweep overhead: {options.trials} short toy trials, one at a time",
        "",
        f"{command('sweep_overhead', flags(options, 'trials', 'limit'))} on {os.cpu_count()} cores.",
        "",
        *head("", "> a sweep under Ray Tune", "> one plain process"),
        row("wall time of the command, s", f"{walls['overhead']:.1f}", f"{walls['plain']:.1f}"),
        row("first trial, s", f"{tuned[0]:.2f}", f"{plain[0]:.2f}"),
        row("each trial after the first, s", f"{mean(tuned[1:]):.2f}", f"{mean(plain[1:]):.2f}"),
        row("between two trials, s", f"{mean(tuned_gaps):.3f}", f"{mean(plain_gaps):.3f}"),
        "",
        f"Overhead a trial after the first: {extra:.2f} s.",
    ]
    publish(report, options.out)


if __name__ == "__main__":
    main()
