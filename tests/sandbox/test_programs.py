"""Honest programs: what real solutions do works, each test starts afresh, and each limit has its outcome."""

# ruff: noqa: E501, SIM905 - programs are kept on one line, which shows them whole
from __future__ import annotations

from typing import Any

import pytest

IMPORTS = (
    "math collections itertools heapq bisect functools re sys string random fractions decimal datetime copy operator "
    "queue typing numpy statistics time io os array json"
).split()
RIGHT = {
    "main guard": "def main():\n    print(int(input()) * 2)\nif __name__ == '__main__':\n    main()",
    "stdin.buffer": "import sys\nprint(int(sys.stdin.buffer.readline()) * 2)",
    "exit()": "print(int(input()) * 2)\nexit()\nprint(1)",
    "quit()": "print(int(input()) * 2)\nquit()",
    "sys.exit": "import sys\nprint(int(input()) * 2)\nsys.exit(1)",
    "os._exit after a flush": "import os\nprint(int(input()) * 2, flush=True)\nos._exit(0)",
    "global in a helper": "n = 0\ndef read():\n    global n\n    n = int(input())\nread()\nprint(n * 2)",
    "top-level return": "n = int(input())\nif n:\n    print(n * 2)\n    return\nprint(0)",
    "return with a global helper": "from math import *\nn = 0\ndef read():\n    global n\n    n = int(input())\nread()\n"
    "m = [n for _ in range(2)]\nif (k := sum(m)):\n    print(k)\n    return",
    "os.read": "import os\nprint(int(os.read(0, os.fstat(0).st_size)) * 2)",
    "open(0)": "print(int(open(0).read()) * 2)",
    "input.txt": "print(int(open('input.txt').readline()) * 2)",
    "output.txt": "import sys\nsys.stdin = open('input.txt')\nsys.stdout = open('output.txt', 'w')\nprint(int(input()) * 2)",
    "stdout.write": "import sys\nsys.stdout.write(str(int(sys.stdin.readline()) * 2))",
    "stdout.buffer": "import sys\nsys.stdout.buffer.write(b'%d' % (int(input()) * 2))",
    "replaced stdout": "import io, sys, os, atexit\nout = sys.stdout = io.StringIO()\n"
    "atexit.register(lambda: os.write(1, out.getvalue().encode()))\nprint(int(input()) * 2)",
    "unflushed file": "import os\nf = os.fdopen(1, 'w', closefd=False)\nf.write(str(int(input()) * 2))",
    "thread with a big stack": "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 26)\n"
    "def f(n): return n and f(n - 1)\ndef main():\n    f(20000)\n    print(int(input()) * 2)\n"
    "threading.Thread(target=main).start()",
    "deep recursion": "import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return n and f(n - 1)\nf(50000)\nprint(int(input()) * 2)",
    "stack limit": "import resource\nresource.setrlimit(resource.RLIMIT_STACK, (1 << 28, 1 << 28))\nprint(int(input()) * 2)",
    "fileinput": "import fileinput\nfor line in fileinput.input(): print(int(line) * 2)",
    "thread pool": "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(3) as p: print(*p.map(lambda n: n * 2, [int(input())]))",
    "long integers": "n = int(input())\nx = str(10 ** 20000)\nprint(n * 2)",
    "names of the harness": "print(int(sys.stdin.readline()) * 2 if gcd(2, 4) == 2 and Counter and heappush and List else 0)",
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass A:\n    n: int\nprint(A(int(input())).n * 2)",
    "pickle of a class": "import pickle\nclass A: pass\na = A(); a.n = int(input())\nprint(pickle.loads(pickle.dumps(a)).n * 2)",
    "byte order mark": "\ufeffprint(int(input()) * 2)",
    "carriage returns": "n = int(input())\r\nprint(n * 2)\r\n",
    "a module that is loaded late": "import colorsys, plistlib\nprint(int(input()) * 2)",
    "closed stdout": "import sys\nprint(int(input()) * 2)\nsys.stdout.close()",
    "numpy": "n = np.array([int(input())])\nprint((n * 2)[0])",
    "recursive cache": "from functools import lru_cache\nimport sys\nsys.setrecursionlimit(10**5)\n@lru_cache(None)\n"
    "def f(n): return n and f(n - 1) + 1\nprint(f(1200) - 1200 + int(input()) * 2)",
    "finally after exit": "try:\n    n = int(input())\n    exit()\nfinally:\n    print(n * 2)",
    "output of a finalizer": "class A:\n    def __del__(self): print(self.n * 2)\na = A()\na.n = int(input())",
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_program_passes_every_test_in_both_readings(sandbox: Any, name: str) -> None:
    result = sandbox.run(RIGHT[name], {"inputs": ["21\n", "4\n", "0\n"], "outputs": ["42\n", ["8"], "0"]})
    assert [test.outcome for test in result.tests[:2]] == ["passed"] * 2, result.tests
    if "return" not in name:
        assert result.all_passed, result.tests
    assert all(test.passed_paper for test in result.tests[:2])


@pytest.mark.parametrize("module", IMPORTS)
def test_what_real_solutions_import_can_be_imported(sandbox: Any, module: str) -> None:
    result = sandbox.run(f"import {module}\nfrom {module} import *\nprint(42)", {"inputs": [""], "outputs": ["42"]})
    assert result.tests[0].passed, result.tests


LEFT_BEHIND = {
    "globals": "try: x\nexcept NameError: x = 1; print('new')\nelse: print('old')",
    "recursion limit": "import sys\nprint('new' if sys.getrecursionlimit() == 1000 else 'old')\nsys.setrecursionlimit(5000)",
    "random state": "import random\nprint('new' if random.random() == 0.8444218515250481 else 'old')",
    "numpy's random state": "import numpy\nprint('new' if numpy.random.rand() == 0.5488135039273248 else 'old')",
    "builtins": "import builtins\nprint('new' if print.__module__ == 'builtins' else 'old')\nold = print\nbuiltins.print = lambda *a: old('old')",
    "an added builtin": "import builtins\nprint('old' if hasattr(builtins, 'xrange') else 'new')\nbuiltins.xrange = range",
    "streams": "import io, sys\nprint('new')\nsys.stdin = sys.stdout = sys.__stdout__ = io.StringIO()\nprint('lost')",
    "decimal context": "import decimal\nprint('new' if decimal.getcontext().prec == 28 else 'old')\ndecimal.getcontext().prec = 5",
    "environment": "import os\nprint(os.environ.get('X', 'new'))\nos.environ['X'] = 'old'",
    "path": "import sys\nprint('old' if 'x' in sys.path else 'new')\nsys.path.append('x')",
    "a daemon thread": "import threading, time\ndef f():\n    while True: time.sleep(0.001); print('old')\nprint('new', end='', flush=True)\n"
    "import os\nthreading.Thread(target=f, daemon=True).start() if not input() else None",
    "atexit": "import atexit\natexit.register(print, end='')\nprint('new')",
    "a closed descriptor": "import os\nprint('new', flush=True)\nos.close(0)\nos.close(1)",
    "an open file": "import os\nprint('new')\nkeep = [open(os.__file__) for _ in range(30)]\nkeep.append(keep)",
    "trace": "import sys\nprint('new' if sys.gettrace() is None else 'old')\nsys.settrace(lambda *a: None)",
    "a patched module": "import math\nprint('new' if math.pi > 3 else 1 / 0)\nmath.pi = 0",
}


@pytest.mark.parametrize("name", LEFT_BEHIND)
def test_a_test_finds_nothing_that_the_one_before_it_left(sandbox: Any, name: str) -> None:
    tests = {"inputs": ["1\n"] * 4, "outputs": ["new"] * 4}
    assert sandbox.run(LEFT_BEHIND[name], tests).all_passed


CALLS: dict[str, tuple[str, list[Any], list[Any]]] = {
    "a method of Solution": (
        "class Solution:\n    def f(self, a: List[int], b): return sum(a) + b",
        [[[1, 2], 3]],
        [6],
    ),
    "a function": ("def f(a): return a * 2", [[2], ["x"]], [4, "xx"]),
    "tuples": ("def f(a): return [(1, (a,))]", [[2]], [[[1, [2]]]]),
    "an expected list of one": ("def f(a): return [a, a]", [[2]], [[[2, 2]]]),
    "integer keys": ("def f(d): return {k + 1: v for k, v in d.items()}", [[{"1": 5}]], [[{"2": 5}]]),
    "long integers": ("def f(a): return a * a", [[10**3000]], [10**6000]),
    "floats": ("def f(a): return a + 0.2", [[0.1]], [0.3]),
    "a main guard": ("def f(a): return a\nif __name__ == '__main__': print(f(int(input())))", [[1]], [1]),
    "printing": ("def f(a):\n    print('x' * 1000)\n    return a", [[1], [2]], [1, 2]),
    "arguments of its own": ("def f(a):\n    a.append(1)\n    return a", [[[0]], [[0]]], [[0, 1], [0, 1]]),
    "an instance of its own": (
        "class Solution:\n    def __init__(self): self.n = 0\n    def f(self, a):\n        self.n += a\n        return self.n",
        [[1], [1]],
        [1, 1],
    ),
    "a cache in a global": ("x = []\ndef f(a):\n    x.append(a)\n    return len(x)", [[0], [0], [0]], [1, 2, 3]),
    "numpy's scalars": ("def f(a): return np.int64(a) + 1", [[1]], [2]),
    "numpy's arrays": ("import numpy\ndef f(a): return numpy.array(a) * 2", [[[1, 2]]], [[2, 4]]),
    "no arguments": ("def f(): return None", [[]], [None]),
    "a deep recursion": (
        "def f(a):\n    sys.setrecursionlimit(10**6)\n    def g(n): return n and g(n - 1)\n    return g(30000)",
        [[1]],
        [0],
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_right_function_passes(sandbox: Any, name: str) -> None:
    program, inputs, outputs = CALLS[name]
    result = sandbox.run(program, {"inputs": inputs, "outputs": outputs, "fn_name": "f"})
    assert result.all_passed, result.tests


def test_a_module_is_loaded_once_for_all_its_calls(sandbox: Any) -> None:
    program = "sum(range(6_000_000))\ndef f(a): return a"  # more than a tenth of the CPU seconds of one test
    numbers = list(range(12))
    result = sandbox.run(program, {"inputs": [[n] for n in numbers], "outputs": numbers, "fn_name": "f"})
    assert result.all_passed, result.tests


def test_each_test_has_its_own_outcome_and_later_ones_are_run_after_a_kill(sandbox: Any) -> None:
    program = (
        "import os, time\nn = int(input())\nif n == 1: 1 / 0\nif n == 2:\n    while True: pass\n"
        "if n == 3: x = bytearray(1 << 40)\nif n == 4: print('x' * (1 << 24))\nif n == 5: os._exit(9)\nprint(n)"
    )
    tests = {"inputs": [f"{n}\n" for n in range(7)], "outputs": ["0", "1", "2", "3", "4", "5", "7"]}
    assert [test.outcome for test in sandbox.run(program, tests).tests] == [
        "passed", "runtime_error", "time_limit", "memory_limit", "output_limit", "runtime_error", "wrong_answer",
    ]  # fmt: skip


def test_first_fail_leaves_out_what_follows_a_failure_in_both_readings(sandbox: Any) -> None:
    tests = {"inputs": ["1", "2", "3", "4"], "outputs": ["1", "1.0004 2", "x", "4"]}
    program = "n = int(input())\nprint(n if n != 2 else '2 1.0004')"
    results = sandbox.run(program, tests, stop="first_fail").tests
    assert [test.outcome for test in results] == ["passed", "wrong_answer", "wrong_answer", "not_run"]
    assert [test.passed_paper for test in results] == [True, True, False, False]


def test_more_tests_than_eleven_seconds_hold_are_all_run(any_sandbox: Any) -> None:
    program = "import time\nend = time.process_time() + 0.12\nwhile time.process_time() < end: pass\nprint(input())"
    tests = {"inputs": [f"{n}" for n in range(15)], "outputs": [f"{n}" for n in range(15)]}
    result = any_sandbox.run(program, tests)
    assert result.all_passed
    assert all(0.1 < test.seconds < 0.5 for test in result.tests)


def test_a_compile_error_is_the_outcome_of_every_test(sandbox: Any) -> None:
    result = sandbox.run("print 1", {"inputs": ["", ""], "outputs": ["1", "1"]})
    assert [test.outcome for test in result.tests] == ["compile_error"] * 2
    assert "SyntaxError" in result.tests[0].error


def test_a_failure_in_a_used_process_is_believed_only_when_a_fresh_one_fails_too(sandbox: Any) -> None:
    program = "import heapq\nheapq.heappush.__self__\nprint(len(sys.modules.setdefault('left', [])))\nsys.modules['left'].append(1)"
    assert sandbox.run(program, {"inputs": [""] * 5, "outputs": ["0"] * 5}).all_passed
