"""Compares what a program printed or returned with what was expected, in two readings. Runs on the trusted side.

    judge_output(b"1 2\n", "1 2")      # (True, True): the strict reading, the paper's reading
    judge_value([1, 2], [[1, 2]])

- `passed`: the same lines in order with the same tokens, blank lines and outer blanks aside; two tokens match when
  equal, or, if either has a point or an exponent and both are numbers, within rtol 1e-6 or atol 1e-9. Call-based: the
  expected value, or its only element; tuples are lists at any depth; a bool is not an int.
- `passed_paper`: the comparison of the APPS test harness (Hendrycks et al., arXiv 2105.09938; the harness that arXiv
  2308.10462's revision used), written anew. It also passes tokens and lines in another order, repeated lines, and
  close integers.

What a program says is hostile: nothing here hashes it into a table of its own making, converts long numerals or
takes more than time linear in its length, and comparing stops at the first difference.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from raypeft.sandbox.protocol import Pairs

RTOL, ATOL = 1e-6, 1e-9
PAPER_RTOL, PAPER_ATOL = 1e-5, 1e-8
"""np.allclose's own tolerances."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NOT_BLANK = re.compile(r"\S[^\n]*")
_BREAK = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
"""Where str.splitlines breaks."""
_CHUNK = 1 << 20
_LONGEST_NUMBER = 400
_PADDING = 1 << 20


def judge_output(printed: bytes, expected: str) -> tuple[bool, bool]:
    """(passed, passed_paper) of a program's standard output, which is read as UTF-8."""
    text = printed.decode("utf-8", errors="replace")
    return output_matches(text, expected), output_matches_paper(text, expected)


def judge_value(returned: Any, expected: Any) -> tuple[bool, bool]:
    """(passed, passed_paper) of a call's decoded return value; `expected` as JSON gave it."""
    return value_matches(returned, expected), value_matches_paper(returned, expected)


def output_matches(text: str, expected: str) -> bool:
    """The strict reading of standard output."""
    longest = _longest(expected)
    for mine, theirs in zip_longest(_token_lines(text, longest), _token_lines(expected, longest)):
        if mine is None or theirs is None or len(mine) != len(theirs):
            return False
        if mine != theirs and not all(map(_tokens_match, mine, theirs)):
            return False
    return True


def _longest(expected: str) -> int:
    """The length in characters beyond which no line of a right output goes, a MiB of blanks aside.

    A line is split into tokens only below it: split, a line of 16 MiB would take half a GiB here.
    """
    return 8 * len(expected) + _PADDING


def _token_lines(text: str, longest: int) -> Iterator[list[str]]:
    """The tokens of every line that is not blank; ["", ""], which no line has, for a line that is too long."""
    for match in _NOT_BLANK.finditer(text):
        yield match[0].split() if match.end() - match.start() <= longest else ["", ""]


def _tokens_match(mine: str, theirs: str) -> bool:
    if mine == theirs:
        return True
    if max(len(mine), len(theirs)) > _LONGEST_NUMBER or not any(mark in mine + theirs for mark in ".eE"):
        return False
    return bool(_NUMBER.fullmatch(mine) and _NUMBER.fullmatch(theirs)) and _close(float(mine), float(theirs))


def _close(mine: float, theirs: float) -> bool:
    if mine == theirs or (mine != mine and theirs != theirs):
        return True
    if not math.isfinite(mine) or not math.isfinite(theirs):
        return False
    return abs(mine - theirs) <= max(RTOL * abs(theirs), ATOL)


def value_matches(returned: Any, expected: Any) -> bool:
    """The strict reading of a return value."""
    only = expected if isinstance(expected, list) and len(expected) == 1 else []
    wanted = [expected, *only]
    wanted += [with_integer_keys(one) for one in wanted if isinstance(one, dict)]
    return any(_equal(returned, one) for one in wanted)


def _equal(mine: Any, theirs: Any) -> bool:
    if isinstance(theirs, (list, tuple)):
        return isinstance(mine, (list, tuple)) and len(mine) == len(theirs) and all(map(_equal, mine, theirs))
    if isinstance(theirs, dict):
        return isinstance(mine, Pairs) and _same_keys(mine, theirs, _equal)
    if isinstance(theirs, bool) or isinstance(mine, bool):
        return isinstance(mine, bool) and isinstance(theirs, bool) and mine == theirs
    if isinstance(theirs, (int, float)) and isinstance(mine, (int, float)):
        return _numbers_match(mine, theirs)
    return type(mine) is type(theirs) and mine == theirs


def _numbers_match(mine: int | float, theirs: int | float) -> bool:
    if isinstance(mine, int) and isinstance(theirs, int):
        return mine == theirs
    try:
        return _close(float(mine), float(theirs))
    except OverflowError:  # an integer beyond every float
        return mine == theirs


