"""What every file of the code keeps to: short functions, few parameters, plain names; and what tests keep to."""

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

import raypeft

ROOT = Path(__file__).parent.parent
PLACES = (Path(raypeft.__file__).parent, ROOT / "scripts", ROOT / "benchmarks")
TESTS = Path(__file__).parent
MOST_PARAMETERS, MOST_LINES = 6, 60
VAGUE = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}


def files() -> Iterator[Path]:
    for place in PLACES:
        found = sorted(place.rglob("*.py"))
        assert len(found) > 5, f"{place} has the code"
        yield from found


@cache
def functions() -> list[tuple[str, ast.FunctionDef]]:
    return [
        (f"{path}:{node.name}", node)
        for path in files()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]


def parameters(function: ast.FunctionDef) -> list[str]:
    arguments = function.args
    named = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return [name for name in named if name not in ("self", "cls")]


def test_no_function_has_more_than_six_parameters() -> None:
    many = {name: len(parameters(function)) for name, function in functions()
            if len(parameters(function)) > MOST_PARAMETERS}  # fmt: skip
    assert many == {}


def test_no_function_has_more_than_sixty_lines() -> None:
    lengths = {name: function.end_lineno - function.lineno + 1 for name, function in functions() if function.end_lineno}
    assert len(lengths) > 500
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not VAGUE & {path.stem for path in files()}


def test_no_module_of_the_tests_has_the_name_of_another() -> None:
    # Test files of one name end the collection; of helpers of one name, all tests silently get the first.
    names = Counter(path.name for path in TESTS.rglob("*.py") if path.name != "conftest.py")
    assert len(names) > 200
    assert [name for name, files in names.items() if files > 1] == []


@pytest.mark.parametrize("turn", ["first", "second"])
def test_threads_that_a_test_asks_for_are_gone_in_the_next(turn: str) -> None:
    assert torch.get_num_threads() == 1
    torch.set_num_threads(2)
