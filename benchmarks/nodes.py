"""One sweep in one process, under Ray on this machine, and on a cluster of five nodes of which one is lost; and what
more nodes bring.

    python benchmarks/nodes.py --out benchmarks/results/nodes.md

The nodes are simulated: processes of one machine (`ray.cluster_utils.Cluster`), each with one CPU as Ray counts. First,
eight trials of the embedded study (no training, retrieval, tuning with four methods, generated programs that are
tested) are run all three ways, and each table of the results is compared to the last digit. On the five nodes, one is killed while
it trains, and another one joins after that. Then stand-in trials, which sleep in place of work, run on 1, 2, 4 and 8
nodes: planner, nodes' check, Tune, leases, events and rows are the real ones.
"""

import io
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import psutil
import ray
from ray.cluster_utils import Cluster
from reports import add_numbers, add_out, arguments, command, flags, head, publish, row

SWEEP = """
name: same
defaults: {model: toy, dataset: toy, limit: 40, max_new_tokens: 8, num_beams: 2, num_return_sequences: 2}
grids:
  - tuning_method:
      - zero_shot
      - {name: rag, num_shots: 2, embedding_model: toy}
      - {name: ia3, num_train_epochs: 3}
      - {name: prompt_tuning, num_train_epochs: 3}
      - {name: lora, num_train_epochs: 3}
      - {name: full, num_train_epochs: 3}
      - {name: lora, num_train_epochs: 6, eval_every_epochs: 0.5, seed: 7}
  - {dataset: toy_apps, tuning_method: zero_shot, num_beams: 1, num_return_sequences: 1, do_sample: false}
resources: {cpus_per_trial: 1}
sandbox: {seconds_per_test: 2}
checkpoint_minutes: 0
"""
STAND_INS = """
name: standins
defaults: {model: toy, dataset: toy}
grids: [{tuning_method: lora, seed: %s}]
resources: {cpus_per_trial: 1}
"""
FORGIVEN = {"attempts", "resumed_from_step"}
"""Columns that say that a trial was started again."""


def stand_in(context):
    """What stands in for `raypeft.trial.run.run_and_record`: it sleeps, and writes a row."""
    from raypeft.events import Finished, Started

    trial = context.trial
    context.listener(Started(trial.label, trial.fields))
    time.sleep(float(os.environ["SECONDS"]))
    finished = {"id": trial.id, "sweep": context.sweep, **trial.fields, "status": "ok", "em_at_10": 0.5,
                "started_at": datetime.now(UTC), "total_seconds": float(os.environ["SECONDS"])}  # fmt: skip
    context.store.write_rows("trials", trial.id, [finished])
    context.listener(Finished(finished))


def put_in_place():
    """Runs in each worker process of Ray before its first task."""
    from raypeft.runner import tuning

    tuning.run_and_record = stand_in


