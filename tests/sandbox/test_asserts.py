"""Tests that are written as code: what is compared outside, what runs inside, and what a program can do about it."""

import collections
import decimal
import fractions
import warnings
from typing import Any

import numpy as np
import pytest

from raypeft.sandbox.assert_driver import canonical
from raypeft.sandbox.asserts import from_check, parse_asserts, parse_code, with_driver
from raypeft.sandbox.cases import parse_tests
from raypeft.sandbox.modules import needs_full

DOUBLE = "def f(x):\n    return 2 * x\n"


def expected(*asserts: str) -> list[str | None]:
    return [test.expected for test in parse_asserts({"asserts": list(asserts)})]


def passes(sandbox: Any, program: str, *asserts: str, **more: str) -> list[bool]:
    return [test.passed for test in sandbox.run(program, {"asserts": list(asserts), **more}).tests]


POINT = collections.namedtuple("POINT", "x y")
EQUAL: list[list[Any]] = [
    [1, 1.0, True, np.int64(1), np.float64(1), np.bool_(True), fractions.Fraction(1), decimal.Decimal(1), 1 + 0j],
    [0, False, -0.0], [1.5, decimal.Decimal("1.5"), np.float32(1.5)], [0.1], [decimal.Decimal("0.1")], [10**400],
    [1e300, int(1e300)],
    ["a b", np.str_("a b")], ["a  b"], ["a\nb"], ["1"], [b"a b", bytearray(b"a b")], [None], ["None"], [[]], [()], [{}],
    [set(), frozenset(), {}.keys()], [{1, 2}, {2, 1}], [{1: 2, "a": 3}, collections.OrderedDict({"a": 3, 1: 2})],
    [{1: [2]}, collections.defaultdict(list, {1.0: [2]})], [(1, 2), POINT(1, 2), (1.0, 2)], [[1, 2]], [[(1, 2), {3}]],
    [1j], [float("inf")], ["é"], ["\x00"],
]  # fmt: skip


def test_two_values_have_one_canonical_text_exactly_where_python_finds_them_equal() -> None:
    values = [(group, value) for group, values in enumerate(EQUAL) for value in values]
    for group, one in values:
        for other_group, other in values:
            if not isinstance(one, np.generic) and not isinstance(other, np.generic):  # they compare elementwise
                assert (one == other) == (group == other_group), (one, other)
            assert (canonical(one) == canonical(other)) == (group == other_group), (one, other)
        assert " " not in canonical(one) and "\n" not in canonical(one)


def test_an_object_of_another_type_is_no_literal() -> None:
    class Equal:
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    assert canonical(Equal()) == "<Equal>" and canonical(np.array([1, 2])) == "<ndarray>"


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("assert f(1) == 2", "=2"), ("assert 2 == f(1)", "=2"), ("assert f([1], k=(2,)) == [(1, 'a b'), {3}]", None),
        ("assert f(1) is None", "=None"), ("assert f(1) is ...", "=Ellipsis"),
        ("assert f(1) is False", "=1"), ("assert True is f(1)", "=1"), ("assert f(1) is 1", None),
        ("assert f(1)", "=0"), ("assert not f(1)", "=1"),
        ("assert set(f(1)) == {1, 2}", "=set(1,2)"), ("assert f(f(1)) == -4.5", "=-4.5"),
        ("assert f(1)[0] == 'x'", "='x'"),
        ("assert f(1) == 2, 'why'", "=2"), ("assert f(1) == g(2)", None), ("assert f(1) < 3", None),
        ("assert abs(f(1) - 2) < 1e-6", None), ("assert isclose(f(1), 2)", None), ("assert 1 == 1", None),
        ("assert f(1) == f(2) == 3", None), ("x = 1\nassert f(x) == 2", None), ("for x in [1]: assert f(x) == 2", None),
    ],
)  # fmt: skip
def test_only_a_comparison_with_a_literal_is_judged_outside(code: str, wanted: str | None) -> None:
    if "{3}" in code:
        wanted = "=" + canonical([(1, "a b"), {3}])
    assert expected(code) == [wanted]


