"""Tests as cases to run and to judge: in APPS's own form, or written as code (`raypeft.sandbox.asserts`).

    {"inputs": [...], "outputs": [...], "fn_name": optional}        {"asserts": [...], "setup": optional}

tests = parse_tests('{"inputs": ["1 2\\n"], "outputs": ["3\\n"]}')
cases = read_cases(tests)
cases[0].stdin, cases[0].expected
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from raypeft.sandbox.asserts import AssertTest, is_asserts, parse_asserts
from raypeft.sandbox.judge import judge_output, judge_value, with_integer_keys
from raypeft.sandbox.process import Ending
from raypeft.sandbox.protocol import encode_value


@dataclass(frozen=True)
class Case:
    """One test: what goes in (text, or the encoded arguments of a call) and what is expected, which never does."""

    stdin: bytes
    args: Any
    expected: Any
    fn_name: str | None
    inside: bool = False
    """Whether the test itself runs in the sandbox, where a program may cheat it."""

    def judge(self, ending: Ending) -> tuple[bool, bool]:
        """(passed, passed_paper); an end that is not normal passes in neither reading."""
        if ending.outcome != "ok":
            return False, False
        if self.fn_name is None:
            return judge_output(ending.printed, self.expected)
        return judge_value(ending.value, self.expected)


_LONG_INTEGER = 4_000
"""Digits. Above some 4,300, Python's int() refuses text."""


def parse_tests(text: str) -> dict[str, Any]:
    """The tests in a JSON text, integers of any length among them.

    Raises ValueError where it is no JSON or has neither of the two forms, or no test at all.
    """

    def integer(digits: str) -> int:
        return int(digits) if len(digits) < _LONG_INTEGER else int(Decimal(digits))

    try:
        tests = json.loads(text, parse_int=integer)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"tests must be JSON but are not: {error}") from None
    if not read_cases(tests):
        raise ValueError("tests must have at least one test but have none")
    return dict(tests)


def read_cases(tests: Mapping[str, Any]) -> list[Case]:
    """The cases of a problem. Raises ValueError where `tests` has neither of the two forms."""
    if is_asserts(tests):
        return [_as_case(test) for test in parse_asserts(tests)]
    if not isinstance(tests, Mapping) or "inputs" not in tests or "outputs" not in tests:
        found = sorted(tests) if isinstance(tests, Mapping) else type(tests).__name__
        raise ValueError(f"tests must be a dict with inputs and outputs, or with asserts, but got {found}")
    inputs, outputs, fn_name = tests["inputs"], tests["outputs"], tests.get("fn_name")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        sizes = [len(one) if isinstance(one, list) else type(one).__name__ for one in (inputs, outputs)]
        raise ValueError(f"inputs and outputs must be lists of one length but got {sizes[0]} and {sizes[1]}")
    if fn_name is not None and not isinstance(fn_name, str):
        raise ValueError(f"fn_name must be a string but got {fn_name!r}")
    if fn_name is None:
        return [
            Case(_joined(given).encode("utf-8", "surrogatepass"), None, _joined(wanted), None)
            for given, wanted in zip(inputs, outputs, strict=True)
        ]
    return [
        Case(b"", encode_value(_arguments(given)), wanted, fn_name)
        for given, wanted in zip(inputs, outputs, strict=True)
    ]


def _as_case(test: AssertTest) -> Case:
    given, wanted = test.stdin_and_expected()
    return Case(given.encode("utf-8", "surrogatepass"), None, wanted, None, inside=test.expected is None)


def _joined(text: Any) -> str:
    """Standard input or output as one text: APPS gives some as a list of lines."""
    return "\n".join(map(str, text)) if isinstance(text, list) else str(text)


def _arguments(given: Any) -> list[Any]:
    """A call's arguments. A lone dict gets its integer keys back, which JSON made strings."""
    arguments = given if isinstance(given, list) else [given]
    return [with_integer_keys(arguments[0])] if len(arguments) == 1 else arguments
