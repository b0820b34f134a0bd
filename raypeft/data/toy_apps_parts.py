"""What problems of the embedded dataset `toy_apps` are put together from: forms of input, steps, ends, and names.

    form, parts = FORMS[0], (FILTERS[0], ENDS[0])
    fits(form, parts)                                          # True: they work on each other's values
    write(form, parts, (3, None), "values", "")                # the solution's text
    work(parts, (3, None), [1, 5, 7])                          # 12, the answer that it must print

Each part has its code, its phrasings (in the grammar of `raypeft.data.toy.expand`), and a function that does the same
to values. Nothing here is drawn by chance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from raypeft.data.toy import put

Kind = Literal["numbers", "words"]


@dataclass(frozen=True, slots=True)
class Form:
    """How a problem's values come in; `reading` is code that leaves them in the variable `$v`."""

    kind: Kind
    is_hard: bool
    reading: str
    grammar: str
    encode: Callable[[list[Any]], Any]
    """The values as one test's input: standard input's text, or the argument of a call."""

    @property
    def is_call(self) -> bool:
        return self.reading.startswith("def ")


@dataclass(frozen=True, slots=True)
class Part:
    """A step (values to values), or an end (values to the answer); `$n` and `$c` are its number or letter."""

    takes: str
    code: str
    """Of a filter the condition on `x`, of a change the new `x`, of an end the answer from `$v`."""
    does: Callable[[list[Any], Any], Any]
    grammar: str
    gives: str = ""
    """The kind of values after a step that changes it."""
    when_filtered: bool | None = None
    """Whether an end stands only after filters, which may leave nothing, or never; None: anywhere."""


def lines(values: list[Any]) -> str:
    return "".join(f"{value}\n" for value in (len(values), *values))


