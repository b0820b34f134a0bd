"""A Ray that ends or stalls: stand-ins first, then a sweep whose Ray is stopped while it trains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import psutil
import pytest

from raypeft.runner import pulse
from raypeft.runner.pulse import Pulse, RayLost


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch):
    for name, seconds in {"ASK": 0.02, "TICK": 0.02, "SAY_AFTER": 0.2, "GIVE_UP": 0.6, "GRACE": 0.3}.items():
        monkeypatch.setattr(pulse, name, seconds)


@contextmanager
def raylet(of: str = "raylet"):
    """A process that stands in for one of Ray's, in a node that was started here."""
    process = subprocess.Popen(["sleep", "60"])
    yield (
        process,
        SimpleNamespace(
            head=True,
            live_processes=lambda: [(of, process)] if process.poll() is None else [],
            dead_processes=lambda: [] if process.poll() is None else [(of, process)],
        ),
    )
    process.kill()
    process.wait()


def in_place(monkeypatch: pytest.MonkeyPatch, nodes, node=None):
    """Let Ray answer so, on this node."""
    context = SimpleNamespace(get_node_id=lambda: "here")
    own = SimpleNamespace(worker=SimpleNamespace(_global_node=node))
    stand_in = SimpleNamespace(_private=own, get_runtime_context=lambda: context, nodes=nodes)
    monkeypatch.setattr(pulse, "ray", stand_in)


def alive(is_so: bool = True):
    return [{"NodeID": "here", "Alive": is_so}, {"NodeID": "there", "Alive": False}]


def lost_within(seconds: float, found: Pulse) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            found.check()
        except RayLost as lost:
            return str(lost)
        time.sleep(0.01)
    return ""


def test_a_ray_that_answers_is_left_alone_and_its_nodes_are_known(quick, monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    with raylet() as (process, node):
        in_place(monkeypatch, alive, node)
        with Pulse(said.append) as found:
            assert not lost_within(1, found)
            assert found.nodes == alive() and process.poll() is None and not said


def test_a_ray_that_stalls_is_said_and_then_lost_and_its_process_is_killed(quick, monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    with raylet("gcs_server") as (process, node):
        in_place(monkeypatch, threading.Event().wait, node)
        with Pulse(said.append) as found:
            told = lost_within(5, found)
            assert told == "Ray has not answered for 0.6 s; the same command goes on from what is stored"
            assert process.wait(5) == -signal.SIGKILL
        assert said[0].startswith("waiting: Ray has not answered for 0.2 s (is the machine overloaded?); after 0.6 s")


def test_a_ray_that_has_given_up_this_machine_is_lost(quick, monkeypatch: pytest.MonkeyPatch):
    with raylet() as (process, node):
        in_place(monkeypatch, lambda: alive(False), node)
        with Pulse(print) as found:
            assert lost_within(5, found).startswith("Ray has given up this machine, since its raylet does not answer")
            assert process.wait(5) == -signal.SIGKILL


def test_a_process_of_rays_that_ends_is_a_ray_that_is_lost_but_not_while_it_is_shut_down(
    quick, monkeypatch: pytest.MonkeyPatch
):
    with raylet() as (process, node):
        in_place(monkeypatch, alive, node)
        with Pulse(print) as found:
            process.kill()
            assert lost_within(5, found).startswith("Ray's raylet ended (most often the machine ran out of memory)")
    with raylet() as (process, node):
        in_place(monkeypatch, alive, node)
        with Pulse(print) as found:
            found.ask_no_more()
            process.kill()
            assert not lost_within(0.3, found)


def test_a_command_that_hangs_in_a_ray_that_is_lost_or_does_not_shut_down_is_ended(
    quick, monkeypatch: pytest.MonkeyPatch
):
    for nodes, reason in ((threading.Event().wait, "has not answered for 0.6 s"), (alive, "did not shut down within")):
        ended, said = threading.Event(), []
        monkeypatch.setattr(pulse.os, "_exit", lambda code, ended=ended: ended.set())
        in_place(monkeypatch, nodes)
        with Pulse(said.append) as found:
            if nodes is alive:
                found.ask_no_more()
            assert ended.wait(5)
        assert f"Ray {reason}" in said[-1] and said[-1].endswith("goes on from what is stored")


SWEEP = """
name: small
defaults: {model: toy, dataset: toy, limit: 40, max_new_tokens: 4, num_beams: 2, num_return_sequences: 2}
grids:
  - tuning_method: {name: lora, num_train_epochs: 200, seed: [1, 2, 3, 4, 5, 6, 7, 8]}
resources: {cpus_per_trial: 1}
"""
QUICK_SWEEP = """
import sys
from raypeft.runner import pulse
pulse.ASK, pulse.SAY_AFTER, pulse.GIVE_UP, pulse.GRACE = 0.5, 3, 10, 15
from raypeft.sweep import main
sys.exit(main([sys.argv[1] + "/small.yaml", "--results", sys.argv[1]]))
"""
SOON = {
    f"RAY_health_check_{name}": value
    for name, value in {
        "initial_delay_ms": "0",
        "period_ms": "1000",
        "timeout_ms": "1000",
        "failure_threshold": "3",
    }.items()
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("stalled", "lines"),
    [
        ("gcs_server", ["waiting: Ray has not answered for 3 s", "Ray has not answered for 10 s; the same command"]),
        ("raylet", ["Ray has given up this machine, since its raylet does not answer"]),
    ],
)
def test_a_sweep_whose_ray_stalls_says_so_and_ends_and_leaves_no_process(tmp_path, stalled, lines):
    (tmp_path / "small.yaml").write_text(SWEEP)
    environment = os.environ | SOON | {"RAY_ADDRESS": "local"}
    process = subprocess.Popen([sys.executable, "-c", QUICK_SWEEP, str(tmp_path)], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, env=environment)  # fmt: skip
    try:
        until = time.monotonic() + 250
        while not list(tmp_path.glob("small/evals/*.parquet")):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.1)
        children = psutil.Process(process.pid).children(recursive=True)
        next(each for each in children if each.name() == stalled).suspend()
        said, _ = process.communicate(timeout=90)
        assert process.returncode == 1, said
        assert all(line in said for line in lines), said
        # Ray's agents look for their raylet now and then, and try to reach a GCS that is gone for minutes before.
        assert not psutil.wait_procs(children, timeout=400)[1]
    finally:
        process.kill()
