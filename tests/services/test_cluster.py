"""What trials share on a Ray cluster: retrievers and sandboxes."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import ray

from raypeft.data import DATASETS
from raypeft.runner.session import ray_session
from raypeft.sandbox import Limits, SandboxSettings
from raypeft.services.cluster import pool_name
from raypeft.services.local import LocalServices
from raypeft.services.protocol import Retrieval


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """Two worker processes of one Ray, as two trials have them: `ask(model, k)` is the process and what it found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("RAY_ADDRESS", raising=False)
        splits = DATASETS["toy"].load(None, None)
        train, queries = splits["train"][:100], splits["test"][:10]

        class Process:
            def ask(self, model="toy", k=3):
                from raypeft.runner.tuning import SERVICES

                try:
                    return os.getpid(), SERVICES.retrieve("corpus", train, Retrieval(model), queries, k)
                except Exception as error:
                    return os.getpid(), f"{type(error).__name__}: {error}"

            def judge(self, programs, settings):
                from raypeft.runner.tuning import SERVICES

                try:
                    futures = [SERVICES.judge(program, TESTS, settings) for program in programs]
                    return [future.result() for future in futures]
                except Exception as error:
                    return f"{type(error).__name__}: {error}"

        with ray_session(print):
            started = [ray.remote(num_cpus=0.5)(Process).remote() for _ in range(2)]
            yield started, LocalServices().retrieve("corpus", train, Retrieval("toy"), queries, 3)


def ask(process, *arguments):
    return ray.get(process.ask.remote(*arguments), timeout=120)


def retrievers():
    return [name for name in ray.util.list_named_actors() if name.startswith("retriever ")]


def test_two_trials_share_one_retriever_that_finds_what_a_plain_one_finds(processes):
    (one, other), plain = processes
    answers = ray.get([one.ask.remote(), other.ask.remote()], timeout=120)
    assert answers[0][0] != answers[1][0], "two processes"
    assert [found for _, found in answers] == [plain, plain]
    assert retrievers() == ["retriever corpus toy"]


def test_another_embedding_model_has_a_retriever_of_its_own(processes):
    pytest.importorskip("bm25s")
    (one, _), _ = processes
    ask(one)
    assert ask(one, "bm25")[1].revision.startswith("bm25")
    assert sorted(retrievers()) == ["retriever corpus bm25", "retriever corpus toy"]


def test_a_retriever_takes_no_cpu_from_trials(processes):
    (one, _), _ = processes
    ask(one)
    deadline = time.monotonic() + 20  # Ray tells its resources with some delay
    while ray.available_resources()["CPU"] != ray.cluster_resources()["CPU"] - 1 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ray.available_resources()["CPU"] == ray.cluster_resources()["CPU"] - 1


def test_a_retriever_that_was_killed_is_started_again_by_whoever_asks_next(processes):
    pytest.importorskip("bm25s")  # which starts within a second, since it needs no torch
    (one, other), _ = processes
    found = ask(one, "bm25")[1]
    ray.kill(ray.get_actor("retriever corpus bm25"))
    assert ask(other, "bm25")[1] == found
    assert retrievers().count("retriever corpus bm25") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nobody/no-such-model",), "ValueError: embedding_model must be toy, minilm, bm25, a folder, or"),
        (("toy", 101), "ValueError: k must be from 1 to 100"),
    ],
)
def test_a_retrievers_error_reaches_the_trial_as_it_was_raised(processes, arguments, told):
    (one, _), plain = processes
    assert ask(one, *arguments)[1].startswith(told)
    assert ask(one)[1] == plain, "the next trial is served"


TESTS = '{"inputs": ["1 2", "3 4"], "outputs": ["3", "7"]}'
ADD = "print(sum(map(int, input().split())))"
SLOW = "import time\ntime.sleep(1.5)\n" + ADD
SETTINGS = SandboxSettings(Limits(seconds_per_test=2))


def test_two_trials_share_one_pool_of_sandboxes_and_what_it_remembers(processes):
    (one, other), _ = processes
    first, second = (ray.get(each.judge.remote([ADD], SETTINGS), timeout=120)[0] for each in (one, other))
    assert [test.outcome for test in first.tests] == ["passed", "passed"]
    assert (first.cached, second.cached) == (False, True)
    assert second.tests == first.tests
    assert second.isolation["tier"] != "U"
    assert sum(name.startswith("sandboxes ") for name in ray.util.list_named_actors()) == 1


def test_other_limits_have_a_pool_and_a_memory_of_their_own(processes):
    (one, _), _ = processes
    ray.get(one.judge.remote([ADD], SETTINGS), timeout=120)
    (other,) = ray.get(one.judge.remote([ADD], SandboxSettings(Limits(seconds_per_test=3))), timeout=120)
    assert not other.cached
    assert other.isolation["limits"]["seconds_per_test"] == 3


