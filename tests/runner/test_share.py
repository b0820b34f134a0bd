"""Who has which cores and cards of a machine; at the end two sweeps that are started at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest

from raypeft.runner import session, share
from raypeft.runner.share import Machine, holder, share_of_machine, take, this_machine
from raypeft.services.queue import cpu_count


@pytest.fixture(autouse=True)
def prefix(monkeypatch: pytest.MonkeyPatch):
    """Names that no command of this machine has."""
    name = f"\0raypeft-test-{os.getpid()}-{time.monotonic_ns()}/"
    monkeypatch.setattr(share, "PREFIX", name)
    return name


@pytest.fixture
def of_four(monkeypatch: pytest.MonkeyPatch):
    """A machine of four cores."""
    monkeypatch.setattr(share, "this_machine", lambda use_gpu: Machine(range(4)))
    monkeypatch.setattr(share, "POLL", 0.01)


HOLDS = """
import socket, sys, time
held = [socket.socket(socket.AF_UNIX) for _ in range(4)]
for core, each in enumerate(held):
    each.bind(f"\\0{sys.argv[1]}core/{core}")
    each.listen()
print("holds", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(prefix):
    """Another command that has all four cores."""
    words = [sys.executable, "-c", HOLDS, prefix.removeprefix("\0")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "holds\n"
    yield process
    process.kill()
    process.wait()


def test_a_command_waits_for_another_one_with_a_line_that_names_it_and_begins_when_that_is_killed(of_four, other):
    said: list[str] = []
    threading.Timer(0.3, other.kill).start()
    with share_of_machine(None, said.append, lambda: None) as options:
        assert other.poll() is not None
        assert options == {"num_cpus": 4}
    (line,) = said
    assert line.startswith(f"waiting: process {other.pid} has all that this command may use of this machine")
    assert "--address local" in line


def test_a_command_waits_for_all_names_of_a_process_that_ends_since_the_kernel_takes_them_one_by_one(of_four):
    with ExitStack() as first:
        ends = [ExitStack() for _ in range(4)]
        for core, end in enumerate(ends):
            first.push(end)
            assert share._held(f"core/{core}", end)

        def end_slowly():
            for end in ends:
                end.close()
                time.sleep(share.SETTLES / 4)

        threading.Timer(0.1, end_slowly).start()
        with share_of_machine(None, lambda line: None, lambda: None) as options:
            assert options == {"num_cpus": 4}


def test_the_waiting_ends_when_the_command_is_told_to_stop(of_four, other):
    looks = iter([None, None, KeyboardInterrupt])

    def check():
        if raised := next(looks):
            raise raised

    with pytest.raises(KeyboardInterrupt), share_of_machine(None, lambda line: None, check):
        pytest.fail("the other command has all cores")


def test_commands_at_once_never_have_more_cores_than_the_machine_and_each_gets_some(of_four):
    in_use, most, shares, lock = [0], [0], [], threading.Lock()

    def command():
        with share_of_machine(None, lambda line: None, lambda: None) as options:
            with lock:
                in_use[0] += options["num_cpus"]
                most[0] = max(most[0], in_use[0])
                shares.append(options["num_cpus"])
            time.sleep(0.02)
            with lock:
                in_use[0] -= options["num_cpus"]

    commands = [threading.Thread(target=command) for _ in range(8)]
    for each in commands:
        each.start()
    for each in commands:
        each.join(30)
    assert len(shares) == 8 and most[0] == 4


def test_commands_on_other_cores_do_not_wait_for_each_other_and_what_is_left_is_taken_and_said(
    monkeypatch: pytest.MonkeyPatch, other
):
    said: list[str] = []
    monkeypatch.setattr(share, "this_machine", lambda use_gpu: Machine([2, 3, 4, 5, 6]))
    with share_of_machine(None, said.append, pytest.fail) as options:
        assert options == {"num_cpus": 3}
    assert said == [f"process {other.pid} has the rest of this machine: this command takes 3 of 5 cores"]


def test_a_command_without_a_free_card_takes_no_core(monkeypatch: pytest.MonkeyPatch):
    one = Machine(range(8), [("0", "GPU-a")], 0.5)
    with ExitStack() as held:
        taken = take(one, held)
        assert taken and (list(taken.cores), taken.cards) == ([0, 1, 2, 3], [("0", "GPU-a")])
        assert take(one, ExitStack()) is None
        beside = take(Machine(range(8), [("0", "GPU-a"), ("1", "GPU-b")]), held)
        assert beside and (list(beside.cores), beside.cards) == ([4, 5, 6, 7], [("1", "GPU-b")])
        assert holder(one) == "another command", "it is this process"
    assert take(one, held)


def test_ray_is_started_with_the_cards_that_were_free(monkeypatch: pytest.MonkeyPatch):
    both = Machine(range(2), [("0", "GPU-a"), ("1", "GPU-b")])
    monkeypatch.setattr(share, "this_machine", lambda use_gpu: both)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with ExitStack() as held:
        take(Machine([7], [("0", "GPU-a")]), held)
        with share_of_machine(None, lambda line: None, pytest.fail) as options:
            assert options == {"num_cpus": 2, "num_gpus": 1}
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"


@pytest.mark.parametrize(
    ("visible", "use_gpu", "cards", "part"),
    [
        (None, None, [("0", "GPU-a"), ("1", "GPU-b")], 1),
        ("1", True, [("1", "GPU-b")], 0.5),
        ("GPU-a", None, [("GPU-a", "GPU-a")], 0.5),
        ("1,-1,0", None, [("1", "GPU-b")], 0.5),
        ("", None, [], 1),
        (None, False, [], 1),
    ],
)
def test_cards_are_those_that_are_visible_by_the_name_that_the_driver_has_for_them(
    monkeypatch: pytest.MonkeyPatch, visible, use_gpu, cards, part
):
    monkeypatch.setattr(share, "ask_driver", lambda what: ["GPU-a", "GPU-b"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = this_machine(use_gpu)
    assert (list(found.cards), found.part) == (cards, part)
    assert set(found.cores) <= os.sched_getaffinity(0)


@pytest.mark.parametrize(("address", "shares"), [("", True), ("local", False), ("auto", False), ("10.0.0.1:1", False)])
def test_only_a_ray_that_is_started_for_want_of_a_cluster_shares(tmp_path, monkeypatch, address, shares):
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert session.names_no_cluster() == shares


SWEEP = """
name: {name}
defaults: {{model: toy, dataset: toy, limit: 40, decode: false}}
grids: [{{tuning_method: {{name: lora, num_train_epochs: 3, seed: [1, 2]}}}}]
resources: {{cpus_per_trial: 1}}
"""
RUNS = """
import sys
from raypeft.runner import share
share.PREFIX = "\\0" + sys.argv[1]
from raypeft.sweep import main
sys.exit(main([sys.argv[2], "--results", sys.argv[3]]))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("is_killed", [False, True])
def test_two_sweeps_never_use_more_cores_than_there_are_and_one_that_is_killed_blocks_nobody(
    tmp_path, prefix, is_killed
):
    from raypeft.results.store import ResultStore
    from raypeft.trial.columns import tables

    environment = os.environ | {"RAY_ADDRESS": "", "RAY_TMPDIR": "/tmp"}
    processes = {}
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(SWEEP.format(name=name))
        words = [sys.executable, "-c", RUNS, prefix.removeprefix("\0"), str(tmp_path / f"{name}.yaml"), str(tmp_path)]
        processes[name] = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                           env=environment)  # fmt: skip
        lines = []
        while not lines or not lines[-1].startswith(("started", "waiting: process")):
            lines.append(processes[name].stderr.readline())
            assert lines[-1], lines
    if is_killed:
        processes["one"].kill()
    said = {name: process.communicate(timeout=400)[1] for name, process in processes.items()}
    assert processes["two"].returncode == 0, said
    assert processes["one"].returncode == (-signal.SIGKILL if is_killed else 0), said
    spans = []
    for name in ("two",) if is_killed else ("one", "two"):
        rows = list(ResultStore(str(tmp_path / name), tables()).read_rows())
        assert [row["status"] for row in rows] == ["ok", "ok"]
        spans += [(row["started_at"].timestamp(), row["started_at"].timestamp() + row["total_seconds"]) for row in rows]
    assert max(sum(start <= moment < end for start, end in spans) for moment, _ in spans) <= cpu_count()
