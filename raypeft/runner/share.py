"""The cores and cards that a command takes for a Ray of its own, so that no two commands of a machine use the same.

    with share_of_machine(use_gpu=None, say=print, check=stop.check) as options:  # waits while others have all of them
        ray.init(address="local", **options)

Ray gives each driver that starts one all cores and cards, whatever another Ray of this machine does with them. One Ray
for all commands would need a process that outlives the first of them, and give the trials of the others the first
one's environment, interpreter and limits. So each keeps its own Ray, with what is free.

What is taken is a name in the kernel that one process at a time can have (an abstract socket of Linux): it goes with
the process, however that ends, needs no file, and is the same for all users. Cores are those that the process may use,
by number, so that commands under `taskset` or SLURM meet only where their cores do. The first command takes all that it
may use; with some of the machine's cards, only as large a part of the cores.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import takewhile

from ray._private.utils import get_num_cpus

from raypeft.gpu import ask_driver

PREFIX = "\0raypeft/"
POLL = 1.0
"""Seconds between two looks at whether something is free."""
SETTLES = 0.2
"""Seconds after which more must have come free, or what is free now is all."""
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Machine:
    """What a command may use."""

    cores: Sequence[int]
    cards: Sequence[tuple[str, str]] = ()
    """Of each card the name that CUDA knows and the driver's, which is the same for all commands."""
    part: float = 1.0
    """How many of the machine's cards these are, at most 1: a command takes as large a part of the cores."""


def named_cards(visible: str) -> list[str]:
    """The cards that a value of CUDA_VISIBLE_DEVICES names: CUDA stops at the first name that is none."""
    return list(takewhile(lambda name: name and name not in ("-1", "NoDevFiles"), map(str.strip, visible.split(","))))


def this_machine(use_gpu: bool | None) -> Machine:
    """What this process may use, with the cards if they are wanted."""
    allowed = sorted(os.sched_getaffinity(0))
    cores = allowed[: max(1, int(get_num_cpus(True)))]  # a container may have the time of fewer cores than it sees
    driver = [line.strip() for line in ask_driver("uuid")] if use_gpu is not False else []
    seen = named_cards(os.environ.get(VISIBLE, ",".join(map(str, range(len(driver))))))
    if not driver or not seen:
        return Machine(cores)
    known = dict(zip(map(str, range(len(driver))), driver, strict=True))
    return Machine(cores, [(name, known.get(name, name)) for name in seen], min(1.0, len(seen) / len(driver)))


@contextmanager
def share_of_machine(
    use_gpu: bool | None, say: Callable[[str], None], check: Callable[[], None]
) -> Iterator[dict[str, int]]:
    """Hold what is free of this machine within the block: the options by which Ray starts with it.

    `say` hears why the command waits, and that others have a part; `check` may raise to end the waiting.
    """
    if sys.platform != "linux":
        yield {}
        return
    machine, looks = this_machine(use_gpu), 0
    with ExitStack() as held:
        while not (taken := take(machine, held)):
            looks += 1
            if looks == 2:
                say(f"waiting: {holder(machine)} has all that this command may use of this machine (`--address local` "
                    f"starts beside it at once; after `ray start --head` all sweeps share one Ray)")  # fmt: skip
            time.sleep(POLL)
            check()
        cores, cards = len(taken.cores), len(taken.cards)
        if not _is_all(taken, machine):
            of_cards = f" and {cards} of {len(machine.cards)} GPUs" if cards else ""
            say(f"{holder(machine)} has the rest of this machine: this command takes {cores} of {len(machine.cores)} "
                f"cores{of_cards}")  # fmt: skip
        with only_cards(taken.cards):
            yield {"num_cpus": cores, **({"num_gpus": cards} if cards else {})}


def take(machine: Machine, held: ExitStack) -> Machine | None:
    """What is free of a machine, held from now on. None: nothing, or none of the cards that it has."""
    with ExitStack() as trying, ExitStack() as choosing:
        if not _held("choosing", choosing):
            return None  # another command chooses just now
        taken, before = Machine([]), -1
        while before < (now := len(taken.cards) + len(taken.cores)) and not _is_all(taken, machine):
            # The kernel takes the names of a process that ends from it one by one: what is free now may be its first.
            if now:
                time.sleep(SETTLES)
            taken, before = _more_of(machine, taken, trying), now
        if not taken.cores or bool(machine.cards) > bool(taken.cards):
            return None
        held.push(trying.pop_all())
        return taken


def _more_of(machine: Machine, taken: Machine, held: ExitStack) -> Machine:
    """What is taken of a machine, with what else is free now."""
    cards = [card for card in machine.cards if card in taken.cards or _held(f"card/{card[1]}", held)]
    cores = list(taken.cores)
    for core in machine.cores:
        if len(cores) < most_cores(machine) and core not in taken.cores and _held(f"core/{core}", held):
            cores.append(core)
    return Machine(sorted(cores), cards)


def _is_all(taken: Machine, machine: Machine) -> bool:
    return len(taken.cores) == most_cores(machine) and len(taken.cards) == len(machine.cards)


def most_cores(machine: Machine) -> int:
    """How many cores a command takes of a machine on which it is alone."""
    return max(1, int(len(machine.cores) * machine.part))


def _held(name: str, held: ExitStack) -> bool:
    """Hold a name until `held` is left. False: another process has it."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(PREFIX + name)
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    listener.listen()  # so that others can ask whose it is
    held.enter_context(listener)
    return True


def holder(machine: Machine) -> str:
    """For people: the process that has something of a machine."""
    for name in (*(f"core/{core}" for core in machine.cores), *(f"card/{card}" for _, card in machine.cards)):
        with socket.socket(socket.AF_UNIX) as asking:
            asking.setblocking(False)
            if asking.connect_ex(PREFIX + name) == 0:
                size = struct.calcsize("3i")
                pid, *_ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
                if pid != os.getpid():
                    return f"process {pid}"
    return "another command"


@contextmanager
def only_cards(cards: Sequence[tuple[str, str]]) -> Iterator[None]:
    """Let this process and those that it starts see these cards alone. None are wanted: what they see stays."""
    before = os.environ.get(VISIBLE)
    if cards:
        os.environ[VISIBLE] = ",".join(name for name, _ in cards)
    try:
        yield
    finally:
        if cards and before is None:
            del os.environ[VISIBLE]
        elif cards and before is not None:
            os.environ[VISIBLE] = before
