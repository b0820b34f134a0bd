"""`raypeft doctor`: what works on this machine and what does not, and what to do about it. Nothing is changed."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from rich.console import Console

from raypeft.gpu import AMPERE, GIB
from raypeft.mistakes import page
from raypeft.services.queue import cpu_count

State = Literal["ok", "note", "fault"]
COLOURS: dict[str, str] = {"ok": "green", "note": "yellow", "fault": "red"}
LITTLE_DISK = 20
"""GiB of free disk below which downloaded models hardly fit."""
LONGEST_PATH = 107
"""Characters of a socket's path that Linux takes."""
RAY_PATH = len("/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    state: State
    what: str
    found: str
    to_do: str = ""


def python() -> Iterator[Finding]:
    found = platform.python_version()
    good = sys.version_info >= (3, 11)
    yield Finding("ok" if good else "fault", "Python", found, "" if good else "install Python 3.11 or newer")


def packages() -> Iterator[Finding]:
    """The versions of what raypeft needs, and those that are outside the range it was written for."""
    from packaging.requirements import Requirement

    try:
        needed = [Requirement(text) for text in requires("raypeft") or ()]
    except PackageNotFoundError:
        yield Finding(
            "note", "packages", "raypeft is not installed, so its requirements are not known", "pip install -e ."
        )
        return
    wrong, to_do = [], []
    for each in needed:
        if each.marker is not None and not each.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(each.name)
        except PackageNotFoundError:
            wrong.append(f"{each.name} is missing")
            to_do.append(f"'{each}'")
            continue
        if not each.specifier.contains(found, prereleases=True):
            wrong.append(f"{each.name} {found} is not {each.specifier}")
            to_do.append(f"'{each}'")
    told = ", ".join(f"{name} {_version(name)}" for name in ("torch", "transformers", "peft", "ray"))
    install = f"pip install {' '.join(to_do)}" if to_do else ""
    yield Finding("fault" if wrong else "ok", "packages", "; ".join(wrong) or told, install)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def processor() -> Iterator[Finding]:
    cores = cpu_count()
    memory = _memory_gib()
    told = f"{cores} cores" + (f", {memory:.0f} GiB of memory" if memory else "")
    few = memory is not None and memory < 4
    yield Finding("note" if few else "ok", "processor", told, "Ray and torch need about 4 GiB" if few else "")


def _memory_gib() -> float | None:
    """The memory of this machine, or of this container where it has less."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
    except (ValueError, OSError, AttributeError):
        return None
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(total, int(text) / GIB) if text.isdigit() else total


def cards() -> Iterator[Finding]:
    import torch

    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        others = [name for name, there in (("mps", torch.backends.mps), ("xpu", torch.xpu)) if there.is_available()]
        if others:
            yield Finding("note", "GPU", f"there is one of another maker ({others[0]}), which raypeft does not use")
        driver = shutil.which("nvidia-smi")
        to_do = "install a torch that is built for CUDA" if driver and not torch.version.cuda else ""
        yield Finding(
            "note", "GPU", f"none that torch {torch.__version__} ({built}) can use; trials run on the CPU", to_do
        )
        return
    for place in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(place)
        free, total = (size / GIB for size in torch.cuda.mem_get_info(place))
        old = (card.major, card.minor) < AMPERE
        to_do = "it has no bfloat16: trials compute in float16, and were not tested on such a card" if old else ""
        told = f"{card.name}, {total:.1f} GiB, {free:.1f} GiB free, CUDA {torch.version.cuda}"
        yield Finding("note" if old else "ok", f"GPU {place}", told, to_do)


def quantisation() -> Iterator[Finding]:
    try:
        import bitsandbytes
    except Exception as error:  # it loads a compiled library, which fails in many ways
        yield Finding("fault", "bitsandbytes", f"cannot be imported: {type(error).__name__}: {error}",
                      "qlora_4bit and qlora_8bit need it: pip install bitsandbytes")  # fmt: skip
        return
    yield Finding("ok", "bitsandbytes", str(bitsandbytes.__version__))


def ray() -> Iterator[Finding]:
    address = os.environ.get("RAY_ADDRESS")
    if address and address != "local":
        yield Finding(
            "note", "Ray", f"RAY_ADDRESS is {address}: sweeps join that cluster", "unset it to use this machine"
        )
    place = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    long = len(place) + RAY_PATH > LONGEST_PATH
    to_do = "export RAY_TMPDIR=/tmp" if long else ""
    yield Finding(
        "fault" if long else "ok", "Ray's folder", f"{place}{' is too long for sockets' if long else ''}", to_do
    )


def sandbox() -> Iterator[Finding]:
    from raypeft.sandbox import Sandbox, SandboxUnavailable

    try:
        with Sandbox() as found:
            tier = found.tier
    except SandboxUnavailable as error:
        yield Finding("fault", "sandbox", re.sub(r"\s+", " ", str(error))[:300],
                      f"datasets with tests (apps, mbpp, ...) cannot be judged here; {page('sandbox.md')}")  # fmt: skip
        return
    weak = tier != "A"
    to_do = f"{page('sandbox.md')} says what a stronger tier needs" if weak else ""
    yield Finding("note" if weak else "ok", "sandbox", f"tier {tier}", to_do)


def hub() -> Iterator[Finding]:
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        yield Finding("note", "hub", f"HF_HUB_OFFLINE is set: only what is in {constants.HF_HUB_CACHE} can be loaded")
        return
    try:
        HfApi().model_info("thenlper/gte-small", timeout=10)
    except Exception as error:  # requests, urllib3 and the hub have errors of their own
        yield Finding("note", "hub", f"{constants.ENDPOINT} does not answer ({type(error).__name__})",
                      "give folders as model_path and dataset_path, or HF_ENDPOINT a mirror")  # fmt: skip
        return
    yield Finding("ok", "hub", f"{constants.ENDPOINT} answers")


def disk() -> Iterator[Finding]:
    from huggingface_hub import constants

    for what, place in (("results", Path.cwd()), ("models", Path(constants.HF_HUB_CACHE))):
        there = next(folder for folder in (place, *place.parents) if folder.exists())
        free = shutil.disk_usage(there).free / GIB
        writable = os.access(there, os.W_OK)
        state: State = "fault" if not writable else "note" if free < LITTLE_DISK else "ok"
        to_do = "choose a folder that you may write to" if not writable else (
            "a model of 7B parameters takes 14 GiB" if free < LITTLE_DISK else "")  # fmt: skip
        yield Finding(state, f"disk for {what}", f"{free:.0f} GiB free in {place}", to_do)


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    python, packages, processor, cards, quantisation, ray, sandbox, hub, disk,
)  # fmt: skip


def findings() -> Iterator[Finding]:
    """All findings. A check that itself fails is one."""
    for check in CHECKS:
        try:
            yield from check()
        except Exception as error:
            yield Finding("fault", check.__name__, f"could not be looked at: {type(error).__name__}: {error}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="raypeft doctor",
        description="Look at Python, packages, GPU, bitsandbytes, Ray, sandbox, hub and disk, and say what does not "
        "work and what to do. Nothing is changed.",
        epilog="exit codes: 0 nothing is broken, 1 something is",
    )
    parser.parse_args(arguments)
    console, broken = Console(highlight=False, soft_wrap=True), False
    for each in findings():
        broken |= each.state == "fault"
        console.print(f"{each.state:6}", style=COLOURS[each.state], end="")
        console.print(f"{each.what:17} {each.found}", markup=False)
        if each.to_do:
            console.print(f"{'':24}{each.to_do}", markup=False)
    return int(broken)