def _same_keys(mine: Pairs, theirs: dict[Any, Any], equal: Any) -> bool:
    """Looks a program's keys up among the expected ones: the table is of our making, so it cannot be made slow."""
    if len(mine.items) != len(theirs):
        return False
    seen = set()
    for key, value in mine.items:
        if not isinstance(key, (str, int, float, type(None))) or key not in theirs or not equal(value, theirs[key]):
            return False
        seen.add(key)
    return len(seen) == len(theirs)


def with_integer_keys(value: Any) -> Any:
    """A dict whose keys are all integers in JSON's clothes, with integer keys; anything else as it is."""
    try:
        return {int(key): item for key, item in value.items()}
    except (AttributeError, TypeError, ValueError):
        return value


def output_matches_paper(text: str, expected: str) -> bool:
    """The harness's comparison of standard output: any of its forms of equality passes.

    Where the text is longer than eight times the expected one and a MiB, only the forms that look at sets of lines are
    tried: the others could only hold for a MiB of blanks. A line as long as that passes in no form.
    """
    wanted = [line.strip() for line in expected.split("\n") if line]
    if len(text) <= _longest(expected):
        lines = text.splitlines()
        texts = ("\n".join(lines), "\n".join(line.strip() for line in lines))
        if expected.strip() in (texts[0].strip(), texts[1].strip()) or lines in ([expected], wanted):
            return True
        lines = [line for line in lines if line]
        if lines == wanted or _lines_are_close(lines, wanted):
            return True
    longest = _longest(expected)
    return _same_sets(text, wanted, longest) or _same_rounded_sets(text, wanted, longest)


def _lines_are_close(lines: list[str], wanted: list[str]) -> bool:
    if len(lines) != len(wanted):
        return False
    try:
        return all(_close_paper(float(mine), float(theirs)) for mine, theirs in zip(lines, wanted, strict=True))
    except ValueError:
        return False


def _close_paper(mine: float, theirs: float) -> bool:
    if not math.isfinite(mine) or not math.isfinite(theirs):
        return mine == theirs
    return abs(mine - theirs) <= PAPER_ATOL + PAPER_RTOL * abs(theirs)


def _distinct_lines(text: str) -> Iterator[str]:
    """The lines that str.splitlines makes, those that repeat left out as far as a MiB of text shows it."""
    start = 0
    while start < len(text):
        found = _BREAK.search(text, start + _CHUNK)
        end = found.end() if found else len(text)
        yield from set(text[start:end].splitlines())
        start = end


def _same_sets(text: str, wanted: list[str], longest: int) -> bool:
    """Whether the lines, as sets of tokens, are the same set."""
    theirs = {frozenset(line.split()) for line in wanted}
    seen: set[frozenset[str]] = set()
    for line in _distinct_lines(text):
        if len(line) > longest:
            return False
        if tokens := frozenset(line.split()):
            if tokens not in theirs:
                return False
            seen.add(tokens)
    return seen == theirs


def _same_rounded_sets(text: str, wanted: list[str], longest: int) -> bool:
    """The same with every token a number rounded to three decimals."""
    try:
        theirs = {frozenset(round(float(token), 3) for token in line.split()) for line in wanted}
        known = {number for numbers in theirs for number in numbers}
        seen: set[frozenset[float]] = set()
        for line in _distinct_lines(text):
            if len(line) > longest:
                return False
            numbers = set()
            for token in line.split():
                number = round(float(token), 3)
                if number not in known:
                    return False
                numbers.add(number)
            if numbers:
                seen.add(frozenset(numbers))
    except ValueError:
        return False
    return seen == theirs


def value_matches_paper(returned: Any, expected: Any) -> bool:
    """The harness's comparison of a return value."""
    if isinstance(expected, dict):
        expected = [with_integer_keys(expected)]
    if isinstance(expected, list) and expected and isinstance(expected[0], dict):
        expected = [with_integer_keys(expected[0])]
    if isinstance(returned, tuple):
        returned = list(returned)
    if _equal_paper(returned, expected):
        return True
    if not isinstance(expected, list) or not expected:
        return False
    if _equal_paper(returned, expected[0]):
        return True
    if isinstance(returned, list) and returned and isinstance(returned[0], tuple):
        lists = [list(item) for item in returned if isinstance(item, (list, tuple, str))]
        return len(lists) == len(returned) and _equal_paper(lists, expected[0])
    return False


def _equal_paper(mine: Any, theirs: Any) -> bool:
    """Python's == between a decoded value and a JSON one."""
    if isinstance(theirs, list):
        return isinstance(mine, list) and len(mine) == len(theirs) and all(map(_equal_paper, mine, theirs))
    if isinstance(theirs, dict):
        return isinstance(mine, Pairs) and _same_keys(mine, theirs, _equal_paper)
    return not isinstance(mine, (list, tuple, Pairs)) and bool(mine == theirs)
