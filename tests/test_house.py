"""What every file of the package keeps to: short functions, few parameters, plain names."""

import ast
from collections.abc import Iterator
from pathlib import Path

import raypeft

PACKAGE = Path(raypeft.__file__).parent
MOST_PARAMETERS, MOST_LINES = 6, 60
VAGUE = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield f"{path.relative_to(PACKAGE)}:{node.name}", node


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
    assert not VAGUE & {path.stem for path in PACKAGE.rglob("*.py")}
