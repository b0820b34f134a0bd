"""The interpreter's state that a test starts from, and the end that a script's run comes to.

    baseline = Baseline(thread_stack=8 << 20)      # in the zygote
    baseline.begin(fresh=True)                     # in the program's process, before each test
    baseline.finish(); baseline.clean_up()         # after it

A program's tests share a process, so what one does to builtins, sys, random and the like is undone for the next.
"""

from __future__ import annotations

import _sitebuiltins
import _thread
import atexit
import builtins
import collections
import decimal
import fileinput
import fractions
import functools
import gc
import heapq
import io
import itertools
import math
import os
import random
import resource
import sys
import threading
import time
import types
import typing
from typing import Any

from raypeft.sandbox import deep_cache, stand_ins
from raypeft.sandbox.source import NAME

RECURSION_LIMIT = 1000
_PREPARED = 2
"""Tests of a process whose streams the zygote has made: to make the first ones in the process takes 0.2 ms of it."""
_WATCHED = ("print", "input", "open", "range", "map", "int", "max", "min", "sum", "len", "sorted", "exit")
_MODULES = (sys, time, itertools, collections, math, fractions, random, heapq)
_FROM = {
    itertools: ("accumulate", "product", "permutations", "combinations"),
    collections: ("Counter", "OrderedDict", "deque", "defaultdict", "ChainMap"),
    functools: ("lru_cache",),
    math: ("sqrt", "sin", "cos", "tan", "ceil", "fabs", "floor", "gcd", "exp", "log", "log2"),
    typing: ("List", "Tuple"),
    heapq: tuple(heapq.__all__),
}


def harness_names() -> dict[str, Any]:
    """The names that the APPS harness imports ahead of a program, so that solutions use them without importing."""
    names: dict[str, Any] = {module.__name__: module for module in _MODULES}
    for module, chosen in _FROM.items():
        names |= {name: getattr(module, name) for name in chosen}
    if "numpy" in sys.modules:
        names["np"] = sys.modules["numpy"]
    return names


