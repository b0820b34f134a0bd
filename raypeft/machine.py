"""This process: the name of its GPU or CPU, threads, quiet libraries; and whether another process runs.

Torch is imported only when a function is called.
"""

from __future__ import annotations

import logging
import os
import platform
import warnings
from contextlib import suppress
from pathlib import Path

from raypeft.gpu import has_gpu


def device_name() -> str:
    """The GPU's name, or the CPU's."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return _cpu_name() or platform.processor() or platform.machine()


def _cpu_name() -> str | None:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)
    except OSError:
        return None


def use_threads(cpus: int) -> None:
    """Give torch so many CPU cores where it computes on the CPU."""
    import torch

    if not has_gpu():
        torch.set_num_threads(min(cpus, os.cpu_count() or 1))


def quiet_libraries() -> None:
    """Keep the libraries' bars and advice off the screen; errors still come as exceptions."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)


def is_running(pid: int) -> bool:
    """Whether this machine has a process of this number that has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError):
        # A process that ended and was not asked for its exit code yet is a zombie.
        return Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace").rpartition(")")[2].split()[0] != "Z"
    return True
