"""Runs a program and one test of it that is written as code. The text of this file goes into the sandbox.

The program is in `SOURCE`, which `raypeft.sandbox.asserts` puts below. One test comes in on standard input, as JSON: an
expression whose value is written out, or statements after which a word is written. What a program prints is dropped.
The expected value of an expression does not come in: it is compared outside.
"""

import ast
import builtins
import io
import json
import operator
import sys
import textwrap
import types
from collections.abc import Mapping, Set
from decimal import Decimal
from fractions import Fraction
from typing import Any


def canonical(value: Any) -> str:
    """A text without blanks that two values share if and only if they are equal, as far as Python has literals.

    1, 1.0 and True are equal, and so are a set and a frozenset, or a tuple and a named tuple. Other objects have the
    name of their type, which no literal has.
    """
    if isinstance(value, str):
        return ascii(str(value)).replace(" ", "\\x20")
    if value is None or value is ...:
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return ascii(bytes(value)).replace(" ", "\\x20")
    if isinstance(value, Mapping):
        pairs = sorted(canonical(key) + ":" + canonical(value[key]) for key in value)
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, Set):
        return "set(" + ",".join(sorted(canonical(each) for each in value)) + ")"
    if isinstance(value, (list, tuple)):
        marks = "[]" if isinstance(value, list) else "()"
        return marks[0] + ",".join(canonical(each) for each in value) + marks[1]
    return canonical_number(value)


def canonical_number(value: Any) -> str:
    """A number as an integer where it is one, else as a float or a complex number. The type's name where it is none."""
    if isinstance(value, (Decimal, Fraction)) and float(value) == value:
        value = float(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(float(value))
    if isinstance(value, complex):
        return repr(complex(value)) if value.imag else canonical_number(value.real)
    try:
        return str(operator.index(value))
    except TypeError:
        item = getattr(value, "item", None)  # numpy's scalars that are no floats, such as numpy.bool
        if callable(item) and getattr(value, "shape", None) == ():
            return canonical(item())
        return "<" + type(value).__name__ + ">"


def as_function(snippet: str, head: str, end: str) -> Any:
    """The syntax tree of a function with this head (`def f(x):`) whose body is a snippet, which names its arguments.

    It returns what `end` says (`return x`). Where `end` returns nothing, it returns what the snippet comes to: the
    value of its last line, or of the name that this line sets; what a last line prints is its value.

    Raises SyntaxError.
    """
    module = ast.parse(head + " pass")
    body = ast.parse(textwrap.dedent(snippet).strip(), "program.py").body
    (final,) = ast.parse(end.strip() or "return").body
    last = body[-1] if body else None
    if isinstance(final, ast.Return) and final.value is None:
        if isinstance(last, ast.Expr):
            body[-1] = ast.copy_location(ast.Return(_printed(last.value)), last)
        elif name := _name_set_by(last):
            body.append(ast.Return(ast.Name(name, ast.Load())))
    else:
        body.append(final)
    function: Any = module.body[0]
    function.body = body or [ast.Pass()]
    return ast.fix_missing_locations(module)


def _name_set_by(statement: Any) -> str:
    """The name that an assignment sets: `y = x`, `y: list = x` or `x += [3]`. Empty where it is none or sets none."""
    if isinstance(statement, ast.Assign):
        target: ast.expr = statement.targets[0]
    elif isinstance(statement, ast.AugAssign) or (isinstance(statement, ast.AnnAssign) and statement.value):
        target = statement.target
    else:
        return ""
    return target.id if isinstance(target, ast.Name) else ""


def _printed(value: Any) -> Any:
    """What a call of print with one argument prints; else the value itself."""
    is_print = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "print"
    if is_print and len(value.args) == 1 and not value.keywords and not isinstance(value.args[0], ast.Starred):
        return value.args[0]
    return value


def run_test(source: str, head: str = "", end: str = "") -> None:
    """Run the program, then the test, and write the answer; a failed assertion of the test writes nothing.

    With a `head` the program is a snippet, of which `as_function` makes a function.
    """
    given = json.loads(sys.stdin.read())
    answer_to, run, compile_, evaluate = sys.stdout, builtins.exec, builtins.compile, builtins.eval
    sys.stdin, sys.stdout = io.StringIO(), io.StringIO()
    module = types.ModuleType("program")
    sys.modules["program"] = module
    names = vars(module)
    program = as_function(source, head, end) if head else source
    run(compile_(program, "program.py", "exec", dont_inherit=True), names)
    run(compile_(given["setup"], "setup.py", "exec", dont_inherit=True), names)
    if "expression" in given:
        answer = "=" + canonical(evaluate(compile_(given["expression"], "test.py", "eval", dont_inherit=True), names))
    else:
        try:
            run(compile_(given["statements"], "test.py", "exec", dont_inherit=True), names)
            answer = given["word"]
        except AssertionError:
            answer = ""
    answer_to.write(answer)
    answer_to.flush()
