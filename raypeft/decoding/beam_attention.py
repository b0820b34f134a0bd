"""Attention of beam search that keeps each prompt's keys and values once, not once a beam.

The usual cache holds them for every beam, copies them whenever beams change places, and copies them again to append a
token: for ten beams and an 8-shot prompt that is nearly all the work of decoding on a CPU. Here the beams of an example
attend to its one copy (a dense product over all of them), and only the generated part, a few dozen tokens, is a beam's
own. The result is the same softmax over the same scores.

What a token sees is decided by the model's own mask: of a sliding window, of chunks, or of everything before it. The
mask is made for a batch that is padded on the left, so that distances between places are distances between tokens.

Only for models written against Transformers' attention interface, and for CodeGen and GPT-J, which are older and have a
method for it that can be replaced. `supports` tells which may be tried, and `raypeft.decoding.selfcheck` whether it
works.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, Cache
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "raypeft_beam"
ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
"""Transformers' names of the kinds of layers whose keys and values a cache can keep whole."""
OLDER = ("codegen", "gptj")
"""Types of models whose layers attend in a method of their own, `_attn`, whatever attention the configuration names."""


class Seen:
    """What the beams of a batch may attend to. It is worked out once a decoding step, not once a layer."""

    def __init__(self, prompt_mask: torch.Tensor) -> None:
        """`prompt_mask` is (examples, prompt length), True at real tokens."""
        self.padding = ~prompt_mask[:, None, None, :]
        # The model's mask has its padding on the left, the cache on the right.
        length = prompt_mask.shape[1]
        shift = (~prompt_mask).sum(dim=1, keepdim=True)
        self.places = (torch.arange(length, device=prompt_mask.device) + shift).clamp(max=length - 1)[:, None, None, :]
        self.known: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        """The masks of this step, one for each kind of layer, and what was made of them."""

    def of(self, examples: torch.Tensor) -> Seen:
        """The same of some examples alone."""
        some = copy.copy(self)
        some.padding, some.places, some.known = self.padding[examples], self.places[examples], []
        return some

    def hidden(self, mask: torch.Tensor | None, beams: int, length: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What each example must not see of its prompt, (examples, 1, 1, prompt length), and each row of the `length`
        tokens that it generated, (rows or 1, 1, 1, length); None: it sees all of them.

        Raises ValueError for a mask of another kind than `attend` takes.
        """
        if mask is None:
            return self.padding, None
        for known, of_prompt, generated in self.known:
            if known is mask:
                return of_prompt, generated
        prompt_length = self.padding.shape[-1]
        total = prompt_length + length
        if mask.dtype != torch.bool or mask.shape[1:] != (1, 1, total):
            raise ValueError(f"an attention mask must be boolean, and (rows, 1, 1, {total}), but got {mask.dtype} and "
                             f"{tuple(mask.shape)}")  # fmt: skip
        unseen = ~mask
        of_prompt = unseen[..., :prompt_length]
        of_prompt = of_prompt[::beams] if len(mask) > 1 else of_prompt.expand(len(self.places), -1, -1, -1)
        of_prompt, generated = of_prompt.gather(-1, self.places) | self.padding, unseen[..., prompt_length:]
        # Those of earlier steps are shorter.
        self.known = [*(each for each in self.known if each[0].shape == mask.shape), (mask, of_prompt, generated)]
        return of_prompt, generated


@dataclass(slots=True)
class SplitStates:
    """Keys or values as the attention below takes them, in place of one tensor."""

    prompt: torch.Tensor
    """(examples, kv heads, prompt length, head size), padded on the right"""
    generated: torch.Tensor
    """(examples x beams, kv heads, generated length, head size)"""
    seen: Seen


class BeamLayer(DynamicLayer):
    """One layer's cache. Until `fork` it is Transformers' own; afterwards the prompt part stays as it is."""

    seen: Seen | None = None
    generated_keys: torch.Tensor
    generated_values: torch.Tensor

    def fork(self, seen: Seen) -> None:
        """From now on rows are beams, `rows / examples` of them an example, and `update` appends to each beam."""
        self.seen = seen
        self.generated_keys = self.keys[:0, :, :0]
        self.generated_values = self.values[:0, :, :0]

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        if self.seen is None:
            return super().update(key_states, value_states, *args, **kwargs)
        if self.generated_keys.shape[0] == 0:
            self.generated_keys, self.generated_values = key_states, value_states
        else:
            self.generated_keys = torch.cat([self.generated_keys, key_states], dim=2)
            self.generated_values = torch.cat([self.generated_values, value_states], dim=2)
        return (
            SplitStates(self.keys, self.generated_keys, self.seen),
            SplitStates(self.values, self.generated_values, self.seen),
        )

    def get_seq_length(self) -> int:
        return super().get_seq_length() + (0 if self.seen is None else self.generated_keys.shape[2])

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        # Beams change places within their example only, and there the prompt is the same.
        self.generated_keys = self.generated_keys.index_select(0, beam_idx)
        self.generated_values = self.generated_values.index_select(0, beam_idx)

    def narrow(self, rows: torch.Tensor, examples: torch.Tensor, seen: Seen) -> None:
        """Keep some rows and the prompts of their examples."""
        self.reorder_cache(rows)
        self.batch_select_indices(examples)
        self.seen = seen


class BeamCache(Cache):
    """The cache of all layers."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=BeamLayer)

    def fork(self, prompt_mask: torch.Tensor) -> None:
        """Turn a cache of prompts into a cache of beams; `prompt_mask` is (examples, prompt length)."""
        seen = Seen(prompt_mask.bool())
        for layer in self.layers:
            layer.fork(seen)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows: as many of each example that stays."""
        first = self.layers[0]
        examples = (indices // (len(first.generated_keys) // len(first.keys))).unique_consecutive()
        seen = first.seen.of(examples)
        for layer in self.layers:
            layer.narrow(indices, examples, seen)


def supports(model: Any) -> bool:
    """Whether `model` (not a PEFT wrapper) calls attention in every layer where `attend` can take its place."""
    layer_types = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    reached = getattr(model, "_supports_attention_backend", False) or model.config.model_type in OLDER
    return bool(reached) and layer_types <= ATTENTION


@contextmanager
def beam_attention(model: Any) -> Iterator[None]:
    """Let `model` attend with `attend` below, and put its own attention back afterwards."""
    if model.config.model_type in OLDER:
        with _older_attention(model):
            yield
        return
    usual = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


@contextmanager
def _older_attention(model: Any) -> Iterator[None]:
    usual = model.config._attn_implementation
    layers = [module for module in model.modules() if hasattr(module, "_attn")]
    model.config._attn_implementation = NAME  # it still decides which mask the model makes
    for each in layers:
        each._attn = partial(_attend_older, each)
    try:
        yield
    finally:
        model.config._attn_implementation = usual
        for each in layers:
            del each._attn


def attend(
    module: torch.nn.Module, query: torch.Tensor, key: Any, value: Any, attention_mask: Any, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """One decoding step of attention over prompt and generated part; PyTorch's own attention while a prompt is read.

    `query` is (rows, heads, 1, head size), `attention_mask` (rows or 1, 1, 1, prompt and generated length), padded on
    the left; None: all is seen. Returns (rows, 1, heads, size of a value), as Transformers expects. `softcap` is that
    of Gemma 2 (scores are bounded by a tanh), `s_aux` that of gpt-oss (a score for attending to nothing).
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
    scores, own_scores = by_example @ key.prompt.transpose(2, 3), query @ key.generated.transpose(2, 3)
    if softcap := kwargs.get("softcap"):
        scores, own_scores = (softcap * (each / softcap).tanh() for each in (scores, own_scores))
    hidden, own_hidden = key.seen.hidden(attention_mask, beams, key.generated.shape[2])
    scores = scores.masked_fill(hidden, float("-inf"))
    if own_hidden is not None:
        own_scores = own_scores.masked_fill(own_hidden, float("-inf"))
    parts = [_to_rows(scores, examples, beams, groups), own_scores]
    if (sinks := kwargs.get("s_aux")) is not None:
        parts.append(sinks.to(query.dtype).reshape(1, kv_heads, groups, 1).expand(rows, -1, -1, -1))
    weights = torch.cat(parts, dim=-1).softmax(dim=-1, dtype=torch.float32).to(value.generated.dtype)
    prompt_weights = weights[..., :prompt_length]
    own_weights = weights[..., prompt_length : prompt_length + own_scores.shape[-1]]
    output = _to_rows(_to_examples(prompt_weights, examples, beams) @ value.prompt, examples, beams, groups)
    output = output + own_weights @ value.generated
    return output.reshape(rows, 1, heads, output.shape[-1]), None


def _attend_older(
    module: Any, query: torch.Tensor, key: Any, value: Any, attention_mask: Any
) -> tuple[torch.Tensor, None]:
    """`attend` in the place of `_attn` of CodeGen and GPT-J, whose scores are float32 whatever the model's dtype.

    Returns (rows, heads, 1, size of a value).
    """
    key = replace(key, prompt=key.prompt.float(), generated=key.generated.float())
    output, _ = attend(module, query.float(), key, value, attention_mask, scaling=1 / float(module.scale_attn))
    return output.transpose(1, 2), None


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