def sandbox_processes():
    """Folders in /proc of the actors that hold a sandbox."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may just have ended
            if b"SandboxWorker" in (folder / "cmdline").read_bytes():
                found.append(folder)
    return found


def kill_the_pool(times):
    """Kill the pool of sandboxes, and each one that is started in its place."""
    killed = set()
    until = time.monotonic() + 60
    while len(killed) < times:
        assert time.monotonic() < until, "no new pool was started"
        with suppress(ValueError, ray.exceptions.RayActorError):  # there is none just now
            pool = ray.get_actor(pool_name(SETTINGS))
            if pool._actor_id not in killed:
                ray.get(pool.__ray_ready__.remote(), timeout=60)
                ray.kill(pool)
                killed.add(pool._actor_id)
        time.sleep(0.1)


@pytest.mark.parametrize("victim", ["sandbox", "pool"])
def test_a_lost_sandbox_or_pool_costs_time_and_no_result(processes, victim):
    (one, _), _ = processes
    programs = [f"{SLOW}  # {victim} {number}" for number in range(3)]
    ray.get(one.judge.remote([f"{ADD}  # {victim}"], SETTINGS), timeout=120)  # the pool is there
    found = one.judge.remote(programs, SETTINGS)
    time.sleep(1)
    if victim == "sandbox":
        os.kill(int(sandbox_processes()[0].name), signal.SIGKILL)
    else:
        kill_the_pool(times=2)
    outcomes = [[test.outcome for test in result.tests] for result in ray.get(found, timeout=120)]
    assert outcomes == [["passed", "passed"]] * 3


def test_a_machine_without_a_sandbox_reaches_the_trial_as_it_was_raised(processes):
    (one, _), _ = processes
    told = ray.get(one.judge.remote([ADD], SandboxSettings(tier="U")), timeout=120)
    assert told.startswith("SandboxUnavailable: tier U has no isolation")
    assert "allow_unsafe_execution: true" in told


def test_sandboxes_start_without_torch(processes):
    (one, _), _ = processes
    ray.get(one.judge.remote([ADD], SETTINGS), timeout=120)
    folders = sandbox_processes()
    assert folders
    assert all(b"libtorch" not in (folder / "maps").read_bytes() for folder in folders)


LOSES_A_NODE = """
import sys
import time
import psutil
import ray
from ray.cluster_utils import Cluster
from raypeft.services.protocol import Retrieval
from raypeft.sandbox import Limits, SandboxSettings
from raypeft.services.cluster import ClusterServices

program, tests = sys.argv[1:]
settings = SandboxSettings(Limits(seconds_per_test=2))
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
try:
    lost = cluster.add_node(num_cpus=2)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    while ray.cluster_resources().get("CPU", 0) < 3:  # the pool has as many sandboxes as there are CPUs when it starts
        time.sleep(0.2)
    services = ClusterServices()
    raylet, on_lost, deadline = psutil.Process(lost.all_processes["raylet"][0].process.pid), [], time.monotonic() + 60
    while not on_lost and time.monotonic() < deadline:  # sandboxes of the other node may be there first
        services.judge(f"{program}  # at {time.monotonic()}", tests, settings).result()
        workers = [each for each in raylet.children() if each.status() != psutil.STATUS_ZOMBIE]
        on_lost = [each for each in workers if any("SandboxWorker" in word for word in each.cmdline())]
    slow = [services.judge(f"{program}  # {number}", tests, settings) for number in range(9)]
    cluster.remove_node(lost, allow_graceful=False)
    print("RESULT", len(on_lost), sum(future.result().all_passed for future in slow))
finally:
    ray.shutdown()
    cluster.shutdown()
"""


@pytest.mark.slow
@pytest.mark.cluster
def test_a_lost_node_costs_time_and_no_result():
    done = subprocess.run(
        [sys.executable, "-c", LOSES_A_NODE, SLOW, TESTS], capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    (told,) = re.findall(r"RESULT (\d+) (\d+)", done.stdout)  # Ray says something of the node as well
    sandboxes, passed = map(int, told)
    if not sandboxes:
        pytest.skip("Ray put no sandbox on the node that is lost")
    assert passed == 9


REFUSES_A_NODE = """
import os
import sys
import time
import psutil
import ray
from ray.cluster_utils import Cluster
from raypeft.sandbox import Limits, SandboxSettings
from raypeft.services.cluster import ClusterServices

program, tests = sys.argv[1:]
settings = SandboxSettings(Limits(seconds_per_test=2))
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
try:
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    late = [cluster.add_node(num_cpus=2, env_vars={"LACKS": lacks}) for lacks in ("its data", "")]
    cluster.wait_for_nodes()
    services = ClusterServices()
    services.check = lambda: [os.environ["LACKS"]] if os.environ.get("LACKS") else []
    found = [services.judge(f"{program}  # {number}", tests, settings) for number in range(12)]
    passed = sum(future.result().all_passed for future in found)
    there, deadline = [1, 0], time.monotonic() + 30
    while there[0] and time.monotonic() < deadline:  # a sandbox that was refused ends soon
        raylets = [psutil.Process(node.all_processes["raylet"][0].process.pid) for node in late]
        alive = [[each for each in raylet.children() if each.status() != psutil.STATUS_ZOMBIE] for raylet in raylets]
        there = [sum(any("Sandbox" in word for word in each.cmdline()) for each in workers) for workers in alive]
        time.sleep(0.5)
    print("RESULT", *there, passed)
finally:
    ray.shutdown()
    cluster.shutdown()
"""


@pytest.mark.slow
@pytest.mark.cluster
def test_a_node_that_lacks_what_trials_need_gets_no_sandbox():
    done = subprocess.run(
        [sys.executable, "-c", REFUSES_A_NODE, SLOW, TESTS], capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    (told,) = re.findall(r"RESULT (\d+) (\d+) (\d+)", done.stdout)
    refusing, fit, passed = map(int, told)
    assert (refusing, passed) == (0, 12)
    assert fit > 0, "the other late node takes its share"
