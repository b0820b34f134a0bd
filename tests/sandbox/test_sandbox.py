"""The sandbox itself: tiers and their self-test, threads, zygotes that die, a supervisor that dies, bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sandboxes import HERE, LIMITS, LocalSandbox, descendants, make_sandbox

from raypeft.sandbox import Limits, Sandbox, SandboxUnavailable, selftest, spawn, supervisor
from raypeft.sandbox.process import Process, ZygoteLost

DOUBLE = {"inputs": ["21"], "outputs": ["42"]}
HONEST = "print(int(input()) * 2)"


def unavailable(tier: str) -> str | None:
    try:
        Sandbox(tier=tier).close()
    except SandboxUnavailable as error:
        return str(error)
    return None


def test_the_isolation_is_recorded_with_every_result(sandbox: Any) -> None:
    isolation = sandbox.run(HONEST, DOUBLE).isolation
    assert json.loads(json.dumps(isolation)) == isolation
    assert isolation["tier"] in "AB" and isolation["landlock_abi"] >= 1 and isolation["no_new_privs"]
    assert isolation["limits"]["seconds_per_test"] == LIMITS["seconds_per_test"]
    assert isolation["uid"] != 0
    assert {"net", "mnt", "pid", "ipc"} <= set(isolation["namespaces"]) or isolation["tier"] == "B"


def test_an_unknown_tier_is_refused() -> None:
    with pytest.raises(ValueError, match="tier must be auto or one of A, B, C, U but got 'D'"):
        Sandbox(tier="D")


def test_tier_u_refuses_unless_it_is_asked_for_by_name() -> None:
    with pytest.raises(SandboxUnavailable, match="allow_unsafe_execution"):
        Sandbox(tier="U")
    with Sandbox(Limits(**LIMITS), tier="U", allow_unsafe_execution=True) as sandbox:
        assert sandbox.run(HONEST, DOUBLE).all_passed
        assert sandbox.isolation["tier"] == "U"


def test_a_machine_without_any_tier_refuses_and_names_the_reasons_and_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(zygote: Any, tier: str) -> None:
        if tier != "U":
            raise SandboxUnavailable(f"tier {tier}: read: got through")

    monkeypatch.setattr(supervisor.selftest, "check", fails)
    with pytest.raises(SandboxUnavailable, match=r"tier C: .*allow_unsafe_execution=True"):
        Sandbox()
    with Sandbox(allow_unsafe_execution=True) as sandbox:
        assert sandbox.tier == "U"


@pytest.mark.parametrize(
    ("faults", "steps_down"),
    [
        ([BlockingIOError("no process")], False),
        ([ZygoteLost("killed"), OSError("no memory")], False),
        ([OSError("no")] * 3, True),
    ],
)
def test_a_tier_is_tried_again_where_the_machine_lacks_something_just_now(
    monkeypatch: pytest.MonkeyPatch, faults: list[Exception], steps_down: bool
) -> None:
    with Sandbox() as sandbox:
        strongest = sandbox.tier
    real, left = selftest.check, iter(faults)

    def check(zygote: Any, tier: str) -> None:
        if fault := next(left, None):
            raise fault
        real(zygote, tier)

    monkeypatch.setattr(supervisor.selftest, "check", check)
    monkeypatch.setattr(supervisor, "_PAUSE", 0)
    with Sandbox() as sandbox:
        assert (sandbox.tier != strongest) == steps_down


def test_the_self_tests_attacks_do_get_through_where_nothing_is_confined() -> None:
    zygote = spawn.Zygote(Limits(), "U", full=False)
    try:
        with pytest.raises(SandboxUnavailable) as caught:
            selftest.check(zygote, "B")
    finally:
        zygote.close()
    for name in (
        "read",
        "write",
        "create",
        "make_folder",
        "remove",
        "chmod",
        "proc",
        "tcp",
        "unix",
        "abstract",
        "fork",
    ):
        assert f"{name}: got through" in str(caught.value) or f"{name} without the filter: got" in str(caught.value)
    assert "left behind" in str(caught.value)


def test_a_tier_whose_filter_is_not_enforced_fails_its_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := unavailable("B"):
        pytest.skip(reason)
    real = spawn.Zygote.fork
    monkeypatch.setattr(spawn.Zygote, "fork", lambda self, cpu_seconds, filtered=True: real(self, cpu_seconds, False))
    assert "fork: got through" in (unavailable("B") or "")


def test_auto_takes_the_first_tier_that_holds(any_sandbox: Sandbox) -> None:
    stronger = "ABC"[: "ABC".index(any_sandbox.tier)]
    assert all(unavailable(tier) for tier in stronger)


def test_tier_c_opens_no_file_and_imports_what_is_loaded() -> None:
    sandbox = make_sandbox("C")
    try:
        tests = {"inputs": [""], "outputs": ["42"]}
        for module in ("math", "statistics", "numpy", "hashlib", "subprocess"):
            assert sandbox.run(f"import {module}\nprint(42)", tests).all_passed, module
        for program in ("open('/etc/passwd')", "import os\nopen(os.__file__)", "import turtle", "open('/dev/zero')"):
            assert sandbox.run(f"{program}\nprint(42)", tests).tests[0].outcome == "runtime_error"
        assert sandbox.run("while True: pass", tests).tests[0].outcome == "time_limit"
    finally:
        sandbox.close()


def test_the_command_prints_what_each_tier_gives() -> None:
    done = subprocess.run([sys.executable, "-m", "raypeft.sandbox", "--self-test"], text=True, capture_output=True)
    assert [line[0] for line in done.stdout.splitlines()] == ["A", "B", "C", "U", "a"], done
    assert "auto takes" in done.stdout


def test_b_is_what_an_unprivileged_user_without_namespaces_gets() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to take namespaces away")
    command = [sys.executable, str(HERE / "as_nobody.py"), "--no-namespaces", sys.executable]
    done = subprocess.run([*command, "-m", "raypeft.sandbox", "--self-test"], text=True, capture_output=True)
    if "CAP_SYS" in done.stderr or "PermissionError" in done.stderr:
        pytest.skip(done.stderr[-300:])
    assert "A  no: " in done.stdout and "B  holds: Landlock ABI" in done.stdout and "auto takes B" in done.stdout, done


def test_many_threads_may_run_programs_at_once(sandbox: Any) -> None:
    def run(number: int) -> bool:
        tests = {"inputs": [f"{number}"] * 2, "outputs": [f"{2 * number}"] * 2}
        return sandbox.run(HONEST, tests).all_passed

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(60)))


def test_a_thread_that_made_the_sandbox_may_end_before_it_is_used() -> None:
    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(Sandbox(Limits(**LIMITS))))
    thread.start()
    thread.join()
    if not made:
        pytest.skip("no tier here")
    with made[0] as sandbox:
        assert sandbox.run(HONEST, DOUBLE).all_passed


def test_a_dead_zygote_is_replaced(any_sandbox: LocalSandbox) -> None:
    any_sandbox.run("import numpy\n" + HONEST, DOUBLE)
    for _ in range(2):
        for zygote in list(any_sandbox.zygotes.values()):
            os.kill(zygote.process.pid, signal.SIGKILL)
        assert any_sandbox.run(HONEST, DOUBLE).all_passed
        assert any_sandbox.run("import numpy\n" + HONEST, DOUBLE).all_passed


def test_programs_that_run_while_their_zygote_dies_are_run_again(any_sandbox: LocalSandbox) -> None:
    slow = "import time\ntime.sleep(0.4)\n" + HONEST
    assert any_sandbox.run(HONEST, DOUBLE).all_passed, "there is a zygote"
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(any_sandbox.run, slow, DOUBLE) for _ in range(4)]
        time.sleep(0.2)
        os.kill(any_sandbox.zygotes[False].process.pid, signal.SIGKILL)
        assert all(future.result(timeout=30).all_passed for future in running)


def test_a_program_whose_zygote_always_dies_gets_an_outcome(
    any_sandbox: LocalSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Process.test

    def test(self: Process, *args: Any, **kwargs: Any) -> Any:
        os.kill(any_sandbox.zygotes[False].process.pid, signal.SIGKILL)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Process, "test", test)
    (result,) = any_sandbox.run("import time\ntime.sleep(0.5)\n" + HONEST, DOUBLE).tests
    assert result.outcome == "runtime_error" and "lost" in result.error
    monkeypatch.undo()
    assert any_sandbox.run(HONEST, DOUBLE).all_passed


ORPHANS = """
import sys, threading, time
from raypeft.sandbox import Limits, Sandbox
sandbox = Sandbox(Limits(seconds_per_test=60), tier=sys.argv[1])
tests = {"inputs": [""], "outputs": [""]}
for program in ("while True: pass", "import time; time.sleep(999)", "import numpy, time; time.sleep(999)"):
    threading.Thread(target=sandbox.run, args=(program, tests), daemon=True).start()
