"""Tests that are written as code: {"asserts": ["assert f(1) == 2", ...], "setup": "import math", "suffix": ""}.

`setup` runs after the program, and `suffix` is the end of the program, where a model writes only its middle. With a
`head`, such as "def f(x):", the program is a snippet without a function: `assert_driver.as_function` makes it the body
of one.

    tests = parse_asserts({"asserts": ["assert f(2) == 4", "assert abs(f(2) - 4) < 1"], "setup": ""})
    [test.expected for test in tests]        # ["=4", None]
    program = with_driver("def f(x):\\n    return 2 * x", {})

The sandbox's principle is that expected answers never enter it. `assert f(2) == 4` becomes the expression `f(2)`, which
is evaluated inside, and the value 4, with which the outcome is compared outside. So it is wherever one side of the
comparison is a literal. Other tests (a tolerance, a loop, a helper that checks) run inside, in the process of the
program, and are marked as such: a program that looks for it can cheat there. `docs/tested_programs.md` says how.
"""

from __future__ import annotations

import ast
import json
import secrets
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raypeft.sandbox import assert_driver
from raypeft.sandbox.assert_driver import canonical

_DRIVER = Path(assert_driver.__file__).read_text("utf-8")


@dataclass(frozen=True, slots=True)
class AssertTest:
    """One test: what goes in, and what is expected."""

    setup: str
    code: str
    """An expression where `expected` is known, else statements."""
    expected: str | None
    """The value as `canonical` writes it, after "="; None: the statements run inside, and their end is the answer."""

    def stdin_and_expected(self) -> tuple[str, str]:
        """What the driver reads, and what it writes where the test passes."""
        if self.expected is not None:
            return json.dumps({"setup": self.setup, "expression": self.code}), self.expected
        word = secrets.token_hex(8)  # a program cannot know it beforehand
        return json.dumps({"setup": self.setup, "statements": self.code, "word": word}), word


def is_asserts(tests: Any) -> bool:
    """Whether tests have this form."""
    return isinstance(tests, Mapping) and "asserts" in tests


def parse_asserts(tests: Mapping[str, Any]) -> list[AssertTest]:
    """The tests of a problem, in order. Raises ValueError where they have another form, or are no Python."""
    asserts, setup = tests["asserts"], tests.get("setup") or ""
    if not isinstance(asserts, list):
        raise ValueError(f"asserts must be a list of texts but got {type(asserts).__name__}")
    if other := next((type(each).__name__ for each in asserts if not isinstance(each, str)), None):
        wanted = "; tests of inputs and outputs are one mapping of two lists, inputs and outputs" * (other == "dict")
        raise ValueError(f"asserts must be a list of texts but holds {other}{wanted}")
    for name in ("setup", "suffix", "head"):
        if not isinstance(tests.get(name) or "", str):
            raise ValueError(f"{name} must be a text but got {type(tests[name]).__name__}")
    if unknown := set(tests) - {"asserts", "setup", "suffix", "head"}:
        raise ValueError(
            f"tests must have asserts, setup, suffix and head but got {', '.join(sorted(unknown))} as well"
        )
    _parsed(setup)
    if tests.get("head"):
        _check_head(tests["head"], tests.get("suffix") or "")
    return [_as_test(each, setup) for each in asserts]


def parse_code(code: str) -> ast.Module:
    """The syntax tree of code from data; nothing is run. An escape such as "\\d", of which Python warns, says nothing.

    Raises what `ast.parse` raises: SyntaxError, ValueError (null bytes), RecursionError, MemoryError.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(code)


def _parsed(code: str) -> list[ast.stmt]:
    try:
        return parse_code(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"a test must be Python but {code[:60]!r} is not: {error}") from None


def _check_head(head: str, suffix: str) -> None:
    """Raise ValueError where a head is not the head of one function, or where more than one statement ends it."""
    body = _parsed(f"{head} pass")
    if len(body) != 1 or not isinstance(body[0], ast.FunctionDef):
        raise ValueError(f"head must be that of one function, such as 'def f(x):', but got {head!r}")
    if suffix.strip() and len(_parsed(suffix.strip())) != 1:
        raise ValueError(f"suffix must be one statement where there is a head but got {suffix!r}")


def _as_test(code: str, setup: str) -> AssertTest:
    body = _parsed(code)
    if len(body) == 1 and isinstance(body[0], ast.Assert):
        split = _split(body[0].test)
        if split is not None:
            expression, value = split
            return AssertTest(setup, ast.unparse(expression), "=" + canonical(value))
    if not can_fail(code):
        raise ValueError(f"a test must have an assert, a raise or a call on a line of its own, such as "
                         f"`assert f(1) == 2`, but {code[:60]!r} has none: every program would pass")  # fmt: skip
    return AssertTest(setup, code, None)


def can_fail(code: str) -> bool:
    """Whether something in the code of a test is there to fail: `f(1) == 2` without `assert` passes whatever f does.

    Raises ValueError where it is no Python.
    """
    for node in (each for statement in _parsed(code) for each in ast.walk(statement)):
        if isinstance(node, ast.Raise) or (isinstance(node, ast.Assert) and not _says_nothing(node)):
            return True
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Await):
            return True
    return False


def _split(test: ast.expr) -> tuple[ast.expr, Any] | None:
    """The expression to evaluate and the literal that it must equal. None where the test is no such comparison."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) and _is_plain_call(test.operand):
        return test, True
    if _is_plain_call(test):
        return ast.UnaryOp(ast.Not(), test), False  # `assert f(x)`: any true value will do
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq | ast.Is):
        return None
    for expression, literal in ((test.left, test.comparators[0]), (test.comparators[0], test.left)):
        if any(isinstance(node, ast.Call) for node in ast.walk(expression)):
            try:
                value = ast.literal_eval(literal)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                continue
            return _identity(expression, value) if isinstance(test.ops[0], ast.Is) else (expression, value)
    return None


