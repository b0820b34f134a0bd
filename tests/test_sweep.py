"""The command as users run it: a process of its own, a real Ray, the embedded study cut small. What it does without
Ray is in test_sweep_command.py."""

import json
import os
import signal
import subprocess
import sys
import time

import pexpect
import psutil
import pytest

from raypeft.results.store import ResultStore
from raypeft.study.checking import load_config
from raypeft.study.plan import plan_trials
from raypeft.trial.columns import tables

SWEEP = """
name: small
defaults: {model: toy, dataset: toy, limit: 8, max_new_tokens: 4, num_beams: 2, num_return_sequences: 2}
grids:
  - tuning_method:
      - {name: rag, num_shots: 2, embedding_model: toy}
      - {name: lora, num_train_epochs: 1, num_shots: 2, shot_source: retrieved, embedding_model: toy}
      - {name: icl, max_new_tokens: 2047}
  - {dataset: toy_apps, tuning_method: zero_shot, num_beams: 1}
resources: {cpus_per_trial: 1}
sandbox: {seconds_per_test: 2}
"""
LONG = """
name: small
defaults: {model: toy, dataset: toy, limit: 40, max_new_tokens: 4, num_beams: 2, num_return_sequences: 2}
grids:
  - tuning_method: [zero_shot, {name: lora, num_train_epochs: 500, seed: [1, 2]}]
resources: {cpus_per_trial: 1}
"""


def command(folder, *arguments):
    return [sys.executable, "-m", "raypeft.sweep", str(folder / "small.yaml"), "--results", str(folder), *arguments]


