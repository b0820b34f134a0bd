"""What loading made of a checkpoint's tensors: that all of them are numbers, and which ones had no place.

check_finite("models/tuned", model)
left_out({"h.0.q_proj.lora_A"})       # "1 tensors of the checkpoint have no place in the model (h.0.q_proj.lora_A)"
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

from raypeft.mistakes import some


def check_finite(name: str, model: Any) -> None:
    """Raise ValueError where weights of a model are NaN or infinite, or buffers NaN; some masks are infinite.

    Such a model may decode short prompts as if nothing were wrong. Reads the weights once, without a copy of any.
    """
    import torch

    named = [(key, each) for key, each in chain(model.named_parameters(), model.named_buffers())
             if each.is_floating_point() and each.numel()]  # fmt: skip
    if not named:
        return
    # Of a tensor with a NaN both are NaN. They are fetched together: on a GPU each fetch would wait.
    ends = torch.stack([torch.stack(torch.aminmax(each.detach())).float() for _, each in named]).cpu()
    weights = {key for key, _ in model.named_parameters()}
    broken = [key for (key, _), each in zip(named, ends, strict=True)
              if each.isnan().any() or (key in weights and each.isinf().any())]  # fmt: skip
    if broken:
        raise ValueError(f"the weights of {name} must be finite numbers but {some(broken)} are not, held as "
                         f"{str(model.dtype).removeprefix('torch.')}; was the training that made them "
                         f"diverging?")  # fmt: skip


def left_out(unexpected: Iterable[str]) -> str | None:
    """What the row says of a checkpoint's tensors that the model has no place for. None: there are none."""
    keys = sorted(unexpected)
    if not keys:
        return None
    return f"{len(keys)} tensors of the checkpoint have no place in the model and were left out ({some(keys)})"