def _identity(expression: ast.expr, value: Any) -> tuple[ast.expr, Any] | None:
    """`is` for what there is only one of; `f(x) is True` as an expression of its own, since True equals 1."""
    if value is None or value is ...:
        return expression, value
    if isinstance(value, bool):
        return ast.Compare(expression, [ast.Is()], [ast.Constant(value)]), True
    return None


def _is_plain_call(node: ast.expr) -> bool:
    """Whether a node is one call of a function on values: `f(1)`, and not `isclose(f(1), 3)`, which holds an answer."""
    return isinstance(node, ast.Call) and sum(isinstance(each, ast.Call) for each in ast.walk(node)) == 1


def from_check(code: str, entry_point: str) -> dict[str, Any]:
    """The tests of a function `check(candidate)`, as HumanEval has it: its assertions one by one where it has nothing
    else and each of them names the function that is tested, or the whole function as one test: an assertion that does
    not name it is about what the others left behind. A call `check(entry_point)` below it, which files of HumanEval's
    form often end with, says what is done anyway and is left out.

    Raises ValueError where the code is no Python or has no such function.
    """
    body = _parsed(code)
    kept = [node for node in body if ast.unparse(node) != f"check({entry_point})"]
    checks = [node for node in kept if isinstance(node, ast.FunctionDef) and node.name == "check"]
    if len(checks) != 1 or len(checks[0].args.args) != 1:
        raise ValueError("the code of a test must have one function check(candidate)")
    (check,) = checks
    rest = [node for node in kept if node is not check]
    statements = [node for node in check.body if not _says_nothing(node)]
    argument = check.args.args[0].arg
    stand_alone = bool(statements) and all(
        isinstance(node, ast.Assert) and (_uses(node, argument) or _uses(node, entry_point)) for node in statements
    )
    if not stand_alone or any(_uses(node, "check") for node in rest):
        whole = code if kept == body else "\n".join(map(ast.unparse, kept))
        return {"asserts": [f"check({entry_point})"], "setup": whole}
    setup = "\n".join([*map(ast.unparse, rest), f"{argument} = {entry_point}"])
    return {"asserts": [ast.unparse(node) for node in statements], "setup": setup}


def _uses(tree: ast.AST, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))


def _says_nothing(node: ast.stmt) -> bool:
    """Whether a statement tests nothing: a comment in quotes, `pass`, `assert True`, or `assert (a, b)`, a pair."""
    if isinstance(node, ast.Assert):
        is_true = isinstance(node.test, ast.Constant) and bool(node.test.value)
        return is_true or (isinstance(node.test, ast.Tuple) and bool(node.test.elts))
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def with_driver(program: str, tests: Mapping[str, Any]) -> str:
    """The program within the driver. Its lines stay lines, and the imports of the tests follow as comments, so that all
    imports can be seen in the text (`raypeft.sandbox.modules.needs_full`)."""
    test_code = "\n".join([tests.get("setup") or "", *tests.get("asserts", ())])
    head, suffix = tests.get("head") or "", tests.get("suffix") or ""
    quoted = (program if head else program + suffix).replace("\\", "\\\\").replace('"', '\\"')
    placed = f", {head!r}, {suffix!r}" if head else ""
    noted = "".join(f"# {line}\n" for line in test_code.splitlines() if "import" in line)
    return f'{_DRIVER}\n\nrun_test("""{quoted}"""{placed})\n{noted}'