SIMPLE = 4
"""The first four forms are the simple ones."""
FORMS = (
    Form("numbers", False, "$v = list(map(int, input().split()))",
         "[read|take] [the integers|integers] $v from [one line|a line]", lambda v: " ".join(map(str, v)) + "\n"),
    Form("words", False, "$v = input().split()",
         "[read|take] [the words|words] $v from [one line|a line]", lambda v: " ".join(v) + "\n"),
    Form("numbers", False, "def $f($v):", "[given|for] [the integers|integers] $v", list),
    Form("words", False, "def $f($v):", "[given|for] [the strings|strings] $v", list),
    Form("numbers", True, "$v = list(map(int, input().split(',')))",
         "[read|take] [the integers|integers] $v split by commas", lambda v: ",".join(map(str, v)) + "\n"),
    Form("numbers", True, "$v = [int(input()) for i in range(int(input()))]",
         "[read|take] a count and that many integers $v from [single|separate] lines", lines),
    Form("numbers", True, "def $f($v):\n    $v = [y for x in $v for y in x]",
         "[flatten|unnest] [the nested integers|nested integers] $v", lambda v: [v[: len(v) // 2], v[len(v) // 2 :]]),
)  # fmt: skip

FILTERS = (
    Part("numbers", "x > $n", lambda v, n: [x for x in v if not x <= n],
         "[ones|values] [greater|bigger|larger] than $n"),
    Part("numbers", "x < $n", lambda v, n: [x for x in v if not x >= n], "[ones|values] [smaller|less|lower] than $n"),
    Part("numbers", "x % 2 == 0", lambda v, n: [x for x in v if x // 2 * 2 == x], "even [ones|values|elements]"),
    Part("numbers", "x % 2 == 1", lambda v, n: [x for x in v if x // 2 * 2 != x], "odd [ones|values|elements]"),
    Part("words", "len(x) > $n", lambda v, n: [x for x in v if x[n:]], "[ones|values] longer than $n"),
    Part("words", "x.startswith($c)", lambda v, c: [x for x in v if x[0] == c],
         "[ones|values] that [start|begin] with $c"),
)  # fmt: skip

CHANGES = (
    Part("numbers", "x * $n", lambda v, n: [n * x for x in v], "[each|every value] [times|multiplied by] $n"),
    Part("numbers", "x + $n", lambda v, n: [n + x for x in v], "[each|every value] [plus|increased by] $n"),
    Part("numbers", "abs(x)", lambda v, n: [max(x, -x) for x in v], "[absolutes|absolute values] of [each|all]"),
    Part("words", "x.upper()", lambda v, n: [x.upper() for x in v], "[each|every word] in [uppercase|upper case]"),
    Part("words", "len(x)", lambda v, n: [sum(1 for _ in x) for x in v],
         "lengths of [each|every word]", gives="numbers"),
)  # fmt: skip

ENDS = (
    Part("numbers", "sum($v)", lambda v, n: sum(v), "the [sum|total] of ..."),
    Part("numbers", "max($v)", lambda v, n: sorted(v)[-1], "the [maximum|largest] of ...", when_filtered=False),
    Part("numbers", "min($v)", lambda v, n: sorted(v)[0], "the [minimum|smallest] of ...", when_filtered=False),
    Part("numbers", "max($v, default=0)", lambda v, n: sorted(v)[-1] if v else 0,
         "the [maximum|largest] of ... or 0 [if none|by default]", when_filtered=True),
    Part("numbers", "min($v, default=0)", lambda v, n: sorted(v)[0] if v else 0,
         "the [minimum|smallest] of ... or 0 [if none|by default]", when_filtered=True),
    Part("numbers words", "len($v)", lambda v, n: sum(1 for x in v), "the [number|count] of ..."),
    Part("numbers words", "len(set($v))", lambda v, n: len(dict.fromkeys(v)),
         "the [number|count] of [distinct|different] ..."),
    Part("numbers words", "*sorted($v)", lambda v, n: sorted(v), "[sorted|in order] ..."),
    Part("numbers words", "*sorted($v, reverse=True)", lambda v, n: sorted(v)[::-1],
         "[sorted|in order] ... [descending|in reverse]"),
)  # fmt: skip

VARIABLES = {
    "numbers": "values scores prices data numbers rows counts ages rates points",
    "words": "names words items fruits keys lines tokens labels tags users",
}
FUNCTIONS = "answer find work process run evaluate task check result handle main total"
WORDS = """
a an be cat dog egg fig red tree apple pear bread stone cloud kettle banana orange garden window lantern aa bob eve noon
level tab at to bee cab ace dad sad bad bean dot data
"""
LETTERS = "abdet"


def key(one: Form | Part) -> str:
    return f"{one.kind} {one.reading}" if isinstance(one, Form) else one.code


def follows(one: Form | Part, other: Part) -> bool:
    """Whether `other` can work on what `one` gives."""
    kinds = one.kind if isinstance(one, Form) else one.gives or one.takes
    is_apt = other.when_filtered is None or other.when_filtered == (one in FILTERS)
    return any(kind in other.takes for kind in kinds.split()) and (is_apt or one in CHANGES)


def fits(form: Form, parts: Sequence[Part]) -> bool:
    kind: str = form.kind
    for part in parts:
        if kind not in part.takes:
            return False
        kind = part.gives or kind
    return parts[-1].when_filtered in (None, any(part in FILTERS for part in parts))


def neighbours(form: Form, parts: Sequence[Part]) -> tuple[str, ...]:
    """What stands next to each other in a problem, form first: its pairs, one of which train never shows in test."""
    chain = [key(form), *map(key, parts)]
    return tuple(f"{one} -> {other}" for one, other in pairwise(chain))


def work(parts: Sequence[Part], arguments: Sequence[Any], values: list[Any]) -> Any:
    """What a problem's answer is for these values, by its parts' functions."""
    result: Any = values
    for part, argument in zip(parts, arguments, strict=True):
        result = part.does(result, argument)
    return result


def write(form: Form, parts: Sequence[Part], arguments: Sequence[Any], variable: str, function: str) -> str:
    """The solution: its reading, then one line with the steps in one comprehension."""
    *steps, end = (
        put(part.code, {"v": "$v", "n": str(argument), "c": f"'{argument}'"})
        for part, argument in zip(parts, arguments, strict=True)
    )
    value = variable
    if steps:
        change = next((step for step, part in zip(steps, parts, strict=False) if part in CHANGES), "x")
        condition = "".join(f" if {step}" for step, part in zip(steps, parts, strict=False) if part in FILTERS)
        value = f"[{change} for x in {variable}{condition}]"
    answer = put(end, {"v": value})
    finish = f"    return {answer.removeprefix('*')}" if form.is_call else f"print({answer})"
    return put(form.reading, {"v": variable, "f": function}) + "\n" + finish
