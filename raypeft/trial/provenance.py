"""Where a row comes from: code, versions, hardware, time. Every figure in a paper should be traceable to them."""

import json
import os
import platform
import socket
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from raypeft import __version__, gpu, machine
from raypeft.records import Column

COLUMNS = (
    Column("device", str, "Name of the GPU, or of the CPU if there is no GPU"),
    Column("device_memory_gb", float, "Memory of the whole GPU. null without a GPU", "GiB"),
    Column("compute_capability", str, "Compute capability of the GPU, such as 9.0. null without a GPU"),
    Column("cuda_version", str, "Version of CUDA that torch was built for. null without a GPU"),
    Column("driver_version", str, "Version of the GPU's driver. null without a GPU"),
    Column("compute_dtype", str, "Number format of matrix products: bfloat16 or float16 on a GPU, float32 on a CPU"),
    Column("deterministic", bool, "Whether deterministic algorithms were used where PyTorch has them"),
    Column("threads", int, "Number of CPU threads used by torch", "threads"),
    Column("host", str, "Name of the machine"),
    Column("raypeft_version", str, "Version of raypeft"),
    Column("git_commit", str, "Commit of raypeft's git checkout. null for an installed package"),
    Column("git_dirty", bool, "Whether the checkout had uncommitted changes"),
    Column("python_version", str, "Version of Python"),
    Column("torch_version", str, "Version of torch"),
    Column("transformers_version", str, "Version of transformers"),
    Column("peft_version", str, "Version of peft"),
    Column("bitsandbytes_version", str, "Version of bitsandbytes"),
)


def provenance() -> dict[str, Any]:
    """The row's columns on code, versions and hardware."""
    import torch

    return {
        "device": machine.device_name(),
        "device_memory_gb": gpu.card_gb(),
        "compute_capability": ".".join(map(str, torch.cuda.get_device_capability())) if gpu.has_gpu() else None,
        "cuda_version": torch.version.cuda if gpu.has_gpu() else None,
        "driver_version": gpu.driver_version() if gpu.has_gpu() else None,
        "compute_dtype": str(gpu.half() if gpu.has_gpu() else torch.float32).removeprefix("torch."),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "host": socket.gethostname(),
        **versions(),
    }


def versions() -> dict[str, Any]:
    """The columns on code and versions, for which no library is imported."""
    commit, dirty = git_state()
    return {
        "raypeft_version": __version__,
        "git_commit": commit,
        "git_dirty": dirty,
        "python_version": platform.python_version(),
        **{f"{package}_version": installed(package) for package in ("torch", "transformers", "peft", "bitsandbytes")},
    }


@cache
def installed(package: str) -> str:
    """The version of an installed package, looked up once: it takes 4 ms."""
    return version(package)


GIT_VARIABLE = "RAYPEFT_GIT_STATE"
"""Environment variable with what `git_state` was where the code came from: a copy on another node has no history."""


def git_variables() -> dict[str, str]:
    """The environment of a process that runs a copy of this code."""
    return {GIT_VARIABLE: json.dumps(git_state())}


@cache
def git_state() -> tuple[str | None, bool | None]:
    """Commit of raypeft's checkout and whether it has uncommitted changes; (None, None) for an installed package."""
    if GIT_VARIABLE in os.environ:
        commit, dirty = json.loads(os.environ[GIT_VARIABLE])
        return commit, dirty
    package = Path(__file__).parents[1]
    try:
        # Asked of the package's folder: the user's own repository, where the sweep is run, is another matter.
        commit = _git(package, "rev-parse", "HEAD")
        tracked = _git(package, "ls-files", "--error-unmatch", "__init__.py")
        return (commit, bool(_git(package, "status", "--porcelain", "--", "."))) if tracked else (None, None)
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()
