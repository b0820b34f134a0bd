"""How the tools grow with a results folder: reading, planning, reporting and comparing up to 10,000 finished trials.

    python benchmarks/many_trials.py --out benchmarks/results/many_trials.md

The folder is written by the store as a sweep would write it: for each trial a row, its candidates, evaluations and scores
of single examples. Smaller folders are hard links to a part of the largest. `first` is the first command that looks at
the folder after the trials have run, `then` every later one. Commands are processes of their own, imports included.
"""

import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.dataset
import pyarrow.parquet as pq
from reports import add_numbers, add_out, arguments, command, flags, head, publish, row, timed

from raypeft.results.store import ResultStore
from raypeft.study.checking import load_config
from raypeft.study.plan import plan_sweep
from raypeft.trial.columns import tables
from raypeft.trial.declarations import prepare_store

SIZES = (300, 1_000, 3_000, 10_000)
EXAMPLES, CANDIDATES = 20, 2
START = datetime(2026, 1, 1, tzinfo=UTC)
SWEEP = """
name: many
defaults: {model: toy, dataset: toy}
grids:
  - tuning_method: lora
    learning_rate: [%s]
    lora_r: [2, 4, 6, 8, 12, 16, 24, 32, 48, 64]
    seed: [1, 2, 3, 4, 5]
"""


def sweep_file(folder, trials):
    """A sweep of so many trials; that of a smaller number is a part of that of a larger one."""
    path = Path(folder) / f"many{trials}.yaml"
    path.write_text(SWEEP % ", ".join(f"{place + 1}.0e-5" for place in range(trials // 50)))
    return path


def planned(path, results):
    return load_config(path, [f"results={results}"])


def write_trial(store, trial, place):
    """What a sweep leaves of a trial: about half of its answers are right."""
    hits = [(place * 7 + example * 11) % 19 < 9 for example in range(EXAMPLES)]
    share = sum(hits) / EXAMPLES
    store.write_rows("candidates", trial.id, [
        {"id": trial.id, "example_id": f"e{example}", "rank": rank, "text": "x = 1", "reference": "x = 2"}
        for example in range(EXAMPLES) for rank in range(CANDIDATES)
    ])  # fmt: skip
    store.write_rows("evals", trial.id, [
        {"id": trial.id, "step": 10 * step, "epoch": float(step), "train_loss": 1 / step, "eval_loss": 1.1 / step}
        for step in (1, 2, 3)
    ])  # fmt: skip
    store.write_rows("example_scores", trial.id, [
        {"id": trial.id, "example_id": f"e{example}", "score": score, "value": float(hit)}
        for score in ("em_at_1", "em_at_10") for example, hit in enumerate(hits)
    ])  # fmt: skip
    scores = {"em_at_1": share, "em_at_10": share, "em_at_10_low": share / 2, "em_at_10_high": (1 + share) / 2}
    cost = {"total_seconds": 60.0, "trainable_params": 1000 * trial.method.lora_r, "best_eval_loss": 0.3 + share / 9}
    store.write_rows("trials", trial.id, [{
        "id": trial.id, "sweep": "many", **trial.fields, "status": "ok", "test_examples": EXAMPLES, **scores, **cost,
        "started_at": START + timedelta(seconds=place), "dataset_resolved_revision": "1", "device": "cpu",
    }])  # fmt: skip


def make_folder(folder, trials):
    """A results folder of so many finished trials; returns the seconds that the store needed for one."""
    path = sweep_file(folder, trials)
    sweep = planned(path, folder)
    whole = plan_sweep(sweep)
    plan = whole.trials
    store = prepare_store(f"{folder}/many", sweep, whole)
    started = time.perf_counter()
    for place, trial in enumerate(plan):
        write_trial(store, trial, place)
    return (time.perf_counter() - started) / len(plan)


def part_of(folder, whole, trials):
    """A folder of the first trials of a larger one: hard links, and a manifest of its own."""
    sweep = planned(sweep_file(folder, trials), folder)
    plan = plan_sweep(sweep)
    store = prepare_store(f"{folder}/many", sweep, plan)
    ids = {trial.id for trial in plan.trials}
    for source in sorted(Path(whole).rglob("*")):
        target = Path(store.root) / source.relative_to(whole)
        if source.is_file() and source.name.partition(".")[0] in ids:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(source, target)


def in_a_process(*words):
    started = time.perf_counter()
    process = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
    assert process.returncode in (0, 1), process.stderr[-2000:]
    return time.perf_counter() - started


def one_by_one(folder):
    """The opponent: each file opened by pyarrow and made into rows, which are not kept."""
    return sum(len(pq.ParquetFile(path).read().to_pylist()) for path in sorted(Path(folder).glob("trials/*.parquet")))


def dataset_scan(folder):
    """The other opponent: pyarrow's scan of a folder, on all cores."""
    return len(pyarrow.dataset.dataset(f"{folder}/trials").to_table().to_pylist())


def read(folder):
    return ResultStore.existing(folder, tables()).read_rows()


def measure(folder, trials, opponents):
    """Seconds by what was done."""
    results, path = f"{folder}/many", str(sweep_file(folder, trials))
    found = {}
    if opponents:
        found["rows, each file by pyarrow"] = timed(one_by_one, results)[1]
        found["rows, pyarrow.dataset"] = timed(dataset_scan, results)[1]
    for when in ("first", "then"):
        rows, found[f"rows, {when}"] = timed(read, results)
        assert len(rows) == trials, len(rows)
    nothing_to_do = ("raypeft.sweep", path, "--results", folder)
    found["sweep --dry-run"] = in_a_process(*nothing_to_do, "--dry-run")
    found["status"] = in_a_process("raypeft", "status", results)
    for when in ("first", "then"):
        found[f"sweep, nothing to do, {when}"] = in_a_process(*nothing_to_do)
    found["report --no-html"] = in_a_process("raypeft", "report", results, "--no-html")
    found["report"] = in_a_process("raypeft", "report", results)
    for when in ("first", "then"):
        found[f"findings, {when}"] = in_a_process("raypeft", "findings", results)
    return found


def main():
    parser = arguments(__doc__)
    add_numbers(parser, most=SIZES[-1], opponents_most=3_000)
    parser.add_argument("--folder", help="where to make the folders, and to find those of an earlier call")
    add_out(parser)
    options = parser.parse_args()
    sizes = [size for size in SIZES if size <= options.most]
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        whole = Path(options.folder or scratch) / f"whole{sizes[-1]}"
        if not whole.exists():
            whole.mkdir(parents=True)
            print(f"{make_folder(str(whole), sizes[-1]):.3f} s to write a trial", file=sys.stderr)
        times = {}
        for size in sizes:
            folder = Path(scratch) / str(size)
            folder.mkdir()
            part_of(str(folder), whole / "many", size)
            times[size] = measure(str(folder), size, size <= options.opponents_most)
            print(size, times[size], file=sys.stderr)
    lines = [
        "# Many trials in one results folder",
        "",
        f"{command('many_trials', flags(options, 'most', 'opponents_most'))} on {os.cpu_count()} cores. Seconds.",
        "",
        *head("finished trials", *(f"> {size:,}" for size in sizes)),
        *(row(what, *(f"{times[size][what]:.2f}" if what in times[size] else "" for size in sizes))
          for what in dict.fromkeys(what for each in times.values() for what in each)),
    ]  # fmt: skip
    publish(lines, options.out)


if __name__ == "__main__":
    main()
