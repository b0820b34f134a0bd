"""Programs that read and write in every way that contest programs do come out as they do in plain CPython."""

from pathlib import Path
from typing import Any

import pytest
from idioms import INPUT, OUTPUT, programs, run

PROGRAMS = programs()
REFUSED = {
    "other: tempfile.NamedTemporaryFile",
    "other: tempfile.TemporaryDirectory",
    "other: a file in the current folder",
    "other: os.pipe",
    "other: ThreadPool",
    "other: a listing of the current folder",
}
"""What CPython runs and the sandbox does not. docs/sandbox.md says why."""


def test_there_are_enough_programs_and_no_two_are_the_same() -> None:
    assert len(set(PROGRAMS.values())) == len(PROGRAMS) >= 120


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_passes_in_the_sandbox(any_sandbox: Any, name: str) -> None:
    result = any_sandbox.run(PROGRAMS[name], {"inputs": [INPUT] * 2, "outputs": [OUTPUT] * 2})
    assert result.all_passed == (name not in REFUSED), result.tests


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_right_in_plain_cpython(tmp_path: Any, name: str) -> None:
    code, output = run(PROGRAMS[name], str(tmp_path))
    assert (code, output.split()) == (0, [OUTPUT])


def test_the_page_says_how_many_programs_there_are() -> None:
    page = Path(__file__).parents[2] / "docs" / "sandbox.md"
    assert f"has {len(PROGRAMS)}\nsuch programs" in page.read_text(encoding="utf-8")