@pytest.mark.parametrize(
    ("tests", "told"),
    [
        ({"asserts": "assert f(1)"}, "asserts must be a list of texts"),
        ({"asserts": ["assert f(1)", 1]}, "asserts must be a list of texts but holds int$"),
        ({"asserts": [{"input": "1", "output": "1"}]}, "holds dict; tests of inputs and outputs are one mapping"),
        ({"asserts": ["f(1) == 2"]}, "must have an assert, .* but 'f\\(1\\) == 2' has none"),
        ({"asserts": ["assert f(1)", "# nothing"]}, "but '# nothing' has none"),
        ({"asserts": [""]}, "but '' has none"),
        ({"asserts": ["x = f(1)\nx == 2"]}, "every program would pass"),
        ({"asserts": ["assert (f(1) == 2, 'why')"]}, "every program would pass"),
        ({"asserts": ["assert f("]}, "a test must be Python but 'assert f\\('"),
        ({"asserts": ["assert f(1)"], "setup": "import"}, "a test must be Python but 'import'"),
        ({"asserts": ["assert f(1)"], "setup": 3}, "setup must be a text but got int"),
        ({"asserts": ["assert f(1)"], "stup": ""}, "but got stup as well"),
    ],
)
def test_tests_in_another_form_are_refused(tests: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_asserts(tests)


def test_no_assertion_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one test"):
        parse_tests('{"asserts": []}')


def test_a_check_of_assertions_alone_is_taken_apart_and_another_is_run_whole() -> None:
    check = "import math\n\ndef check(candidate):\n    'comment'\n    assert candidate(1) == 2\n    assert True\n"
    assert from_check(check, "f") == {"asserts": ["assert candidate(1) == 2"], "setup": "import math\ncandidate = f"}
    loop = "def check(candidate):\n    for x in range(3):\n        assert candidate(x) == 2 * x\n"
    assert from_check(loop, "f") == {"asserts": ["check(f)"], "setup": loop}
    with pytest.raises(ValueError, match="one function check"):
        from_check("def test(candidate): pass", "f")


CHECK = "def check(candidate):\n    assert candidate(2) == 4\n"
LOOP = "def check(candidate):\n    for x in [2]:\n        assert candidate(x) == 4\n"


@pytest.mark.parametrize(
    ("code", "count"),
    [
        (CHECK + "\ncheck(f)\n", 1),
        (CHECK + "    assert candidate(3) == 6\n\ncheck(f)\ncheck(f)\n", 2),
        (CHECK + "def test_check():\n    check(f)\n\ntest_check()\n", 1),
        (CHECK + "if __name__ == '__main__':\n    check(f)\n", 1),
        (CHECK + "check(lambda x: 2 * x)", 1),
        (LOOP + "\ncheck(f)\n", 1),
    ],
)
def test_a_check_that_is_also_called_is_passed_by_right_programs_alone(sandbox: Any, code: str, count: int) -> None:
    tests = from_check(code, "f")
    for program, passed in ((DOUBLE, True), ("def f(x):\n    return 2", False)):
        assert [test.passed for test in sandbox.run(program, tests).tests] == [passed] * count


def test_a_check_with_an_assertion_about_what_others_left_behind_is_run_whole(sandbox: Any) -> None:
    code = (
        "seen = []\n"
        "def noted(call, x):\n    seen.append(x)\n    return call(x)\n"
        "def check(candidate):\n    assert noted(candidate, 2) == 4\n    assert seen == [2]\n"
    )
    assert [test.passed for test in sandbox.run(DOUBLE, from_check(code, "f")).tests] == [True]


@pytest.mark.parametrize("body", ["assert candidate(1) == 2", "assert f(1) == 2", "assert close(candidate, 1)"])
def test_an_assertion_that_names_the_function_that_is_tested_is_a_test_of_its_own(body: str) -> None:
    assert from_check(f"def check(candidate):\n    {body}\n    {body}", "f")["asserts"] == [body, body]


def test_a_check_that_is_called_is_run_once() -> None:
    assert from_check(LOOP + "check(f)", "f")["setup"].count("check(f)") == 0


@pytest.mark.parametrize(
    "code", ["check(f)", "if f(1) != 2: raise ValueError", "with suppress(KeyError):\n    f(1)", "f(1)"]
)
def test_a_test_without_an_assertion_may_fail_otherwise(code: str) -> None:
    assert expected(code) == [None]


def test_right_and_wrong_programs_are_told_apart_outside_and_inside(sandbox: Any) -> None:
    tests = [
        "assert f(2) == 4",
        "assert f('a') == 'aa'",
        "assert abs(f(2) - 4) < 1",
        "for x in range(3): assert f(x) == x + x",
    ]
    result = sandbox.run(DOUBLE, {"asserts": tests})
    assert [(test.passed, test.judged) for test in result.tests] == [
        (True, "outside"), (True, "outside"), (True, "inside"), (True, "inside"),
    ]  # fmt: skip
    assert passes(sandbox, "def f(x):\n    return 2", *tests) == [False] * 4


def test_a_list_is_no_tuple_and_a_string_no_number(sandbox: Any) -> None:
    program = "def f(x):\n    return x"
    asserts = ["assert f([1]) == (1,)", "assert f('1') == 1", "assert f(1.0) == 1", "assert f('a  b') == 'a b'"]
    assert passes(sandbox, program, *asserts) == [False, False, True, False]


def test_what_is_to_be_true_itself_is_no_one_and_false_itself_no_zero(sandbox: Any) -> None:
    asserts = ["assert f(3) is True", "assert f(2) is False", "assert True is f(1)"]
    assert passes(sandbox, "def f(x):\n    return x & 1", *asserts) == [False] * 3
    result = sandbox.run("def f(x):\n    return x & 1 == 1", {"asserts": asserts})
    assert [(test.passed, test.judged) for test in result.tests] == [(True, "outside")] * 3


@pytest.mark.parametrize(
    ("program", "head"), [("def f(x) return x", ""), ("return 2 *", "def f(x):"), ("return 1", "")]
)
def test_a_program_that_is_no_python_is_a_compile_error_and_one_that_makes_such_code_is_not(
    sandbox: Any, program: str, head: str
) -> None:
    asserts = ["assert f(1) == 1", "for x in [1]: assert f(x) == 1"]
    result = sandbox.run(program, {"asserts": asserts, "head": head})
    assert [test.outcome for test in result.tests] == ["compile_error"] * 2
    result = sandbox.run("def f(x):\n    return eval('x x')", {"asserts": asserts})
    assert [test.outcome for test in result.tests] == ["runtime_error"] * 2


def test_setup_runs_after_the_program_and_the_suffix_is_its_end(sandbox: Any) -> None:
    setup = "import math\nvalue = Number(3)"
    assert passes(sandbox, "class Number(int): pass\n", "assert math.floor(value) == 3", setup=setup) == [True]
    assert passes(sandbox, "def f(x):\n    y = 2 * x", "assert f(1) == 2", suffix="\n    return y\n") == [True]


@pytest.mark.parametrize(
    "used",
    ["math.sqrt(x)", "gcd(x, 4)", "Counter([x])", "heapify([x])", "sys.maxsize", "(lambda: List[int])()", "np.sum(x)"],
)
def test_a_program_under_assertions_must_import_what_it_uses(sandbox: Any, used: str) -> None:
    program = f"def f(x):\n    {used}\n    return x"
    result = sandbox.run(program, {"asserts": ["assert f(4) == 4", "assert f(5) == 5"]})
    assert {test.outcome for test in result.tests} == {"runtime_error"}
    assert all("NameError" in test.error for test in result.tests)


def test_what_a_program_or_the_setup_imports_is_there_in_every_test(sandbox: Any) -> None:
    program = "from math import sqrt\nimport builtins\ndef f(x):\n    return sqrt(x) + hasattr(builtins, 'gcd')"
    asserts = ["assert f(4) == 2", "assert f(gcd(9, 18)) == 3", "assert f(x=16) == 4"]
    assert passes(sandbox, program, *asserts, setup="from math import gcd") == [True] * 3


def test_what_the_tests_import_chooses_the_larger_zygote(sandbox: Any) -> None:
    assert not needs_full(with_driver(DOUBLE, {}))
    assert needs_full(with_driver(DOUBLE, {"setup": "import numpy as np"}))
    assert passes(sandbox, DOUBLE, "assert f(np.arange(3)).tolist() == [0, 2, 4]", setup="import numpy as np") == [True]


@pytest.mark.parametrize(
    "program",
    [
        'print("""quotes\\n\\\\""")\n' + DOUBLE,
        "import sys\nsys.stdout.write('noise')\n" + DOUBLE,
        "from __future__ import annotations\n" + DOUBLE,
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: 'int'\n" + DOUBLE,
        DOUBLE + "if __name__ == '__main__':\n    input()\n",
        DOUBLE.replace("\n", "\r\n"),
    ],
)
def test_a_program_may_print_have_quotes_and_begin_as_programs_do(sandbox: Any, program: str) -> None:
    assert passes(sandbox, program, "assert f(2) == 4", "for x in [1]: assert f(x) == 2") == [True, True]


EVERY = ("assert f(2) == 4", "assert f(3) == 6", "for x in [1, 2]: assert f(x) == 2 * x")


@pytest.mark.parametrize(
    "program",
    [
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "def f(x):\n    raise SystemExit(0)",
        "def f(x):\n    raise AssertionError",
        "import builtins\nbuiltins.AssertionError = KeyError\ndef f(x):\n    return 0",
        "def check(f): pass\ndef f(x):\n    return 0",
        "print('=4')\nraise SystemExit",
        "print('=4')\ndef f(x):\n    return 0",
        "import sys\nprint(sys.stdin.read())\ndef f(x):\n    return 0",
        "def f(x):\n    print('=4', flush=True)\n    return None",
        "class A:\n    def __repr__(self): return '4'\ndef f(x):\n    return A()",
        "class A(str):\n    def __repr__(self): return '4'\ndef f(x):\n    return A('x')",
        "this is no Python",
        "",
    ],
)
def test_a_program_that_does_not_answer_passes_no_test(sandbox: Any, program: str) -> None:
    assert passes(sandbox, program, *EVERY) == [False] * 3


def test_an_object_that_equals_everything_passes_inside_only_and_is_marked(sandbox: Any) -> None:
    program = "class A:\n    def __eq__(self, other): return True\ndef f(x):\n    return A()"
    result = sandbox.run(program, {"asserts": list(EVERY)})
    assert [(test.passed, test.judged) for test in result.tests] == [
        (False, "outside"), (False, "outside"), (True, "inside"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("snippet", "suffix", "passed"),
    [
        ("2 * x", "", True), ("y = 2 * x", "", True), ("print(2 * x)", "", True), ("return 2 * x", "", True),
        ("  import math\n  math.prod([2, x])", "", True), ("x *= 2", "\n\treturn x", True),
        ("x *= 2", "", True), ("y: int = 2 * x", "", True), ("y: int", "", False), ("y = [x]\ny[0] *= 2", "", False),
        ("2 * x", "\n\treturn x", False), ("x * y", "", False), ("for i in [x]: 2 * i", "", False), ("", "", False),
        ("def f(x): return 2 * x", "", False), ("print(2 * x, x)", "", False), ("2 *", "", False),
    ],
)  # fmt: skip
def test_a_snippet_is_the_body_of_a_function_that_returns_what_it_comes_to(
    sandbox: Any, snippet: str, suffix: str, passed: bool
) -> None:
    assert passes(sandbox, snippet, "assert f(2) == 4", head="def f(x):", suffix=suffix) == [passed]


@pytest.mark.parametrize(
    ("head", "suffix", "told"),
    [
        ("f(x)", "", "a test must be Python"), ("x = 1;", "", "head must be that of one function"),
        ("def f(x): return 1;", "y = 1\nreturn y", "suffix must be one statement where there is a head"),
    ],
)  # fmt: skip
def test_a_head_is_that_of_one_function(head: str, suffix: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_asserts({"asserts": ["assert f(1)"], "head": head, "suffix": suffix})


def test_an_escape_that_python_does_not_know_warns_nobody() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse_code(r"x = '\S'").body
