"""Official solutions as canaries of the sandbox."""

import json
from pathlib import Path

import pytest

from raypeft.cli.sandbox_check import main, official
from raypeft.sandbox import Sandbox, SandboxUnavailable


@pytest.fixture(scope="module", autouse=True)
def needs_a_sandbox() -> None:
    try:
        Sandbox().close()
    except SandboxUnavailable as error:
        pytest.skip(str(error))


def mbpp(folder: Path, *codes: str) -> str:
    """A file in MBPP's form; its problems are to double a number."""
    rows = [{"task_id": 11 + place, "text": "Double a number.", "code": code, "test_list": ["assert f(2) == 4"],
             "test_setup_code": ""} for place, code in enumerate(codes)]  # fmt: skip
    path = folder / "mbpp.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_right_solutions_pass_with_load_and_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = mbpp(tmp_path, "def f(x):\n    return 2 * x", "def f(x):\n    return x + x")
    assert main(["mbpp", "--path", path]) == 0
    found = capsys.readouterr().out
    assert "as it is: 0 of 2 fail (0.0%), tier " in found and "busy processes: 0 of 2 fail" in found


def test_a_solution_that_is_slow_or_wrong_is_named_with_its_outcome(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = mbpp(tmp_path, "def f(x):\n    return x", "def f(x):\n    while True: pass", "def f(x):\n    return 2 * x")
    assert main(["mbpp", "--path", path, "--seconds", "0.5", "--no-load"]) == 1
    found = capsys.readouterr().out
    assert "2 of 3 fail" in found and "11: 1 wrong" in found and "12: 1 time_limit" in found


def test_no_solutions_and_no_data_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mbpp", "--path", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl" in capsys.readouterr().err


def test_a_limit_of_no_problem_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["mbpp", "--limit", "0"])
    assert "--limit must be at least 1 but got 0" in capsys.readouterr().err


def test_only_so_many_problems_are_drawn(tmp_path: Path) -> None:
    path = mbpp(tmp_path, *["def f(x):\n    return 2 * x"] * 9)
    assert len(list(official("mbpp", path, 4))) == 4
