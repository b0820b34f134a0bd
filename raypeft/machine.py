"""This process's GPU and CPU: the memory budget that is enforced, the peak that is measured, threads, quiet libraries.
libraries.

    enforce_budget(24)
    with meter.stage("train"): ...
    meter.columns()["train_peak_memory_reserved_gb"]

Without CUDA nothing is enforced and nothing measured (None). Torch is imported only when a function is called.
"""

from __future__ import annotations

import gc
import logging
import os
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from raypeft.records import Column

GIB = 2**30
METERED = ("load", "train", "generate")
"""The stages of a trial that need GPU memory."""
PEAKS = (("allocated", "allocated to tensors"), ("reserved", "reserved by PyTorch"))
COLUMNS = (
    Column("peak_memory_allocated_gb", float, "Peak GPU memory allocated to tensors", "GiB"),
    Column("peak_memory_reserved_gb", float, "Peak GPU memory reserved by PyTorch", "GiB"),
    *(
        Column(f"{stage}_peak_memory_{kind}_gb", float, f"Peak GPU memory {what} in the {stage} stage", "GiB")
        for stage in METERED
        for kind, what in PEAKS
    ),
)
"""What a `Meter` puts into the row."""


def has_gpu() -> bool:
    """Whether torch has a CUDA device to use."""
    import torch

    return torch.cuda.is_available()


def card_gb() -> float | None:
    """Memory of the card that this process uses, in GiB; None without a GPU."""
    import torch

    return torch.cuda.get_device_properties(0).total_memory / GIB if has_gpu() else None


def enforce_budget(gpu_memory_gb: float) -> None:
    """Cap this process's allocations at the budget less what the CUDA context itself takes, in GiB (2**30 bytes).

    The paper's condition, one 24 GB card, then holds on a larger one: beyond the cap an allocation raises
    torch.cuda.OutOfMemoryError. A card smaller than the budget gives all it has.
    """
    import torch

    if not torch.cuda.is_available():
        return
    torch.cuda.init()
    free, total = torch.cuda.mem_get_info()
    context = total - free - torch.cuda.memory_reserved() if gpu_memory_gb * GIB < total else 0
    # Another trial's memory on a shared card looks like context; no context is larger than this.
    context = min(context, GIB)
    torch.cuda.set_per_process_memory_fraction(min(1.0, (gpu_memory_gb * GIB - context) / total))


@dataclass(slots=True)
class Meter:
    """Peak GPU memory by stage, in GiB; empty without CUDA. A stage that fails is measured up to its end as well."""

    peaks: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Stage -> allocated by tensors, reserved from the card."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        import torch

        if name not in METERED or not torch.cuda.is_available():
            yield
            return
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        try:
            yield
        finally:
            peak = torch.cuda.max_memory_allocated() / GIB, torch.cuda.max_memory_reserved() / GIB
            self.peaks[name] = max(peak, self.peaks.get(name, peak))

    def columns(self) -> dict[str, float | None]:
        """The row's columns: of the whole trial, and of its stages."""
        row: dict[str, float | None] = {}
        for place, (kind, _) in enumerate(PEAKS):
            values = {stage: peak[place] for stage, peak in self.peaks.items()}
            row |= {f"{stage}_peak_memory_{kind}_gb": value for stage, value in values.items()}
            row[f"peak_memory_{kind}_gb"] = max(values.values(), default=None)
        return row


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is the GPU's (not the host's) lack of memory."""
    import torch

    return isinstance(error, torch.cuda.OutOfMemoryError)


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


def free_memory() -> None:
    """Give cached GPU memory back, so that the next trial of this process starts from what the base takes."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def use_threads(cpus: int) -> None:
    """Give torch so many CPU cores where it computes on the CPU."""
    import torch

    if not torch.cuda.is_available():
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
