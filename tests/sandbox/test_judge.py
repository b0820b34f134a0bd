"""The two readings of one captured output: what the APPS harness passes and fails wrongly, and what neither may do."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from raypeft.sandbox.judge import judge_output, judge_value
from raypeft.sandbox.protocol import Opaque, decode_value, encode_value, unpack


def value(returned: Any) -> Any:
    """A return value as it arrives."""
    return decode_value(unpack(json.dumps({"value": encode_value(returned)}).encode())["value"])


WRONG_BUT_PASSED_BY_THE_HARNESS = {
    "tokens in another order": (b"3 1 2\n", "1 2 3"),
    "lines in another order": (b"b\na\n", "a\nb"),
    "repeated lines": (b"a\na\nb\n", "a\nb"),
    "dropped lines": (b"a\n", "a\na"),
    "a large integer off by one": (b"1000000008\n", "1000000007"),
    "a small float off by three": (b"0.0004\n", "0.0001"),
    "repeated tokens": (b"1 1 2\n", "1 2 2"),
}


@pytest.mark.parametrize("name", WRONG_BUT_PASSED_BY_THE_HARNESS)
def test_the_strict_reading_fails_the_wrong_output_that_the_harness_passes(name: str) -> None:
    assert judge_output(*WRONG_BUT_PASSED_BY_THE_HARNESS[name]) == (False, True)


@pytest.mark.parametrize(
    ("returned", "expected"), [(True, 1), ([True], [1]), (5, [5, 6]), ({"a": True}, {"a": 1}), (1, True)]
)
def test_the_strict_reading_fails_the_wrong_value_that_the_harness_passes(returned: Any, expected: Any) -> None:
    assert judge_value(value(returned), expected) == (False, True)


@pytest.mark.parametrize(
    ("returned", "expected"),
    [(0.1 + 0.2, 0.3), ([(1, (2, 3))], [[1, [2, 3]]]), ([[1, (2,)]], [[1, [2]]]), ([0.1 + 0.2], [0.3])],
)
def test_the_strict_reading_passes_the_right_value_that_the_harness_fails(returned: Any, expected: Any) -> None:
    assert judge_value(value(returned), expected) == (True, False)


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (b"1 2\n3\n", "1 2\n3"),
        (b"1 2 \r\n\n3  \n\n", "1 2\n3\n"),
        (b"0.5000000001\n", "0.5"),
        (b"1e3\n", "1000"),
        (b"1.0 x\n", "1 x"),
        (b"", ""),
        (b"\n \n", ""),
        ("naïve\n".encode(), "naïve"),
        (b"-0.0\n", "0.0"),
        (b"inf\n", "inf"),
    ],
)
def test_the_strict_reading_passes_what_differs_in_blanks_or_in_the_last_digit_of_a_float(
    printed: bytes, expected: str
) -> None:
    assert judge_output(printed, expected)[0]


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (b"1 2 3\n", "1 2"),
        (b"1\n2\n", "1 2"),
        (b"1 2\n", "1\n2"),
        (b"0.50001\n", "0.5"),
        (b"YES\n", "Yes"),
        (b"10000001\n", "10000000"),
        (b"1_0.0\n", "10.0"),
        (b"\xd9\xa1.0\n", "1.0"),
        (b"1e999\n", "5e3"),
        (b"nan\n", "1.0"),
        (b"", "0"),
        (b"0x1.0\n", "1.0"),
    ],
)
def test_the_strict_reading_fails_what_differs_in_more(printed: bytes, expected: str) -> None:
    assert not judge_output(printed, expected)[0]


@pytest.mark.parametrize(
    ("printed", "expected", "passes"),
    [
        (b" a \n b\n", "a\n b", True),  # lines stripped
        (b"a\n\nb\n", "a\nb", True),  # blank lines dropped
        (b"1.000001\n", "1.0", True),  # floats of a line
        (b"1.1\n", "1.0", False),
        (b"1.0002 5\n", "1.0003 5", True),  # rounded to three decimals
        (b"1.002 5\n", "1.003 5", False),
        (b"a\x0cb\n", "a\nb", True),  # splitlines breaks at a form feed
        (b"nan\n", "nan", True),
        (b"nan x\n", "x nan", True),
        (b"", "0", False),
        (b"", "", True),
        (b"1 2\n", "1\n2", False),
    ],
)
def test_the_papers_reading_of_output_takes_each_form_of_the_harness(
    printed: bytes, expected: str, passes: bool
) -> None:
    assert judge_output(printed, expected)[1] is passes


@pytest.mark.parametrize(
    ("returned", "expected", "both"),
    [
        ([1, 2], [1, 2], (True, True)),
        ((1, 2), [1, 2], (True, True)),
        ([1, 2], [[1, 2]], (True, True)),
        ([(1, 2)], [[[1, 2]]], (True, True)),
        (5, [5], (True, True)),
        ({1: 2}, {"1": 2}, (True, True)),
        ({1: 2}, [{"1": 2}], (True, True)),
        ({"x": [1]}, [{"x": [1]}], (True, True)),
        ({1: 2, 3: 4}, [{"1": 2}], (False, False)),
        (None, None, (True, True)),
        (None, [None], (True, True)),
        ("ab", "ab", (True, True)),
        ("ab", ["ab"], (True, True)),
        ("a", "ab", (False, False)),
        (1, "1", (False, False)),
        ([], [[]], (True, True)),
        (10**400, 10**400, (True, True)),
        (10**400, 1.5, (False, False)),
        (1.0, 1, (True, True)),
        (False, False, (True, True)),
        (float("nan"), 1.0, (False, False)),
        ({1, 2}, [1, 2], (False, False)),
    ],
)
def test_values_are_judged_in_both_readings(returned: Any, expected: Any, both: tuple[bool, bool]) -> None:
    assert judge_value(value(returned), expected) == both


def test_an_object_equals_nothing() -> None:
    assert judge_value(Opaque("A"), [None]) == (False, False)


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (b"\n" * (1 << 24), "1"),
        (b"1\n" * (1 << 23), "1\n2"),
        (b"12 " * (1 << 22), "12"),
        (b"9" * (1 << 24), "9.5"),
        (b"1." + b"0" * (1 << 24), "1.0"),
        (b"\xff" * (1 << 24), "1"),
        (b"1 " * (1 << 23), "1 1"),
        (b" " * (1 << 24), "1"),
        (b"\r" * (1 << 24), "1"),
    ],
    ids=["empty", "repeated", "line", "integer", "float", "no text", "tokens", "blanks", "returns"],
)
def test_judging_the_longest_output_takes_seconds_at_most(printed: bytes, expected: str) -> None:
    start = time.process_time()
    assert judge_output(printed, expected)[0] is False
    assert time.process_time() - start < 10


def test_keys_that_collide_are_judged_in_linear_time() -> None:
    colliding = {number * ((1 << 61) - 1): 0 for number in range(3000)}
    start = time.process_time()
    assert judge_value(value(colliding), {str(number): 0 for number in range(3000)}) == (False, False)
    assert time.process_time() - start < 2