@contextmanager
def cluster_of(nodes):
    """A cluster, and its nodes but the first, which has no CPU for trials."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        yield made, [made.add_node(num_cpus=1) for _ in range(nodes)]
    finally:
        ray.shutdown()
        made.shutdown()


def sweep_command(path, folder):
    return [sys.executable, "-m", "raypeft.sweep", str(path), "--results", str(folder)]


def in_one_process(path, folder, trials):
    for index in range(trials):
        words = [sys.executable, "-m", "raypeft.trial", str(path), "--index", str(index), "--results", str(folder)]
        subprocess.run(words, check=True, capture_output=True, cwd=path.parent)


def on_this_machine(path, folder):
    subprocess.run(sweep_command(path, folder), check=True, capture_output=True, cwd=path.parent)


def on_five_nodes(path, folder):
    """Returns how many trials ran on the node when it was killed, and what the command said."""
    with cluster_of(5) as (cluster, nodes):
        environment = os.environ | {"RAY_ADDRESS": cluster.address}
        process = subprocess.Popen(sweep_command(path, folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, env=environment, cwd=path.parent)  # fmt: skip
        lost, trials = wait_for_training(nodes, folder / "same", process)
        cluster.remove_node(lost, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        said, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, said
    return trials, said


def wait_for_training(nodes, results, process):
    """A node on which a trial has a checkpoint, and how many trials run there."""
    pids = {psutil.Process(node.all_processes["raylet"][0].process.pid): node for node in nodes}
    while process.poll() is None:
        training = {path.name for path in results.glob("checkpoints/*")}
        leases = [path for path in results.glob(".leases/*.json") if path.stem in training]
        for raylet, node in pids.items():
            workers = {each.pid for each in raylet.children(recursive=True)}
            held = [
                path
                for path in leases
                if path.exists() and any(f'"pid": {pid},' in path.read_text() for pid in workers)
            ]
            if held:
                return node, len(held)
        time.sleep(0.1)
    raise AssertionError(f"the sweep ended before a training could be found: {process.stdout.read()}")


def compared(left, right):
    """Rows and values of all tables, how many values differ, and those that say that a trial was started again."""
    from scripts.compare_results import KEYS, Options, compare_table, tables_of

    rows = values = differing = again = 0
    for table in sorted({*KEYS} & (tables_of(left) | tables_of(right))):
        found = compare_table(left / table, right / table, Options())
        rows, values = rows + found.rows, values + found.values
        again += sum(count for name, count in found.differing.items() if name in FORGIVEN)
        differing += sum(count for name, count in found.differing.items() if name not in FORGIVEN)
    return rows, values, differing, again


def sameness(folder):
    """The table of the three ways."""
    path, trials = folder / "same.yaml", 8
    path.write_text(SWEEP)
    seconds, started = {}, time.perf_counter()
    ways = {"one process after the other": lambda to: in_one_process(path, to, trials),
            "Ray on this machine": lambda to: on_this_machine(path, to),
            "five nodes, one lost, one joins": lambda to: on_five_nodes(path, to)}  # fmt: skip
    notes = {}
    for number, (way, run) in enumerate(ways.items()):
        started = time.perf_counter()
        notes[way] = run(folder / str(number))
        seconds[way] = time.perf_counter() - started
    lines = head("way", "> trials with a row", "> rows compared", "> values", "> that differ", "> started again", "> s")
    for number, way in enumerate(ways):
        there = len(list((folder / str(number) / "same" / "trials").glob("*.parquet")))
        found = compared(folder / "0" / "same", folder / str(number) / "same") if number else ("", "", "", "")
        lines.append(row(way, there, *found, f"{seconds[way]:.0f}"))
    return [*lines, "", f"Trials that ran on the node that was killed: {notes['five nodes, one lost, one joins'][0]}."]


def throughput(folder, options):
    """The table of stand-ins."""
    from raypeft.sweep import main as sweep

    os.environ["SECONDS"] = str(options.seconds)
    lines = head("> nodes", "> trials", "> seconds", "> trials a second", "> of what sleeping allows")
    for nodes in (1, 2, 4, 8):
        trials = options.trials * nodes
        path = folder / f"standins{nodes}.yaml"
        path.write_text(STAND_INS % list(range(trials)))
        results = folder / f"nodes{nodes}"
        with cluster_of(nodes) as (cluster, _):
            ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR",
                     runtime_env={"worker_process_setup_hook": put_in_place})  # fmt: skip
            with redirect_stdout(io.StringIO()) as told, redirect_stderr(told):
                assert sweep([str(path), "--results", str(results)]) == 0, told.getvalue()[-3000:]
        ends = sorted(each.stat().st_mtime for each in (results / "standins" / "trials").iterdir())
        # From the end of the first quarter: until then processes start and load their libraries.
        first = trials // 4
        took = ends[-1] - ends[first - 1]
        speed = (trials - first) / took
        lines.append(row(nodes, trials, f"{took:.1f}", f"{speed:.2f}", f"{speed * options.seconds / nodes:.0%}"))
    return lines


def main():
    parser = arguments(__doc__)
    add_numbers(parser, trials=40, seconds=2)
    add_out(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        same, speed = sameness(Path(name)), throughput(Path(name), options)
    publish(
        [
            "# One sweep on one machine and on simulated nodes",
            "",
            f"{command('nodes', flags(options, 'trials', 'seconds'))} on {os.cpu_count()} cores, Python "
            f"{sys.version.split()[0]}, Ray {ray.__version__}. The nodes are processes of this machine, so they share its "
            "cores.",
            "",
            'Compared with the first line, to the last digit: fields, scores, losses, candidates, verdicts. "Started '
            'again" are the values of `attempts` and `resumed_from_step` that say so.',
            "",
            *same,
            "",
            f"Stand-in trials that sleep for {options.seconds} s, counted from the end of the first quarter of them:",
            "",
            *speed,
        ],
        options.out,
    )


if __name__ == "__main__":
    main()
