"""This process's GPU: the memory budget that is enforced, the peak that is measured, and what a failure of it means.

    take_budget(24)
    with meter.stage("train"): ...
    meter.columns()["train_peak_memory_reserved_gb"]

Without CUDA nothing is enforced and nothing measured (None). Torch is imported only when a function is called.
"""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import version
from typing import Any, TypeVar

from raypeft.records import Column

GIB = 2**30
METERED = ("load", "train", "generate")
"""The stages of a trial whose peaks are columns of their own."""
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


CONTEXT_GB = 0.6
"""Memory of the CUDA context, which is part of the budget: 0.51 GiB on an H200 with CUDA 13, and a little room."""
SPARE_GB = 0.25
"""Free memory of the card that is left to libraries (cuBLAS's workspaces) and to a display."""
SMALLER = 0.9
"""A card that is sold with the budget's memory has a little less: 23.65 GiB of 24."""
ITS_BUDGET = 0.8
"""A process that holds this share of its budget when an allocation fails has run out of its own memory."""
OUT_OF_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED",
                 "CUSOLVER_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED")  # fmt: skip
"""What an error of CUDA says when the card's memory is full. PyTorch has a class for its own allocations alone. The
last one comes where there is no room for cuBLAS itself."""

ALLOCATOR = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
"""Names of PyTorch's settings of its allocator: the older one, and the one of today."""
AMPERE = (8, 0)
"""The first compute capability with matrix products in bfloat16 (CUDA C++ Programming Guide, Warp Matrix Functions)."""

_granted: float | None = None
Item = TypeVar("Item")
Done = TypeVar("Done")


def has_gpu() -> bool:
    """Whether torch has a CUDA device to use. To look starts the driver, so it is prepared before."""
    import torch

    prepare()
    return torch.cuda.is_available()


def card_gb() -> float | None:
    """Memory of the card that this process uses, in GiB; None without a GPU."""
    import torch

    return torch.cuda.get_device_properties(0).total_memory / GIB if has_gpu() else None


def ask_driver(what: str) -> list[str]:
    """What nvidia-smi says of each card of this machine, such as its `memory.total`. Empty without a driver."""
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []


@cache
def driver_version() -> str | None:
    """The version of NVIDIA's driver; None where it does not say it."""
    return next((line.strip() for line in ask_driver("driver_version")), None)


def half() -> Any:
    """The torch.dtype of 16 bits that a GPU computes in: bfloat16, or float16 on cards before Ampere.

    These have a compute capability below 8.0. PyTorch says that they support bfloat16, but only emulates it.
    """
    import torch

    old = has_gpu() and torch.cuda.get_device_capability() < AMPERE
    return torch.float16 if old else torch.bfloat16


def prepare() -> None:
    """Settings that must be made before CUDA starts. What the user has set stays."""
    # Caches that grow leave holes of every size: without this, decoding reserved up to four times what it needed.
    if not any(name in os.environ for name in ALLOCATOR):
        # For a GPU, PyTorch before 2.13 reads the older name alone (pytorch/pytorch#183387).
        is_new = tuple(map(int, version("torch").split(".")[:2])) >= (2, 13)
        os.environ[ALLOCATOR[is_new]] = "expandable_segments:True"
    # Ray counts cards as NVML does; CUDA would put the fastest first.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


def be_deterministic(enabled: bool) -> None:
    """Whether this process uses deterministic algorithms where PyTorch has them; a warning names those without one."""
    import torch

    if enabled:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is used for the first time
    torch.use_deterministic_algorithms(enabled, warn_only=True)
    # Where others are only warned of, fused attention adds up its gradients in any order.
    torch.backends.cuda.enable_flash_sdp(not enabled)
    torch.backends.cuda.enable_mem_efficient_sdp(not enabled)


def take_budget(gpu_memory_gb: float) -> float | None:
    """Cap this process's allocations; returns the budget that it got, in GiB (2**30 bytes). None without a GPU.

    The budget is what was asked for, or what the card has free where that is less; the CUDA context is part of it.
    The paper's condition, one 24 GB card, then holds on a larger one: beyond the cap an allocation raises
    torch.cuda.OutOfMemoryError.
    """
    global _granted
    import torch

    if not has_gpu():
        _granted = None
        return None
    # cuDNN's attention makes a plan for every new length, 1.4 to 1.8 s each on an H200.
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.cuda.init()
    free, total = torch.cuda.mem_get_info()
    there = (free + torch.cuda.memory_reserved()) / GIB - SPARE_GB
    cap = max(0.0, min(gpu_memory_gb - CONTEXT_GB, there))
    torch.cuda.set_per_process_memory_fraction(min(1.0, cap * GIB / total))
    _granted = cap + CONTEXT_GB
    return _granted


def budget_gb() -> float | None:
    """The budget of this process, in GiB: what `take_budget` gave, else all of the card. None without a GPU."""
    return _granted if _granted is not None else card_gb()


