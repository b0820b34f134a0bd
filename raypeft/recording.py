"""Recording work of the GPU as CUDA graphs, which training passes and decoding steps are repeated from.

    if unrecordable(model) is None:
        with on_side_stream():
            work()                                  # once as it is: libraries get what they need
        with recording(graph, pool):
            work()
        graph.replay()

Torch is imported only when a function is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from raypeft.gpu import half


def unrecordable(model: Any) -> str | None:
    """Why the work of a model cannot be recorded: it asks the GPU for values while it computes. None: nothing known."""
    import torch

    config = model.config
    if getattr(model, "is_loaded_in_8bit", False):
        return "its 8-bit layers look for outliers"
    if any(kind in str(getattr(config, "rope_parameters", None)) for kind in ("'dynamic'", "'longrope'")):
        return "its rotary embedding depends on the length"
    if getattr(config, "num_experts", None) or getattr(config, "num_local_experts", None):
        return "it chooses between experts"
    # With a scaler it was never tried.
    return "the GPU computes in float16" if half() == torch.float16 else None


@cache
def side_stream() -> Any:
    """The stream that work is recorded on. There is one a process: cuBLAS keeps a workspace for every stream."""
    import torch

    return torch.cuda.Stream()


@contextmanager
def on_side_stream() -> Iterator[None]:
    """Run the block on the stream of recordings, after what was begun before it and before what comes after it."""
    import torch

    usual, side = torch.cuda.current_stream(), side_stream()
    side.wait_stream(usual)
    try:
        with torch.cuda.stream(side):
            yield
    finally:  # after an error, too, what comes next may use memory that the block still works on
        usual.wait_stream(side)


@contextmanager
def recording(graph: Any, pool: Any) -> Iterator[None]:
    """Record the block into a `torch.cuda.CUDAGraph`, with memory of a pool of `torch.cuda.graph_pool_handle()`.

    A block that fails raises its error. It leaves the process as it was, which PyTorch before 2.13 does not see to: its
    random numbers and its allocator would go on as if they were being recorded (pytorch/pytorch#180395).
    """
    import torch

    usual = torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph, pool=pool, stream=side_stream()):
            yield
    except BaseException:
        torch.cuda.set_stream(usual)
        device = torch.cuda.current_device()
        with suppress(RuntimeError):  # it has ended already where the error is none of CUDA's
            torch._C._cuda_endAllocateToPool(device, pool)
            torch._C._cuda_releasePool(device, pool)
        # A recording that succeeds tells the generator of random numbers that none is going on.
        with suppress(RuntimeError), torch.cuda.graph(torch.cuda.CUDAGraph()):
            torch.zeros(1, device="cuda")
        raise
