"""Real APPS programs: official solutions pass, and the paper's reading is that of the reference's comparison."""

from __future__ import annotations

import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sandboxes import LocalSandbox

from raypeft.sandbox import Limits, RunResult, Sandbox, SandboxUnavailable
from raypeft.sandbox.cases import Case
from raypeft.sandbox.process import Ending

Solved = tuple[dict[str, Any], str, bool, RunResult, list[tuple[Ending, Any]]]


@pytest.fixture(scope="module")
def results(real_data: Path) -> list[tuple[dict[str, Any], bool, RunResult]]:
    """Every solution and every generated program of every problem, run: (tests, is it official, result)."""
    path = real_data / "apps" / "problems.jsonl"
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    problems = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    jobs = []
    for problem in problems:
        tests = json.loads(problem["input_output"])
        jobs += [(tests, True, program) for program in json.loads(problem["solutions"])]
        jobs += [(tests, False, program) for program in problem["generated_solutions"]]
    try:
        with Sandbox(Limits(seconds_per_test=1.5)) as sandbox, ThreadPoolExecutor(2) as pool:
            ran = pool.map(lambda job: sandbox.run(job[2], job[0], stop="first_fail"), jobs)
            return [(tests, official, result) for (tests, official, _), result in zip(jobs, ran, strict=True)]
    except SandboxUnavailable as error:
        pytest.skip(str(error)[-300:])


def test_official_solutions_pass_in_both_readings(results: list[tuple[dict[str, Any], bool, RunResult]]) -> None:
    official = [result for _, is_official, result in results if is_official]
    assert len(official) > 50
    failed = [result.tests for result in official if not result.all_passed]
    assert not failed
    assert all(test.passed_paper for result in official for test in result.tests)


def test_generated_programs_pass_and_fail(results: list[tuple[dict[str, Any], bool, RunResult]]) -> None:
    generated = [result for _, is_official, result in results if not is_official]
    outcomes = {test.outcome for result in generated for test in result.tests}
    assert {"passed", "wrong_answer", "runtime_error"} <= outcomes


def harness_output(lines: list[str], expected: str) -> bool:
    """The reference's comparison of standard output, step by step and with numpy, to hold ours against."""
    joined = ["\n".join(lines), "\n".join(line.strip() for line in lines)]
    if expected.strip() in [text.strip() for text in joined] or lines == [expected]:
        return True
    wanted = [line.strip() for line in filter(len, expected.split("\n"))]
    kept = list(filter(len, lines))
    if wanted in (lines, kept):
        return True
    try:
        mine, theirs = [float(line) for line in kept], [float(line) for line in wanted]
        if len(mine) == len(theirs) and np.allclose(mine, theirs):
            return True
    except ValueError:
        pass
    sets = [set(line.split()) for line in wanted]
    mine_sets = [set(tokens) for tokens in filter(len, (line.split() for line in kept))]
    if set(map(frozenset, mine_sets)) == set(map(frozenset, sets)):
        return True
    try:
        rounded = [{frozenset(round(float(token), 3) for token in one) for one in many} for many in (mine_sets, sets)]
        return rounded[0] == rounded[1]
    except ValueError:
        return False


def test_the_papers_reading_is_the_references_comparison(
    real_data: Path, any_sandbox: LocalSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str, bool]] = []
    real = Case.judge

    def judge(self: Case, ending: Ending) -> tuple[bool, bool]:
        verdict = real(self, ending)
        if ending.outcome == "ok" and self.fn_name is None:
            seen.append((ending.printed.decode(), self.expected, verdict[1]))
        return verdict

    monkeypatch.setattr(Case, "judge", judge)
    for line in (real_data / "apps" / "problems.jsonl").read_text("utf-8").splitlines():
        problem = json.loads(line)
        for program in problem["generated_solutions"] + json.loads(problem["solutions"])[:5]:
            any_sandbox.run(program, json.loads(problem["input_output"]))
    assert len(seen) > 30
    outputs = [printed for printed, *_ in seen]
    for expected in {expected for _, expected, _ in seen}:
        for printed in {*outputs, expected, expected + "\n\n", *(text.upper() for text in outputs)}:
            theirs = harness_output(io.StringIO(printed).read().splitlines(), expected)
            assert Case(b"", None, expected, None).judge(Ending("ok", printed=printed.encode()))[1] is theirs
    assert all(harness_output(printed.splitlines(), expected) is verdict for printed, expected, verdict in seen)


def test_the_papers_reading_is_the_references_comparison_on_made_up_outputs() -> None:
    choose = np.random.default_rng(7)
    pieces = [
        "1",
        "2",
        "1.0",
        "1.0004",
        "1.0006",
        "x",
        "-3",
        "1e3",
        "1000",
        " ",
        "\n",
        "\n",
        "\n\n",
        " 1",
        "nan",
        "0.1234567",
    ]
    for _ in range(6000):
        printed, expected = ("".join(choose.choice(pieces, choose.integers(0, 6))) for _ in range(2))
        if choose.random() < 0.5:
            expected = "\n".join(choose.permutation(printed.split("\n")))
        ours = Case(b"", None, expected, None).judge(Ending("ok", printed=printed.encode()))[1]
        assert ours is harness_output(printed.splitlines(), expected), (printed, expected)
    assert os.environ["HF_HUB_OFFLINE"] == "1"
