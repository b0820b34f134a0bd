"""GPU memory of a trial: the budget that is enforced on any card, and the peak that is measured.

Without CUDA every function here does nothing and measures nothing (None).
"""

from pathlib import Path

GIB = 2**30


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


def reset_peak() -> None:
    """Start measuring anew, with nothing left over from the trial before."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def measured_peak() -> dict[str, float | None]:
    """Peak GPU memory since `reset_peak`, in GiB, as the row's columns."""
    import torch

    if not torch.cuda.is_available():
        return {"peak_memory_allocated_gb": None, "peak_memory_reserved_gb": None}
    return {
        "peak_memory_allocated_gb": torch.cuda.max_memory_allocated() / GIB,
        "peak_memory_reserved_gb": torch.cuda.max_memory_reserved() / GIB,
    }


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is the GPU's (not the host's) lack of memory."""
    import torch

    return isinstance(error, torch.cuda.OutOfMemoryError)


def device_name() -> str:
    """The GPU's name, or the CPU's."""
    import platform

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
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