class Baseline:
    """A picture of the interpreter before any program ran."""

    def __init__(self, thread_stack: int) -> None:
        self.thread_stack = thread_stack
        # `-S` leaves out what site adds to builtins.
        for name in ("exit", "quit"):
            setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D"))
        builtins.help = _sitebuiltins._Helper()
        for name in ("copyright", "credits", "license"):
            setattr(builtins, name, _sitebuiltins._Printer(name, ""))
        builtins.open = io.open = stand_ins.opened
        os.open = stand_ins.opened_descriptor
        if not deep_cache.deep_enough():
            functools.lru_cache, functools.cache = deep_cache.lru_cache, deep_cache.cache
        # The stack is as large as it can be already, and a program that asks for more of it should go on.
        resource.setrlimit = stand_ins.setrlimit
        os.environ["LC_ALL"] = "C"  # the only locale whose data no file holds
        sys.argv[:] = [NAME]
        # The harness's names are found where builtins are: to copy them into every program's globals would write to
        # sixty objects' reference counts, and so copy their pages.
        harness = harness_names()
        self.harness = tuple(harness)
        self.builtins = harness | builtins.__dict__
        # Programs get builtins of their own: what they patch there is not what this code and the library run with.
        self.program_builtins = types.ModuleType("builtins")
        self.program_builtins.__dict__.update(self.builtins)
        sys.modules["builtins"] = self.program_builtins
        self.sys = {
            name: getattr(sys, name)
            for name in ("excepthook", "displayhook", "unraisablehook", "argv", "path", "meta_path", "path_hooks")
        }
        self.lists = {name: list(value) for name, value in self.sys.items() if isinstance(value, list)}
        self.environ = dict(os.environ._data)  # type: ignore[attr-defined]
        self.atexits = len(threading._threading_atexits)  # type: ignore[attr-defined]
        self.watched = {name: self.builtins[name] for name in _WATCHED}
        self.decimal = decimal.getcontext().copy()
        self.hook = threading.excepthook
        set_interpreter_limits()
        threading.stack_size(thread_stack)
        self.prepared: list[tuple[io.TextIOWrapper, ...]] = []
        self.numpy_random = getattr(sys.modules.get("numpy"), "random", None)

    def leave_out_harness(self) -> None:
        """In the process of a program whose tests are assertions: only those of APPS come with the harness's names."""
        for name in self.harness:
            del self.builtins[name], self.program_builtins.__dict__[name]

    def begin(self, fresh: bool) -> None:
        """What a test starts from: new standard streams, and, unless the process is `fresh`, all else put back."""
        if not fresh:
            self.restore()
        if not fresh or sys.platform != "linux":  # elsewhere each fork seeds it from the kernel's entropy
            self._seed()
        streams = self.prepared.pop() if self.prepared else self._streams()
        sys.stdin, sys.stdout, sys.stderr = streams
        sys.__stdin__, sys.__stdout__, sys.__stderr__ = streams  # type: ignore[misc]

    def prepare(self) -> None:
        """Makes in the zygote what the first tests of each process start from, and frees what they would replace."""
        self._seed()
        stand_ins.install()  # after the rehearsals, which need real sockets
        sys.stdin = sys.stdout = sys.stderr = None
        sys.__stdin__ = sys.__stdout__ = sys.__stderr__ = None  # type: ignore[misc]
        self.prepared = [self._streams() for _ in range(_PREPARED)]

    def _seed(self) -> None:
        """As random.seed(0). A verdict is to be repeatable."""
        _SEED(0)
        _RANDOM.gauss_next = None
        if self.numpy_random is not None:
            self.numpy_random.seed(0)

    def restore(self) -> None:
        """Puts back what programs are known to change.

        Not every module and builtin is looked at: to look at an object is to write its reference count, and the copies
        of all those pages would cost more than a new process. What is missed here shows as a failure in a used
        process, which the supervisor does not believe.
        """
        current = self.program_builtins.__dict__
        if len(current) != len(self.builtins) or any(
            current.get(name) is not one for name, one in self.watched.items()
        ):
            current.clear()
            current.update(self.builtins)
        sys.modules["builtins"] = self.program_builtins
        set_interpreter_limits()
        for name, value in self.sys.items():
            setattr(sys, name, value)
        for name, items in self.lists.items():
            if len(self.sys[name]) != len(items):
                self.sys[name][:] = items
        sys.setswitchinterval(0.005)
        threading.stack_size(self.thread_stack)
        threading.excepthook = self.hook
        if len(os.environ._data) != len(self.environ):  # type: ignore[attr-defined]
            os.environ._data.clear()  # type: ignore[attr-defined]
            os.environ._data.update(self.environ)  # type: ignore[attr-defined]
        decimal.setcontext(self.decimal.copy())
        fileinput._state = None  # type: ignore[attr-defined]
        gc.enable()

    def _streams(self) -> tuple[io.TextIOWrapper, io.TextIOWrapper, io.TextIOWrapper]:
        return (
            self._stream(0, "r", io.BufferedReader),
            self._stream(1, "w", io.BufferedWriter),
            self._stream(2, "w", io.BufferedWriter),
        )

    @staticmethod
    def _stream(descriptor: int, mode: str, buffered: Any) -> io.TextIOWrapper:
        raw = io.FileIO(descriptor, mode, closefd=False)
        name = ("<stdin>", "<stdout>", "<stderr>")[descriptor]
        errors = "backslashreplace" if descriptor == 2 else "surrogateescape"
        stream = io.TextIOWrapper(buffered(raw), "utf-8", errors, line_buffering=descriptor == 2)
        raw.name = name
        stream.mode = mode  # type: ignore[misc]
        return stream

    def finish(self) -> bool:
        """What the interpreter does at its end: waits for threads, runs atexit's functions, flushes the streams.

        Returns whether the process should not be used again, because threads were left to wait for or go on.
        """
        atexits = len(threading._threading_atexits)  # type: ignore[attr-defined]
        used = len(threading._active) > 1 or atexits > self.atexits  # type: ignore[attr-defined]
        if used:
            threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        self._flush()
        return used or _thread._count() > 0

    def clean_up(self) -> None:
        """Frees what the run left; what finalizers then print belongs to the output of this test."""
        sys.last_value = sys.last_traceback = None
        gc.collect()
        self._flush()

    @staticmethod
    def _flush() -> None:
        for stream in (sys.stdout, sys.__stdout__):
            if stream is not None:
                try:  # - contextlib.suppress would cost each process copies of the pages it lies on
                    if not getattr(stream, "closed", False):  # it raises ValueError of a detached stream
                        stream.flush()
                except Exception:  # noqa: S110 - what could not be written shows in the output
                    pass


def set_interpreter_limits() -> None:
    """The recursion limit that scripts start with, and none on the digits of an integer: the solutions are older."""
    sys.settrace(None)
    sys.setprofile(None)
    sys.setrecursionlimit(RECURSION_LIMIT)
    sys.set_int_max_str_digits(0)


_RANDOM: Any = random._inst
_SEED = super(random.Random, _RANDOM).seed
