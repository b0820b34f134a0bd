"""The queue before the sandbox: bounded, remembered, cancelled, and honest about failures."""

import threading
import time
from concurrent.futures import CancelledError

import pytest

from raypeft.sandbox import RunResult, Sandbox, SandboxSettings, SandboxUnavailable, TestResult
from raypeft.services.queue import Answers, Executor, SandboxWorker

TESTS = '{"inputs": ["1 2", "3 4"], "outputs": ["3", "7"]}'
ADD = "a, b = map(int, input().split())\nprint(a + b)"


class Gate:
    """A run that waits until it is opened, and counts its calls."""

    def __init__(self):
        self.open = threading.Event()
        self.calls = []

    def __call__(self, program, tests):
        self.calls.append(program)
        assert self.open.wait(20)
        return RunResult([TestResult("passed", True, True)])


def until(condition):
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


def test_programs_come_back_judged_as_the_sandbox_judges_them():
    programs = [ADD, ADD.replace("+", "-"), "1 / 0", "def", "print(3)"]
    executor = Executor(SandboxWorker(SandboxSettings()).run, workers=2)
    found = [executor.submit(program, TESTS) for program in programs]
    with Sandbox() as sandbox:
        tests = {"inputs": ["1 2", "3 4"], "outputs": ["3", "7"]}
        plain = [sandbox.run(program, tests) for program in programs]
    outcomes = [[test.outcome for test in each.result().tests] for each in found]
    assert outcomes == [[test.outcome for test in each.tests] for each in plain]
    assert outcomes[4] == ["passed", "wrong_answer"]


def test_equal_programs_on_equal_tests_are_run_once_and_say_so(gate):
    gate.open.set()
    answers = Answers(gate)
    assert [answers("a", "t").cached for _ in range(3)] == [False, True, True]
    assert [answers(*pair).cached for pair in (("a", "u"), ("b", "t"), ("at", ""))] == [False] * 3
    assert gate.calls == ["a", "a", "b", "at"]


def test_equal_programs_that_are_asked_at_once_are_run_once(gate):
    executor = Executor(gate, workers=4)
    futures = [executor.submit("a", "t") for _ in range(4)]
    until(lambda: gate.calls)
    gate.open.set()
    assert sorted(future.result().cached for future in futures) == [False, True, True, True]
    assert gate.calls == ["a"]


def test_a_failure_is_told_and_not_remembered():
    calls = []

    def fails_once(program, tests):
        calls.append(program)
        if len(calls) == 1:
            raise OSError("gone")
        return RunResult([])

    answers = Answers(fails_once)
    with pytest.raises(OSError, match="gone"):
        answers("a", "t")
    assert answers("a", "t") == RunResult([])


def test_the_oldest_answers_are_forgotten(gate):
    gate.open.set()
    answers = Answers(gate, most=2)
    for program in "abc":
        answers(program, "")
    assert [answers(program, "").cached for program in "cba"] == [True, True, False]


def test_a_full_queue_makes_whoever_submits_wait(gate):
    executor = Executor(gate, workers=1, waiting=2)
    submitted = []

    def submit_all():
        for number in range(5):
            executor.submit(str(number), "")
            submitted.append(number)

    thread = threading.Thread(target=submit_all)
    thread.start()
    until(lambda: len(submitted) == 3)
    time.sleep(0.1)
    assert len(submitted) == 3, "one runs and two wait"
    gate.open.set()
    thread.join(20)
    assert len(submitted) == 5


def test_a_cancelled_program_is_not_run_and_leaves_its_place(gate):
    executor = Executor(gate, workers=1, waiting=1)
    executor.submit("a", "")
    until(lambda: gate.calls)
    waiting = executor.submit("b", "")
    assert waiting.cancel()
    executor.submit("c", "")  # would wait for ever if b still had its place
    gate.open.set()
    until(lambda: len(gate.calls) == 2)
    assert gate.calls == ["a", "c"]
    with pytest.raises(CancelledError):
        waiting.result()


def test_without_isolation_nothing_runs_and_the_error_says_what_to_write():
    executor = Executor(SandboxWorker(SandboxSettings(tier="U")).run)
    with pytest.raises(SandboxUnavailable, match="allow_unsafe_execution: true"):
        executor.submit(ADD, TESTS).result()


def test_broken_tests_are_an_error_of_their_own():
    with pytest.raises(ValueError, match="tests must be JSON"):
        Executor(SandboxWorker(SandboxSettings()).run).submit(ADD, "{").result()