@dataclass(slots=True)
class Meter:
    """Peak GPU memory by stage, in GiB; empty without CUDA. A stage that fails is measured up to its end as well."""

    peaks: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Stage -> allocated by tensors, reserved from the card."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        import torch

        if not torch.cuda.is_available():
            yield
            return
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        try:
            yield
        finally:
            self.note(name, peak_now_gb())

    def note(self, name: str, peak: tuple[float, float] | None) -> None:
        """Take in a peak of a stage, such as that of a training before it was interrupted."""
        if found := larger_peak(peak, self.peaks.get(name)):
            self.peaks[name] = found

    def columns(self) -> dict[str, float | None]:
        """The row's columns: of the whole trial, and of its stages."""
        row: dict[str, float | None] = {}
        for place, (kind, _) in enumerate(PEAKS):
            values = {stage: peak[place] for stage, peak in self.peaks.items()}
            row |= {f"{stage}_peak_memory_{kind}_gb": value for stage, value in values.items() if stage in METERED}
            row[f"peak_memory_{kind}_gb"] = max(values.values(), default=None)
        return row


def larger_peak(one: tuple[float, float] | None, other: tuple[float, float] | None) -> tuple[float, float] | None:
    """The peak of two parts of a stage: the larger one of each kind of memory. None where neither was measured."""
    if one is None or other is None:
        return one or other
    return max(one[0], other[0]), max(one[1], other[1])


def peak_now_gb() -> tuple[float, float] | None:
    """Peak memory of the stage that runs: allocated by tensors, reserved from the card; None without CUDA."""
    import torch

    if not torch.cuda.is_available():
        return None
    return torch.cuda.max_memory_allocated() / GIB, torch.cuda.max_memory_reserved() / GIB


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is the GPU's (not the host's) lack of memory, in any of the forms that it comes in."""
    import torch

    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    if error.__context__ is not None and is_out_of_memory(error.__context__):
        return True  # memory that runs out within the recording of a graph ends the recording with another error
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY) and is_of_cuda(error)


def is_of_cuda(error: BaseException) -> bool:
    """Whether an error of PyTorch's comes from CUDA or its libraries."""
    return any(text in str(error) for text in ("CUDA", "CUBLAS", "CUDNN", "CUSOLVER", "cuda"))


def had_its_budget(asked_gb: float) -> bool:
    """Whether this process, of which an allocation failed, had the memory that it was to have.

    Otherwise other processes held it, and the failure says nothing of the trial.
    """
    import torch

    card, granted = card_gb(), budget_gb()
    if card is None or granted is None:
        return True
    if granted < ITS_BUDGET * min(asked_gb, card):
        return False
    with suppress(RuntimeError):  # a broken context answers nothing
        free, _ = torch.cuda.mem_get_info()
        held = torch.cuda.max_memory_reserved() / GIB + CONTEXT_GB
        return held >= ITS_BUDGET * granted or free / GIB > granted - held
    return True


def free_memory() -> None:
    """Give cached GPU memory back, so that the next trial of this process starts from what the base takes."""
    import torch

    gc.collect()
    # A CUDA context that an error has broken raises here. The trial's row must not be lost with it (see `is_broken`).
    with suppress(RuntimeError):
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def within_memory(work: Callable[[], Done], is_last: bool) -> Done | None:
    """What `work` returns; None where the GPU's memory ran out, which is then given back. The peak that is measured
    begins anew: it is that of what fits. Raises torch's error instead where `is_last`: nothing smaller is left to try.
    """
    try:
        return work()
    except RuntimeError as error:
        if is_last or not is_out_of_memory(error):
            raise
    free_memory()  # here the exception holds no tensors any more
    _forget_peak()
    return None


def batches_within_memory(
    items: Sequence[Item], batch_size: int, work: Callable[[Sequence[Item]], Done]
) -> Iterator[tuple[Sequence[Item], Done]]:
    """Each batch of the items, and what `work` makes of it.

    When the GPU's memory runs out the batch is halved and tried again, and later ones are no larger; at one item
    torch.cuda.OutOfMemoryError is raised.
    """
    done = 0
    while done < len(items):
        batch = items[done : done + batch_size]
        found = within_memory(partial(work, batch), is_last=len(batch) == 1)
        if found is None:
            while batch_size >= len(batch):  # fewer may be left than half of it
                batch_size //= 2
            continue
        yield batch, found
        done += len(batch)


def is_broken() -> bool:
    """Whether an error has broken this process's CUDA context: all that it asks of the GPU would fail."""
    import torch

    try:
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.synchronize()
    except RuntimeError as error:
        return not is_out_of_memory(error)
    return False


def _forget_peak() -> None:
    """Leave what was held until now out of the peak that is being measured: it was a trial of what does not fit."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
