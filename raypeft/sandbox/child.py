"""Runs one program inside its forked, confined process: reads it and its inputs, reports what came of them.

Everything here shares an interpreter with the program, so nothing here is trusted: the program can forge each message
below, which gains it nothing, because what counts is what it printed or returned, and that is compared elsewhere.

Messages, in order: {"program", "fn_name", "harness"} -> {"loaded": true} or {"end", "error"}; then for each test
{"test", "args"?} with two descriptors (standard input and output) -> {"test", "end", "error"?, "value"?, "retire"?}.
"harness" says whether the names that the APPS harness imports are built in. "end" is ok, error, compile, memory or
output; "retire" asks for another process for the next test.
"""

from __future__ import annotations

import _thread
import array
import errno
import fcntl
import json
import os
import socket
import sys
import types
from collections.abc import Callable
from typing import Any

from raypeft.sandbox import program_state
from raypeft.sandbox.protocol import (
    CHANNEL,
    FREE_DESCRIPTOR,
    OUT_OF_MEMORY,
    ValueTooLarge,
    decode_value,
    encode_value,
    pack,
)
from raypeft.sandbox.source import NAME, compile_program

_baseline: program_state.Baseline


def take_baseline(thread_stack: int) -> None:
    """Remembers the interpreter's state, which every test starts from. Called once, in the zygote."""
    global _baseline
    _baseline = program_state.Baseline(thread_stack)


def prepare() -> None:
    """Makes what each process would have to make for its first tests. Called in the zygote, after rehearsals."""
    _baseline.prepare()


def rehearse(start: Callable[[socket.socket], None]) -> None:
    """Runs programs of our own in the zygote, so that forked processes need not set up the same.

    What the interpreter makes when it first compiles, reads, prints or looks a method up is made once, and its code is
    specialized to what it sees. `start` runs a process's whole life on the socket that it is given.
    """
    null = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, FREE_DESCRIPTOR)
    for fn_name in (None, "f") * _REHEARSALS:
        ours, theirs = socket.socketpair()
        ours.sendall(pack({"program": _REHEARSED, "fn_name": fn_name, "harness": True}))
        for test in range(_REHEARSED_TESTS):
            files = [os.memfd_create("rehearsal") for _ in range(2)]
            os.pwrite(files[0], b"3\n0 1 2\nab\n", 0)
            socket.send_fds(ours, [pack({"test": test, "args": [[3, 1, 2], "ab"]})], files)
            for descriptor in files:
                os.close(descriptor)
        ours.shutdown(socket.SHUT_WR)
        answers = socket.socket(fileno=fcntl.fcntl(ours.fileno(), fcntl.F_DUPFD_CLOEXEC, FREE_DESCRIPTOR))
        ours.close()
        start(theirs)
        answers.close()
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    os.close(null)


_REHEARSALS, _REHEARSED_TESTS = 8, 2
_REHEARSED = """
import sys, math
from collections import defaultdict
def f(a, b):
    return sorted(a), b.upper(), {1: 2.5}
def main():
    n = int(input())
    data = list(map(int, sys.stdin.readline().split()))
    table = [[0] * n for _ in range(n)]
    counts = defaultdict(int)
    for value in data:
        counts[value] += 1
        table[0][value] = max(table[0][0], value)
    text = input().strip()
    print(*data, sep=" ")
    print(f"{math.sqrt(n):.3f}", text[::-1], "yes" if text in counts else len(text), end="\\n")
    sys.stdout.write(" ".join(str(x) for x in data) + "\\n")
if __name__ == "__main__":
    main()
"""


def serve(channel: Channel, output_bytes: int) -> None:
    """The life of the process. Returns when the supervisor hangs up."""
    try:
        _serve(channel, output_bytes)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


class Channel:
    """The supervisor's messages, and the descriptors that come with them. Made before the filter is.

    They are trusted, and read with as few Python functions as may be: each one that a process calls for the first time
    writes to pages that it shares with the zygote, and so has to copy them. That is most of what a process costs.
    """

    def __init__(self, descriptor: int = CHANNEL) -> None:
        self.descriptor = descriptor
        self.socket = socket.SocketType(socket.AF_UNIX, socket.SOCK_STREAM, 0, descriptor)
        self.data = bytearray()
        self.descriptors = array.array("i")

    def receive(self) -> dict[str, Any] | None:
        data = self.data
        while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
            more, ancillary, _, _ = self.socket.recvmsg(1 << 16, 64)
            if not more:
                return None
            for _, _, packed in ancillary:
                self.descriptors.frombytes(packed)
            data += more
        end = 4 + int.from_bytes(data[:4], "big")
        message, _ = _scan(data[4:end].decode("ascii"), 0)
        del data[:end]
        return message

    def send(self, data: bytes, limit: int = 1 << 28) -> None:
        """Sends a frame. Raises ValueTooLarge beyond `limit` bytes."""
        if len(data) > limit:
            raise ValueTooLarge(f"a return value must take at most {limit} bytes but takes {len(data)}")
        while data:
            data = data[os.write(self.descriptor, data) :]


def _pack_answer(answer: dict[str, Any]) -> bytes:
    """The answer's frame; the usual one without the encoder, which would cost as much as a short program's run."""
    if len(answer) == 3 and answer["end"] == "ok" and not answer.get("retire", True):
        body = _USUAL % answer["test"]
        return len(body).to_bytes(4, "big") + body
    return pack(answer)