@pytest.fixture(scope="module", autouse=True)
def embeddings_of_its_own(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def rows_in(folder):
    return {row["id"]: row for row in ResultStore(str(folder / "small"), tables()).read_rows()}


@pytest.fixture(scope="module")
def cluster():
    """The address of a Ray cluster of two nodes, each with one CPU."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        made.add_node(num_cpus=1)
        yield made.address
        assert all(node.all_processes["raylet"][0].process.poll() is None for node in made.list_all_nodes())
    finally:
        made.shutdown()


def run_on(address, folder, *arguments):
    environment = os.environ | {"RAY_ADDRESS": address}
    return subprocess.run(command(folder, *arguments), capture_output=True, text=True, timeout=280, env=environment)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cluster):
    """A sweep of four trials, one of which must fail, run to its end on a cluster."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "small.yaml").write_text(SWEEP)
    return folder, run_on(cluster, folder)


def test_a_killed_trial_becomes_a_lost_row_and_ctrl_c_ends_with_130_keeping_what_is_done(tmp_path):
    (tmp_path / "small.yaml").write_text(LONG)
    # A real terminal: progress is live, and Ctrl-C goes to the whole process group, Ray's processes included.
    words = command(tmp_path, "max_failures=0")
    terminal = pexpect.spawn(words[0], words[1:], dimensions=(24, 120), timeout=200, encoding="utf8")
    terminal.expect("1 of 3 trials done")
    terminal.expect(r"training.*step \d+/\d+.*loss")
    children = psutil.Process(terminal.pid).children(recursive=True)
    trials = [each for each in children if any("ImplicitFunc" in part for part in each.cmdline())]
    max(trials, key=psutil.Process.create_time).kill()
    terminal.expect("2 of 3 trials done")
    terminal.expect(r"training.*step \d+/\d+.*loss")
    terminal.sendintr()
    terminal.expect("the same command runs the others")
    terminal.expect(pexpect.EOF, timeout=60)
    terminal.close()
    assert terminal.exitstatus == 130
    assert "Traceback" not in (terminal.before or "")
    rows = sorted(rows_in(tmp_path).values(), key=lambda row: row["tuning_method"])
    assert [(row["tuning_method"], row["status"]) for row in rows] == [("lora", "lost"), ("zero_shot", "ok")]
    assert "process died" in rows[0]["error"]


@pytest.mark.slow
def test_a_trial_whose_process_is_killed_is_started_again_within_the_sweep(tmp_path):
    (tmp_path / "small.yaml").write_text(LONG.replace("500, seed: [1, 2]", "20"))
    process = subprocess.Popen(command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    for line in process.stderr:
        if line.startswith("started  lora"):
            break
    trial = next(each.id for each in plan_trials(load_config(tmp_path / "small.yaml")) if each.method.trains)
    lease = tmp_path / "small" / ".leases" / f"{trial}.json"
    until = time.monotonic() + 60
    while not lease.exists():  # the process that runs it has begun
        assert time.monotonic() < until
        time.sleep(0.1)
    psutil.Process(json.loads(lease.read_text())["pid"]).kill()
    said = process.stderr.read()
    assert process.wait(200) == 0, said
    rows = {row["tuning_method"]: row for row in rows_in(tmp_path).values()}
    assert (rows["lora"]["status"], rows["lora"]["attempts"]) == ("ok", 2)
    assert (rows["zero_shot"]["status"], rows["zero_shot"]["attempts"]) == ("ok", 1)


@pytest.mark.slow
def test_two_sweeps_on_one_folder_at_once_run_each_trial_once(tmp_path):
    (tmp_path / "small.yaml").write_text(LONG.replace("500, seed: [1, 2]", "1, seed: [1, 2, 3]"))
    environment = os.environ | {"RAY_ADDRESS": "local"}
    both = [
        subprocess.Popen(
            command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=280)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    ends = [line for text in said for line in text.splitlines() if line.startswith("[")]
    assert sum("EM@1" in line for line in ends) >= 4
    assert len({row["started_at"] for row in rows_in(tmp_path).values()}) == 4
    assert not list((tmp_path / "small").rglob("superseded/*")), "nothing was made twice"


TRAINED = """
name: small
defaults: {model: toy, dataset: toy, limit: 40, max_new_tokens: 4, num_beams: 2, num_return_sequences: 2}
grids:
  - tuning_method: {name: lora, num_train_epochs: 6, seed: [1, 2, 3]}
resources: {cpus_per_trial: 1}
"""


def training(folder, stall_minutes=120, sweep=TRAINED):
    """A sweep as a process of its own, as soon as a trial of it trains."""
    (folder / "small.yaml").write_text(sweep + f"stall_minutes: {stall_minutes}\n")
    (folder / "tmp").mkdir(exist_ok=True)
    environment = os.environ | {"TMPDIR": str(folder / "tmp"), "RAY_TMPDIR": "/tmp"}
    process = subprocess.Popen(
        command(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    until = time.monotonic() + 250
    while not list(folder.glob("small/evals/*.parquet")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    return process, psutil.Process(process.pid).children(recursive=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGUSR1, 138)]
)
def test_a_signal_ends_a_sweep_with_checkpoints_and_leaves_no_process_and_no_scratch(tmp_path, number, code):
    process, children = training(tmp_path)
    started = time.monotonic()
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert time.monotonic() - started < 30
    assert process.returncode == code
    assert "the same command runs the others" in said and "Traceback" not in said
    assert list(tmp_path.glob("small/checkpoints/*/training.pt"))
    assert not psutil.wait_procs(children, timeout=20)[1]
    assert not list((tmp_path / "tmp").glob("raypeft*"))
    assert not list((tmp_path / "small" / ".tmp").iterdir()) and not list((tmp_path / "small" / ".stop").iterdir())
    again = subprocess.run(command(tmp_path), capture_output=True, text=True, timeout=280)
    assert again.returncode == 0, again.stderr
    assert "the training goes on from its checkpoint" in again.stderr
    rows = rows_in(tmp_path).values()
    assert len(rows) == 3 and any(row["resumed_from_step"] for row in rows)
    assert [row["attempts"] for row in rows] == [1, 1, 1], "to be told to stop is no fault"


SHARED = TRAINED.replace("num_beams: 2", "num_beams: [2, 3]").replace("[1, 2, 3]", "[1, 2]")


def assert_two_trainings_of_four_trials(folder):
    rows = rows_in(folder)
    assert [row["status"] for row in rows.values()] == ["ok"] * 4
    taken = {trial: row["trained_by"] for trial, row in rows.items() if row["trained_by"]}
    assert len(taken) == 2 and {rows[trial]["seed"] for trial in taken} == {1, 2}
    assert all(rows[trial]["seed"] == rows[other]["seed"] for trial, other in taken.items())
    assert not list((folder / "small" / "checkpoints").iterdir()), "nothing is left of the trainings"


@pytest.mark.slow
def test_trials_that_share_a_training_train_once_also_in_a_sweep_that_is_killed_between(tmp_path):
    process, children = training(tmp_path, sweep=SHARED + "checkpoint_minutes: 0\n")
    for each in (*children, process):
        each.kill()
    process.communicate(timeout=60)
    assert list(tmp_path.glob("small/checkpoints/*/training.pt"))
    again = subprocess.run(command(tmp_path), capture_output=True, text=True, timeout=280)
    assert again.returncode == 0, again.stderr
    assert "the training goes on from its checkpoint" in again.stderr
    assert_two_trainings_of_four_trials(tmp_path)


@pytest.mark.slow
def test_two_sweeps_on_one_folder_train_once_what_their_trials_share(tmp_path):
    (tmp_path / "small.yaml").write_text(SHARED)
    both = [
        subprocess.Popen(command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                         env=os.environ | {"RAY_ADDRESS": "local"})
        for _ in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=280)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert_two_trainings_of_four_trials(tmp_path)


@pytest.mark.slow
def test_a_first_ctrl_c_is_answered_by_a_line_at_once_and_a_second_one_ends_trials_that_hear_nothing(tmp_path):
    process, children = training(tmp_path)
    for each in children:
        if "ImplicitFunc" in " ".join(each.cmdline()):
            each.suspend()  # as one that decodes a large batch
    process.send_signal(signal.SIGINT)
    assert process.stdout
    until = time.monotonic() + 8
    line = next(line for line in process.stdout if line.startswith("told to stop: "))
    assert time.monotonic() < until and "Ctrl-C (again) ends " in line
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=15)
    assert process.returncode == 130 and "the same command runs the others" in said and "Traceback" not in said
    assert not psutil.wait_procs(children, timeout=20)[1]


@pytest.mark.slow
def test_a_lost_raylet_with_trials_waiting_ends_the_sweep_with_a_line(tmp_path):
    process, children = training(tmp_path)
    next(each for each in children if each.name() == "raylet").kill()
    said, _ = process.communicate(timeout=90)
    assert process.returncode == 1
    assert "Ray's raylet ended" in said and "Traceback" not in said


@pytest.mark.slow
def test_a_trial_of_which_nothing_is_heard_is_ended_and_started_again(tmp_path):
    process, children = training(tmp_path, stall_minutes=0.5)
    next(each for each in children if "ImplicitFunc" in " ".join(each.cmdline())).suspend()
    said, _ = process.communicate(timeout=280)
    assert process.returncode == 0, said
    rows = rows_in(tmp_path).values()
    assert sorted((row["status"], row["attempts"]) for row in rows) == [("ok", 1), ("ok", 1), ("ok", 2)]
    assert "the trial said nothing for 0.5 minutes and was ended" in said and "it is started again" in said


def test_a_failed_trial_ends_the_sweep_with_1_and_stops_no_neighbour(finished):
    folder, process = finished
    assert process.returncode == 1, process.stderr
    rows = rows_in(folder)
    assert sorted(row["status"] for row in rows.values()) == ["failed", "ok", "ok", "ok"]
    assert "context of 2048 tokens" in next(row["error"] for row in rows.values() if row["status"] == "failed")


def test_trials_with_shots_of_the_same_corpus_name_the_same_retriever(finished):
    folder, _ = finished
    rows = [row for row in rows_in(folder).values() if row["num_shots"] == 2]
    assert len({row["embedding_resolved_revision"] for row in rows}) == 1
    assert all(row["embedding_resolved_revision"].startswith("words of the toy model") for row in rows)


def test_candidates_of_a_dataset_with_tests_are_judged_by_the_sweeps_sandboxes_under_its_limits(finished):
    folder, _ = finished
    (row,) = (row for row in rows_in(folder).values() if row["dataset"] == "toy_apps")
    store = ResultStore(str(folder / "small"), tables())
    assert len(store.read_rows("tests", row["id"])) == 8 * 2 * 6, "problems, candidates, tests"
    (isolation,) = json.loads(row["sandbox_isolation"])
    assert isolation["tier"] == row["sandbox_tier"] != "U"
    assert isolation["limits"]["seconds_per_test"] == 2
    assert row["pass_at_1"] is not None
    assert row["em_at_1"] is None


def test_the_folder_says_what_was_planned_by_which_code(finished):
    folder, _ = finished
    manifest = ResultStore.existing(str(folder / "small"), tables()).read_manifest()
    assert manifest.plan.keys() == rows_in(folder).keys()
    assert manifest.sweep["name"] == "small"
    assert manifest.made_by["git_commit"] == next(iter(rows_in(folder).values()))["git_commit"]


def test_the_table_is_on_stdout_and_progress_on_stderr_line_by_line(finished):
    _, process = finished
    assert "EM@1" in process.stdout
    assert "failed:" in process.stdout
    assert "[4/4]" in process.stderr
    assert "\x1b[" not in process.stderr


def test_ray_and_transformers_are_not_heard(finished):
    _, process = finished
    # The table's own warnings are about the trials.
    lines = [
        line for line in (process.stdout + process.stderr).lower().splitlines() if not line.startswith("warning: ")
    ]
    heard = "\n".join(lines)
    assert not [word for word in ("ray.init", "raylet", "warning", "tensorboard", "it/s]", "(pid=") if word in heard]


def test_running_again_on_the_cluster_that_the_first_run_left_runs_what_failed_on_demand_and_keeps_its_old_row(
    finished, cluster
):
    folder, _ = finished
    before = rows_in(folder)
    process = run_on(cluster, folder)
    assert process.returncode == 1
    assert "4 trials, 4 of them done before" in process.stderr
    assert rows_in(folder) == before
    process = run_on(cluster, folder, "--retry", "failed")
    assert process.returncode == 1
    assert "4 trials, 3 of them done before" in process.stderr
    assert "[1/1]" in process.stderr
    after = rows_in(folder)
    assert {id: row["started_at"] for id, row in after.items() if row["status"] == "ok"} == {
        id: row["started_at"] for id, row in before.items() if row["status"] == "ok"
    }
    assert len(list((folder / "small" / "superseded").rglob("trials/*.parquet"))) == 1


SEARCH = """
name: small
search: optuna
num_samples: 6
scheduler: {name: asha, grace_period: 0.2, reduction_factor: 2}
defaults: {model: toy, dataset: toy, limit: 40, num_beams: 1, num_return_sequences: 1, max_new_tokens: 4}
grids: [{tuning_method: lora, num_train_epochs: 2}]
parameters: {learning_rate: {min: 1.0e-4, max: 1.0e-1, distribution: log_uniform}, lora_r: [4, 8, 16]}
resources: {cpus_per_trial: 1}
"""


@pytest.mark.slow
def test_a_search_trains_promising_settings_to_the_end_and_goes_on_with_what_it_knows(tmp_path):
    (tmp_path / "small.yaml").write_text(SEARCH)
    local = os.environ | {"RAY_ADDRESS": "local"}
    first = subprocess.run(command(tmp_path), capture_output=True, text=True, timeout=280, env=local)
    assert first.returncode == 0, first.stderr
    rows = rows_in(tmp_path)
    assert len(rows) == 6
    statuses = [row["status"] for row in rows.values()]
    assert set(statuses) == {"ok", "pruned"}
    pruned = [row for row in rows.values() if row["status"] == "pruned"]
    assert all(0 < row["steps"] < max(each["steps"] for each in rows.values()) for row in pruned)
    best = min((row for row in rows.values() if row["status"] == "ok"), key=lambda row: row["best_eval_loss"])
    assert f"the best of 6 trials ({len(pruned)} pruned) by eval_loss is {best['id']}" in first.stderr
    assert not list((tmp_path / "small" / ".stop").glob("*"))
    second = subprocess.run(command(tmp_path, "num_samples=7"), capture_output=True, text=True, timeout=280, env=local)
    assert "7 trials, 6 of them done before" in second.stderr and second.returncode == 0, second.stderr
    assert len(rows_in(tmp_path)) == 7 and rows.items() <= rows_in(tmp_path).items()
