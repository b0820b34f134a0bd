"""Attention of beam search that keeps each prompt's keys and values once, not once a beam.

The usual cache holds them for every beam, copies them whenever beams change places, and copies them again to append a
token: for ten beams and an 8-shot prompt that is nearly all the work of decoding on a CPU. Here the beams of an example
attend to its one copy (a dense product over all of them), and only the generated part, a few dozen tokens, is a beam's
own. The result is the same softmax over the same scores.

Only for models written against Transformers' attention interface, with full attention in every layer; `supports` tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, Cache
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "raypeft_beam"


@dataclass(slots=True)
class SplitStates:
    """Keys or values as the attention below takes them, in place of one tensor."""

    prompt: torch.Tensor
    """(examples, kv heads, prompt length, head size)"""
    generated: torch.Tensor
    """(examples x beams, kv heads, generated length, head size)"""
    prompt_mask: torch.Tensor
    """(examples, prompt length), True at real tokens"""


class BeamLayer(DynamicLayer):
    """One layer's cache. Until `fork` it is Transformers' own; afterwards the prompt part stays as it is."""

    prompt_mask: torch.Tensor | None = None
    generated_keys: torch.Tensor
    generated_values: torch.Tensor

    def fork(self, prompt_mask: torch.Tensor) -> None:
        """From now on rows are beams, `rows / examples` of them an example, and `update` appends to each beam."""
        self.prompt_mask = prompt_mask
        self.generated_keys = self.keys[:0, :, :0]
        self.generated_values = self.values[:0, :, :0]

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        if self.prompt_mask is None:
            return super().update(key_states, value_states, *args, **kwargs)
        if self.generated_keys.shape[0] == 0:
            self.generated_keys, self.generated_values = key_states, value_states
        else:
            self.generated_keys = torch.cat([self.generated_keys, key_states], dim=2)
            self.generated_values = torch.cat([self.generated_values, value_states], dim=2)
        return (
            SplitStates(self.keys, self.generated_keys, self.prompt_mask),
            SplitStates(self.values, self.generated_values, self.prompt_mask),
        )

    def get_seq_length(self) -> int:
        return super().get_seq_length() + (0 if self.prompt_mask is None else self.generated_keys.shape[2])

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        # Beams change places within their example only, and there the prompt is the same.
        self.generated_keys = self.generated_keys.index_select(0, beam_idx)
        self.generated_values = self.generated_values.index_select(0, beam_idx)


def supports(model: Any) -> bool:
    """Whether `model` (not a PEFT wrapper) calls attention through the interface, without sliding windows."""
    layer_types = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    return bool(getattr(model, "_supports_attention_backend", False)) and layer_types == {"full_attention"}


def new_cache() -> Cache:
    return Cache(layer_class_to_replicate=BeamLayer)


def fork(cache: Cache, prompt_mask: torch.Tensor) -> None:
    """Turn a cache of prompts into a cache of beams; `prompt_mask` is (examples, prompt length)."""
    for layer in cache.layers:
        layer.fork(prompt_mask.bool())


@contextmanager
def beam_attention(model: Any) -> Iterator[None]:
    """Let `model` attend with `attend` below, and put its own attention back afterwards."""
    usual = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


def attend(
    module: torch.nn.Module, query: torch.Tensor, key: Any, value: Any, attention_mask: Any, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """One decoding step of attention over prompt and generated part; PyTorch's own attention while a prompt is read.

    `query` is (rows, heads, 1, head size); returns (rows, 1, heads, head size), as Transformers expects.
    """
    if not isinstance(key, SplitStates):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    rows, heads, _, size = query.shape
    examples, kv_heads, prompt_length, _ = key.prompt.shape
    beams, groups = rows // examples, heads // kv_heads
    scale = kwargs.get("scaling") or size**-0.5
    # Query heads of one key-value head, and the beams of one example, side by side: rows of one matrix product.
    query = query.reshape(rows, kv_heads, groups, size) * scale
    by_example = _to_examples(query, examples, beams)
    scores = by_example @ key.prompt.transpose(2, 3)
    scores = scores.masked_fill(~key.prompt_mask[:, None, None, :], float("-inf"))
    own_scores = query @ key.generated.transpose(2, 3)
    weights = torch.cat([_to_rows(scores, examples, beams, groups), own_scores], dim=-1)
    weights = weights.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    prompt_weights, own_weights = weights.split([prompt_length, own_scores.shape[-1]], dim=-1)
    output = _to_rows(_to_examples(prompt_weights, examples, beams) @ value.prompt, examples, beams, groups)
    output = output + own_weights @ value.generated
    return output.reshape(rows, 1, heads, size), None


def _to_examples(states: torch.Tensor, examples: int, beams: int) -> torch.Tensor:
    """(examples x beams, kv heads, groups, n) -> (examples, kv heads, beams x groups, n)"""
    _, kv_heads, groups, last = states.shape
    return states.reshape(examples, beams, kv_heads, groups, last).transpose(1, 2).reshape(examples, kv_heads, -1, last)


def _to_rows(states: torch.Tensor, examples: int, beams: int, groups: int) -> torch.Tensor:
    """The inverse of `_to_examples`."""
    _, kv_heads, _, last = states.shape
    return states.reshape(examples, kv_heads, beams, groups, last).transpose(1, 2).reshape(-1, kv_heads, groups, last)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
