"""A trial's candidates in the sandbox: their rows, their order, what the trial's row says."""

import json
from concurrent.futures import Future

import pytest

from raypeft.data import apps
from raypeft.metrics.functional import METRIC
from raypeft.metrics.metric import Answers
from raypeft.records import Candidate, Example
from raypeft.sandbox import Limits, RunResult, SandboxSettings, SandboxUnavailable, TestResult
from raypeft.services.local import LocalServices
from raypeft.trial.tests import CandidateTests

TESTS = json.dumps({"inputs": ["1 2", "3 4"], "outputs": ["3", "7"]})
EXAMPLE = Example("sum", "add two numbers", "", level="introductory", tests=TESTS)
RIGHT, WRONG, HALF = "print(sum(map(int, input().split())))", "print(input())", "input()\nprint(7)"


def candidates(*programs):
    return [Candidate(EXAMPLE.id, rank, program, 1, "eos") for rank, program in enumerate(programs)]


@pytest.fixture(scope="module")
def services():
    return LocalServices()


def test_every_test_of_every_candidate_is_a_row_in_order(services):
    with CandidateTests(services, SandboxSettings()) as tests:
        tests.begin(EXAMPLE, candidates(RIGHT, WRONG, HALF))
        rows = tests.collect("trial")
    assert [(row["rank"], row["test"], row["outcome"], row["passed"]) for row in rows] == [
        (0, 0, "passed", True), (0, 1, "passed", True), (1, 0, "wrong_answer", False),
        (1, 1, "wrong_answer", False), (2, 0, "wrong_answer", False), (2, 1, "passed", True),
    ]  # fmt: skip
    assert {(row["id"], row["example_id"], row["level"]) for row in rows} == {("trial", "sum", "introductory")}


def test_the_trials_row_says_under_what_isolation_and_how_many_were_answered_from_memory(services):
    with CandidateTests(services, SandboxSettings()) as tests:
        tests.begin(EXAMPLE, candidates("print(3)", "print(3)", "print(4)"))
        rows = tests.collect("trial")
    assert [row["cached"] for row in rows] == [False, False, True, True, False, False]
    assert tests.columns["cached_programs"] == 1
    (isolation,) = json.loads(tests.columns["sandbox_isolation"])
    assert isolation["tier"] == tests.columns["sandbox_tier"] != "U"
    assert isolation["limits"]["seconds_per_test"] == 4


def test_a_result_that_comes_as_the_wait_for_it_ends_is_taken(services):
    class Late(Future):
        def result(self, timeout=None):
            if not self.done():
                self.set_result(RunResult([TestResult("passed", True, True)], {"tier": "A"}))
                raise TimeoutError
            return super().result(timeout)

    tests = CandidateTests(services, SandboxSettings())
    tests.pending = [(EXAMPLE, candidates(RIGHT)[0], Late())]
    assert [row["passed"] for row in tests.collect("trial")] == [True]


def test_under_paper_a_program_is_cleaned_up_cut_at_the_fence_and_stripped(services):
    fenced = f"  {RIGHT} \n```\nand so on"
    spaced = "print(sum(map(int, input().split(' '))) , end = ' ')"
    counted = "print(len('a b'.split( ' ' )) and 3)"
    asked = [fenced, spaced, counted]
    with CandidateTests(services, SandboxSettings(), as_paper=True) as tests:
        tests.begin(EXAMPLE, candidates(*asked))
        rows = tests.collect("trial")
    assert [row["outcome"] for row in rows if row["test"] == 0] == ["passed", "passed", "runtime_error"]
    with CandidateTests(services, SandboxSettings()) as tests:
        tests.begin(EXAMPLE, candidates(*asked))
        rows = tests.collect("trial")
    assert [row["outcome"] for row in rows if row["test"] == 0] == ["compile_error", "passed", "passed"]


def test_a_candidate_in_a_code_fence_is_run_without_it(services):
    with CandidateTests(services, SandboxSettings()) as tests:
        tests.begin(EXAMPLE, candidates(f"```python\n{RIGHT}\n```", f"```\n{WRONG}\n```\nIt adds."))
        rows = tests.collect("trial")
    assert [row["passed"] for row in rows] == [True, True, False, False]


def test_programs_run_while_others_are_still_made(services):
    with CandidateTests(services, SandboxSettings()) as tests:
        tests.begin(EXAMPLE, candidates("import sys\nprint(3, file=sys.stdout)"))
        ((_, _, future),) = tests.pending
        assert future.result(timeout=20).tests[0].passed, "nobody had to ask for rows"


def test_a_machine_without_a_sandbox_is_found_out_at_once():
    with pytest.raises(SandboxUnavailable), CandidateTests(LocalServices(), SandboxSettings(tier="U")):
        raise AssertionError("nothing may be run")


class Answering:
    """Services that answer with what they are told."""

    def __init__(self, *futures):
        self.futures = list(futures)

    def judge(self, program, tests, settings):
        return self.futures.pop(0)


def answered(result):
    future = Future()
    future.set_result(result)
    return future


def test_a_sandbox_that_judges_wrongly_is_found_out_at_once():
    wrong = answered(RunResult([TestResult("wrong_answer")]))
    with pytest.raises(RuntimeError, match="must pass a program that repeats its input"):
        CandidateTests(Answering(wrong), SandboxSettings()).__enter__()


def test_programs_that_have_not_begun_are_cancelled_when_the_trial_fails():
    waiting = Future()
    services = Answering(answered(RunResult([TestResult("passed", True, True)])), waiting)
    with pytest.raises(KeyError), CandidateTests(services, SandboxSettings()) as tests:
        tests.begin(EXAMPLE, candidates(RIGHT))
        raise KeyError
    assert waiting.cancelled()


def test_real_solutions_pass_all_their_tests_and_real_generated_programs_do_not(services, tmp_path, real_data):
    real = (real_data / "apps" / "problems.jsonl").read_text(encoding="utf-8")
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text(real, encoding="utf-8")
    problems = {each["problem_id"]: each for each in map(json.loads, real.splitlines())}
    scores = {}
    for kind in ("official", "generated"):
        with CandidateTests(services, SandboxSettings(Limits(seconds_per_test=1))) as tests:
            for example in apps.load(str(tmp_path))["test"]:
                generated = problems[int(example.id)]["generated_solutions"]
                programs = (example.code, *example.other_codes) if kind == "official" else generated
                tests.begin(example, [Candidate(example.id, *each, 1, "eos") for each in enumerate(programs)])
            scores[kind] = METRIC.compute(Answers.from_rows([], tests.collect("trial"), apps.LEVELS))
    assert scores["official"]["strict_accuracy"] == scores["official"]["pass_at_1_competition"] == 1
    assert scores["generated"]["strict_accuracy"] < 0.9
