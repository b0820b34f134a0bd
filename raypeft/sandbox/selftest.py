"""Tries to break out of a zygote's processes, and looks from outside whether it did. Only what holds is used.

    check(zygote, "B")        # raises SandboxUnavailable, naming what got through
    report()                  # every tier of this machine, as text: python -m raypeft.sandbox --self-test

The same attacks run twice: under the whole confinement, and without the seccomp filter, where what must fail anyway
shows that Landlock and the namespaces hold by themselves (a kernel may accept a filter and not enforce it).
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raypeft.sandbox.process import Ending, ZygoteLost
from raypeft.sandbox.records import TIERS, Limits, SandboxUnavailable
from raypeft.sandbox.spawn import Zygote

ATTACKS = """
import ctypes, json, os, resource, socket, sys
target = json.loads(sys.stdin.read())
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(one) for one in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result
def connect(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(1)
        one.connect(address)
def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
attacks = {
    "read": lambda: os.read(os.open(target["secret"], os.O_RDONLY), 9),
    "look": lambda: os.stat(target["secret"]),
    "write": lambda: os.open(target["secret"], os.O_WRONLY),
    "create": lambda: os.open(target["folder"] + "/made", os.O_WRONLY | os.O_CREAT),
    "make_folder": lambda: os.mkdir(target["folder"] + "/made_too"),
    "chmod": lambda: os.chmod(target["secret"], 0o777),
    "remove": lambda: os.unlink(target["secret"]),
    "proc": lambda: os.open("/proc/%d/environ" % target["pid"], os.O_RDONLY),
    "tcp": lambda: connect(socket.AF_INET, ("127.0.0.1", target["port"])),
    "unix": lambda: connect(socket.AF_UNIX, target["folder"] + "/socket"),
    "abstract": lambda: connect(socket.AF_UNIX, target["abstract"]),
    "signal": lambda: os.kill(target["pid"], 0),
    "fork": lambda: fork(),
    "exec": lambda: os.waitpid(os.posix_spawn(target["executable"], ["true"], {}), 0),
    "ptrace": lambda: call(101 if target["x86"] else 117, 0, 0, 0, 0),
    "limits": lambda: resource.prlimit(0, resource.RLIMIT_NOFILE, (8, 8)),
    "memory": lambda: bytearray(target["memory"]),
}
results = {}
for name, attack in attacks.items():
    if name in target["attacks"]:
        try:
            attack()
            results[name] = "got through"
        except (OSError, MemoryError) as error:
            results[name] = type(error).__name__
        except BaseException as error:
            results[name] = "broke: %r" % error
print(json.dumps(results))
"""
UNFILTERED = {
    "A": ("read", "look", "write", "create", "make_folder", "remove", "tcp", "unix", "abstract", "signal", "proc"),
    "B": ("read", "write", "create", "make_folder", "remove", "proc"),
    "C": (),
}
"""What must fail without the seccomp filter too."""
_ALLOWED_BY_TIER = {"A": (), "B": ("look",), "C": ("look",)}
"""Seeing that a file exists is not kept from a program by Landlock."""
_ALL = tuple(line.split('"')[1] for line in ATTACKS.splitlines() if line.startswith('    "') and "lambda" in line)


@dataclass
class _Bait:
    """Things outside that an attack could reach."""

    folder: Path
    secret: Path
    listeners: list[socket.socket]
    target: dict[str, Any]

    def touched(self) -> list[str]:
        """What an attack left behind."""
        found = [path.name for path in self.folder.iterdir() if path.name not in ("secret", "socket")]
        if not self.secret.exists() or self.secret.read_text() != "secret" or self.secret.stat().st_mode & 0o111:
            found.append("secret")
        for listener in self.listeners:
            try:
                listener.accept()[0].close()
                found.append(f"connection to {listener.getsockname()}")
            except BlockingIOError:
                pass
        return found


@contextmanager
def _bait(limits: Limits) -> Iterator[_Bait]:
    with tempfile.TemporaryDirectory(prefix="sandbox-") as name:
        folder, listeners = Path(name), []
        folder.chmod(0o777)  # open to everyone: what keeps a program out is to be the sandbox alone
        secret = folder / "secret"
        secret.write_text("secret")
        secret.chmod(0o666)
        abstract = f"\0sandbox-{os.getpid()}-{folder.name}"
        addresses: list[Any] = [("127.0.0.1", 0), str(folder / "socket"), abstract]
        try:
            for address in addresses:
                family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
                listeners.append(socket.socket(family))
                listeners[-1].bind(address)
                listeners[-1].listen()
                listeners[-1].setblocking(False)
            (folder / "socket").chmod(0o777)
            target = {
                "secret": str(secret),
                "folder": str(folder),
                "pid": os.getpid(),
                "port": listeners[0].getsockname()[1],
                "abstract": abstract,
                "executable": "/bin/true",
                "x86": os.uname().machine == "x86_64",
                "memory": (limits.memory_mb + 64) << 20,
            }
            yield _Bait(folder, secret, listeners, target)
        finally:
            for listener in listeners:
                listener.close()


def check(zygote: Zygote, tier: str) -> None:
    """Raises SandboxUnavailable, with everything that got through, unless the zygote's processes are confined."""
    problems: list[str] = []
    if tier != "U":
        with _bait(zygote.limits) as bait:
            problems += _attack(zygote, bait, [one for one in _ALL if one not in _ALLOWED_BY_TIER[tier]], True)
            problems += _attack(zygote, bait, UNFILTERED[tier], False) if UNFILTERED[tier] else []
            problems += [f"left behind: {what}" for what in bait.touched()]
    problems += _limits_hold(zygote)
    if problems:
        raise SandboxUnavailable(f"tier {tier}: {'; '.join(problems)}")


def _attack(zygote: Zygote, bait: _Bait, attacks: Any, filtered: bool) -> list[str]:
    target = {**bait.target, "attacks": list(attacks)}
    ending = _run(zygote, ATTACKS, json.dumps(target).encode(), filtered)
    layer = "" if filtered else " without the filter"
    try:
        results = json.loads(ending.printed)
    except ValueError:
        return [f"the attacks{layer} ended with {ending.outcome}: {ending.error}"]
    told = {name: str(results.get(name, "was not tried")) for name in attacks}
    return [f"{name}{layer}: {what}" for name, what in told.items() if not what.endswith("Error")]


def _limits_hold(zygote: Zygote) -> list[str]:
    """An honest program passes, and what does not end, or floods, is ended."""
    brief = replace(zygote.limits, seconds_per_test=0.05, wall_seconds_per_test=5)
    expected = {
        "print(int(input()) + 1)": ("ok", b"2\n"),
        "while True: pass": ("time_limit", b""),
        f"print('x' * {zygote.limits.output_bytes + 1})": ("output_limit", b""),
        "raise ValueError": ("runtime_error", b""),
    }
    problems = []
    for program, (outcome, printed) in expected.items():
        ending = _run(zygote, program, b"1\n", True, brief if outcome == "time_limit" else None)
        if (ending.outcome, ending.printed) != (outcome, printed):
            problems.append(f"{program!r} ended with {ending.outcome} ({ending.error}) where {outcome} was expected")
    return problems


def _run(zygote: Zygote, program: str, stdin: bytes, filtered: bool, limits: Limits | None = None) -> Ending:
    with zygote.fork(cpu_seconds=30, filtered=filtered) as process:
        process.limits = limits or replace(zygote.limits, seconds_per_test=10, wall_seconds_per_test=60)
        return process.load(program, None) or process.test(0, stdin)


def report() -> str:
    """What each tier gives on this machine, or why it does not, and which one `auto` takes."""
    lines, chosen = [], None
    for tier in TIERS[:-1]:
        zygote = None
        try:
            zygote = Zygote(Limits(), tier, full=False)
            check(zygote, tier)
            facts = zygote.facts
            names = ", ".join(facts["namespaces"]) or "none"
            lines.append(f"{tier}  holds: Landlock ABI {facts['landlock_abi']}, namespaces {names}, uid {facts['uid']}")
            chosen = chosen or tier
        except (SandboxUnavailable, ZygoteLost, OSError) as error:
            lines.append(f"{tier}  no: {str(error).removeprefix(f'tier {tier}: ')}")
        finally:
            if zygote is not None:
                zygote.close()
    lines.append("U  no isolation; refused unless allow_unsafe_execution is given")
    return "\n".join([*lines, f"auto takes {chosen}" if chosen else "auto takes none: programs are not run here"])