time.sleep(600)
"""


@pytest.mark.parametrize("tier", ["A", "B"])
def test_a_supervisor_that_is_killed_leaves_no_process_behind(tier: str) -> None:
    if reason := unavailable(tier):
        pytest.skip(reason)
    process = subprocess.Popen([sys.executable, "-c", ORPHANS, tier])
    # Two zygotes, in tier A below a process of their own each, and three programs.
    expected = 7 if tier == "A" else 5
    end = time.monotonic() + 60
    while len(left := set(descendants(process.pid))) < expected and time.monotonic() < end:
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert len(left) >= expected
    end = time.monotonic() + 20
    while (alive := [pid for pid in left if Path(f"/proc/{pid}").exists()]) and time.monotonic() < end:
        time.sleep(0.02)
    assert not alive


def test_closing_ends_every_process_and_running_afterwards_is_refused() -> None:
    before = set(descendants(os.getpid()))
    try:
        sandbox = Sandbox(Limits(**LIMITS))
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    sandbox.run(HONEST, DOUBLE)
    assert set(descendants(os.getpid())) - before
    sandbox.close()
    sandbox.close()
    assert not set(descendants(os.getpid())) - before
    with pytest.raises(RuntimeError, match="closed"):
        sandbox.run(HONEST, DOUBLE)


def test_no_descriptor_is_left_open_by_runs(any_sandbox: LocalSandbox) -> None:
    programs = [HONEST, "while True: pass", "1 / 0", "import os; os._exit(1)", "print(", "import numpy"]
    for program in programs:
        any_sandbox.run(program, DOUBLE)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for program in programs:
        any_sandbox.run(program, DOUBLE)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_forked_process_cannot_use_its_parents_sandbox(
    any_sandbox: LocalSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor.os, "getpid", lambda: -1)
    with pytest.raises(RuntimeError, match="belongs to the process that made it"):
        any_sandbox.run(HONEST, DOUBLE)


def test_expected_answers_are_never_sent(any_sandbox: LocalSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    real = Process._send

    def send(self: Process, data: bytes, *args: Any) -> None:
        sent.append(data)
        real(self, data, *args)

    monkeypatch.setattr(Process, "_send", send)
    any_sandbox.run("def f(x): return 'answer:7f3a'", {"inputs": [["x"]], "outputs": ["answer:7f3b"], "fn_name": "f"})
    any_sandbox.run("print(1)", {"inputs": ["x"], "outputs": ["answer:7f3b"]})
    assert len(sent) == 4 and not any(b"7f3b" in data for data in sent)


@pytest.mark.parametrize(
    ("field", "value"),
    [("seconds_per_test", 0), ("memory_mb", "1"), ("output_mb", 1e9), ("open_files", True), ("threads", float("nan"))],
)
def test_a_limit_that_makes_no_sense_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field} must be a number between"):
        replace(Limits(), **{field: value})


@pytest.mark.parametrize(
    "tests",
    [None, {}, {"inputs": []}, {"inputs": [1], "outputs": []}, {"inputs": "a", "outputs": "b"},
     {"inputs": [], "outputs": [], "fn_name": 3}],
)  # fmt: skip
def test_tests_of_another_form_are_refused(any_sandbox: LocalSandbox, tests: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        any_sandbox.run(HONEST, tests)


def test_no_tests_give_no_results(any_sandbox: LocalSandbox) -> None:
    assert any_sandbox.run(HONEST, {"inputs": [], "outputs": []}).tests == []


def test_a_program_may_use_the_memory_that_it_was_given_and_not_more(sandbox: Any) -> None:
    megabytes = LIMITS["memory_mb"]
    for share, outcome in ((0.8, "passed"), (1.1, "memory_limit")):
        program = f"import mmap\nx = mmap.mmap(-1, {int(share * megabytes)} << 20)\n{HONEST}"
        for prefix in ("", "import numpy\n"):
            assert sandbox.run(prefix + program, DOUBLE).tests[0].outcome == outcome