_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_LOADED = pack({"loaded": True})
_USUAL = b'{"end":"ok","retire":false,"test":%d}'


def _serve(channel: Channel, output_bytes: int) -> None:
    request = channel.receive()
    if request is None:
        return
    fn_name = request["fn_name"]
    if not request["harness"]:
        _baseline.leave_out_harness()
    program, failure = _load(request.pop("program"), fn_name)
    channel.send(pack(failure) if failure else _LOADED)
    if program is None:
        return
    fresh = fn_name is None
    while (request := channel.receive()) is not None:
        _point_descriptors(channel, inputs=fn_name is None)
        _baseline.begin(fresh)
        fresh = False
        answer = program.call(request["args"]) if fn_name is not None else program.run()
        program_state.set_interpreter_limits()
        answer["test"] = request["test"]
        try:
            channel.send(_pack_answer(answer), limit=output_bytes)
        except ValueTooLarge as error:
            channel.send(pack({"test": request["test"], "end": "output", "error": str(error)}))


def _load(source: str, fn_name: str | None) -> tuple[_Program | None, dict[str, Any]]:
    """The compiled program, call-based also loaded, and {}; or None and the message of what went wrong."""
    try:
        code = compile_program(source)
    except MemoryError:
        return None, {"end": "memory", "error": "MemoryError while compiling"}
    except BaseException as error:
        return None, {"end": "compile", "error": _describe(error)}
    program = _Program(code, fn_name)
    if fn_name is not None:
        _baseline.begin(fresh=True)
        if failure := program.load():
            return None, failure
    return program, {}


def _point_descriptors(channel: Channel, inputs: bool) -> None:
    """Makes the received files descriptors 0 (a stdin program's only) and 1."""
    stdout, stdin = channel.descriptors.pop(1), channel.descriptors.pop(0)
    if inputs:
        os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    os.close(stdin)
    os.close(stdout)


class _Program:
    """Compiled code, run anew for every test or, call-based, loaded once."""

    def __init__(self, code: types.CodeType, fn_name: str | None) -> None:
        self.code = code
        self.fn_name = fn_name
        self.module: types.ModuleType | None = None

    def run(self) -> dict[str, Any]:
        """A whole run as a script, to the end that the interpreter would make: threads, atexit, flushed streams."""
        module = self._new_module("__main__")
        answer = _attempt(exec, self.code, module.__dict__)
        ending = _attempt(_baseline.finish)
        sys.modules.pop("__main__", None)
        module.__dict__.clear()
        collected = _attempt(_baseline.clean_up)
        if answer["end"] == "ok":
            answer = ending if ending["end"] != "ok" else collected
        answer["retire"] = bool(ending.get("value", True))
        answer.pop("value", None)
        return answer

    def load(self) -> dict[str, Any]:
        """Runs the module's own statements. Returns the message of what went wrong, or {}."""
        self.module = self._new_module("solution")
        answer = _attempt(exec, self.code, self.module.__dict__)
        if answer["end"] != "ok":
            return answer
        if self._owner() is None:
            return {"end": "compile", "error": f"the program has no function {self.fn_name!r}"}
        return {}

    def call(self, args: Any) -> dict[str, Any]:
        """One call, with arguments of its own, of the function or of a method of a new Solution."""
        answer = _attempt(self._call, args)
        if answer["end"] == "ok":
            answer["value"] = answer["value"][0]
        answer["retire"] = _thread._count() > 0
        return answer

    def _call(self, args: Any) -> list[Any]:
        owner = self._owner()
        if owner is None or self.fn_name is None:
            raise NameError(f"the program has no function {self.fn_name!r}")
        function = getattr(owner() if isinstance(owner, type) else owner, self.fn_name)
        value = function(*decode_value(args, keyed=True))
        program_state.set_interpreter_limits()  # the recursion limit, before the value is walked
        return [encode_value(value)]

    def _owner(self) -> Any:
        """The class Solution, where it has the function, or the module; None where neither has."""
        assert self.module is not None and self.fn_name is not None
        solution = self.module.__dict__.get("Solution")
        if isinstance(solution, type) and hasattr(solution, self.fn_name):
            return solution
        return self.module if callable(self.module.__dict__.get(self.fn_name)) else None

    def _new_module(self, name: str) -> types.ModuleType:
        module = types.ModuleType(name)
        module.__dict__.update(__name__=name, __file__=NAME, __builtins__=_baseline.program_builtins)
        sys.modules[name] = module
        return module


def _attempt(function: Any, *arguments: Any) -> dict[str, Any]:
    """Calls it; whatever it raises becomes the end of the test. SystemExit is a normal end of a script."""
    try:
        return {"end": "ok", "value": function(*arguments)}
    except SystemExit as error:
        if function is exec and arguments[1]["__name__"] == "__main__":
            return {"end": "ok"}
        return {"end": "error", "error": _describe(error)}
    except MemoryError:
        return {"end": "memory", "error": "MemoryError"}
    except SyntaxError as error:  # of a program that the driver of assertions compiles, or of code that this one makes
        return {"end": "compile" if error.filename == NAME else "error", "error": _describe(error)}
    except ValueTooLarge as error:
        return {"end": "output", "error": str(error)}
    except BaseException as error:
        ran_out = isinstance(error, OSError) and error.errno == errno.ENOMEM
        return {"end": "memory" if ran_out else "error", "error": _describe(error)}


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except BaseException:
        return "an exception that cannot be described"
