"""Counts the kernels that a step launches. On a GPU small models wait for launches; a CPU has as many.

with Launches() as launches:
    optimise_step(...)
launches.count
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from raypeft.decoding.decoders import decoder_for
from raypeft.decoding.search import Search

NO_KERNEL = ("aten.dropout.default", "aten.alias.default", "aten._unsafe_view.default", "aten.item.default")
"""Operations without a kernel of their own, beside those that only make a view: dropout here is that of evaluation."""


class Launches(TorchDispatchMode):
    """The operations of PyTorch within the block, but for views."""

    def __init__(self) -> None:
        super().__init__()
        self.by_name: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view and str(func) not in NO_KERNEL:
            self.by_name[str(func)] += 1
        return func(*args, **(kwargs or {}))

    @property
    def count(self) -> int:
        return self.by_name.total()


def of_a_decoding_step(model: Any, tokenizer: Any, prompts: list[Any], path: Any) -> float:
    """How many kernels a step of ten beams launches."""
    counts = []
    for tokens in (6, 12):
        search = Search(max_new_tokens=tokens, num_beams=10, num_return_sequences=10, path=path)
        decoder = decoder_for(model.eval(), tokenizer, search, prompts)
        with Launches() as launches:
            decoder.decode(prompts)
        counts.append(launches.count)
    return (counts[1] - counts[0]) / 6
