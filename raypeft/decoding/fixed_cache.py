"""A cache of beams whose tensors stay where they are, and a decoding step that a CUDA graph repeats on them.

    with fixed_step(model, cache, prompt_mask, rows, most=64):
        model.generate(..., past_key_values=cache)

A small model's decoding step waits for the CPU, which starts its 1,500 kernels one by one: on an H200 the GPU works for
5 of the 48 ms of a step of SmolLM2-135M. A graph starts them all at once, but only on the same tensors. So the
generated part has room for more tokens than there are, and what is not written yet is hidden. Without CUDA the same
steps run one operation after the other.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from transformers import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from raypeft.decoding.beam_attention import BeamLayer, Seen, SplitStates
from raypeft.recording import on_side_stream, recording, unrecordable

ROOM = 64
"""Tokens that there is room for at first; doubled when it is full."""
MOST_COPIED = 64 * 2**20
"""Bytes of keys or values that a change of beams copies at once. A 7B model's would be gigabytes."""


class Generated:
    """Keys and values of the tokens that beams have generated, of all layers."""

    def __init__(self, layers: list[BeamLayer], rows: int, most: int) -> None:
        """`rows` are beams of all examples, `most` the tokens that each may generate."""
        self.most, self.length = most, 0
        room = min(ROOM, most)
        self.keys, self.values = (
            like.new_zeros(len(layers), rows, like.shape[1], room, like.shape[3])
            for like in (layers[0].keys, layers[0].values)
        )
        self.place = torch.zeros(1, dtype=torch.long, device=self.keys.device)
        """Where the next token is written."""

    @property
    def room(self) -> int:
        return int(self.keys.shape[3])

    def grow(self) -> None:
        """Make room for twice as many tokens."""
        more = min(2 * self.room, self.most) - self.room
        self.keys, self.values = (
            torch.cat([each, each.new_zeros(*each.shape[:3], more, each.shape[4])], dim=3)
            for each in (self.keys, self.values)
        )

    def reorder(self, beam_idx: torch.Tensor) -> None:
        """Give each beam the tokens of the one that it continues. The copy of a few layers at a time is held, or of as
        many as a small model has."""
        for each in (self.keys, self.values):
            together = max(1, MOST_COPIED // (each[0, :, :, : self.length].numel() * each.element_size() or 1))
            for layers in each[:, :, :, : self.length].split(together):
                layers.copy_(layers.index_select(1, beam_idx))


class FixedSeen(Seen):
    """What beams see: all of their prompt but its padding, and what is written of the generated part."""

    unwritten: torch.Tensor
    """(1, 1, 1, room), True at places of later tokens"""

    def hidden(self, mask: Any, beams: int, length: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        return self.padding, self.unwritten


class FixedLayer(BeamLayer):
    """A layer whose generated part is in a `Generated`."""

    def __init__(self, layer: BeamLayer, number: int, generated: Generated, seen: FixedSeen) -> None:
        self.__dict__.update(layer.__dict__)
        self.number, self.generated, self.fixed = number, generated, seen

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        generated = self.generated
        keys, values = generated.keys[self.number], generated.values[self.number]
        keys.index_copy_(2, generated.place, key_states)
        values.index_copy_(2, generated.place, value_states)
        return SplitStates(self.keys, keys, self.fixed), SplitStates(self.values, values, self.fixed)

    def get_seq_length(self) -> int:
        return int(self.keys.shape[2]) + self.generated.length

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        if self.number == 0:  # of all layers at once
            self.generated.reorder(beam_idx)


class Step:
    """`forward` of a model for one token of each beam, in place of the model's own."""

    def __init__(self, model: Any, cache: Cache, generated: Generated, seen: FixedSeen) -> None:
        self.usual, self.cache, self.generated, self.seen = model.forward, cache, generated, seen
        self.records = generated.keys.device.type == "cuda"
        self.graph: Any = None
        self.ran = False
        """Whether a step with the present tensors has run, which makes what a graph cannot."""
        self.logits: Any = None
        self.inputs: dict[str, torch.Tensor] = {}

    def __call__(self, input_ids: torch.Tensor, position_ids: torch.Tensor, **others: Any) -> CausalLMOutputWithPast:
        """`input_ids` and `position_ids` are (rows, 1). Whatever mask comes with them, beams see all before them."""
        generated = self.generated
        if generated.length == generated.room:
            generated.grow()
            self.graph, self.ran = None, False
        if not self.inputs:
            self.inputs = {"input_ids": input_ids.clone(), "position_ids": position_ids.clone()}
        self.inputs["input_ids"].copy_(input_ids)
        self.inputs["position_ids"].copy_(position_ids)
        generated.place.fill_(generated.length)
        if self.records:
            self._repeat(others)
        else:
            self.logits = self._run(others)
        generated.length += 1
        return CausalLMOutputWithPast(logits=self.logits, past_key_values=self.cache)

    def _repeat(self, others: dict[str, Any]) -> None:
        """A step on a GPU: as it is, recorded, and from then on repeated."""
        if not self.ran:
            with on_side_stream():
                self.logits, self.ran = self._run(others), True
            return
        if self.graph is None:
            graph = torch.cuda.CUDAGraph()
            with recording(graph, torch.cuda.graph_pool_handle()):
                self.logits = self._run(others)
            self.graph = graph
        self.graph.replay()

    def _run(self, others: dict[str, Any]) -> torch.Tensor:
        places = torch.arange(self.generated.room, device=self.generated.place.device)
        self.seen.unwritten = (places > self.generated.place)[None, None, None, :]
        # A mask of four dimensions is taken as it is; `attend` has its own.
        mask = ~self.seen.unwritten
        read: dict[str, Any] = {**others, **self.inputs, "attention_mask": mask, "past_key_values": self.cache}
        logits: torch.Tensor = self.usual(**read).logits
        return logits


def problem(model: Any, cache: Cache) -> str | None:
    """Why `model` cannot decode so; None: it can. Every layer must see all tokens before, and all must have keys and
    values of one size."""
    config = model.config
    if set(getattr(config, "layer_types", None) or ["full_attention"]) != {"full_attention"}:
        return "not all of its layers see all tokens"
    if any(getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")):
        return "it has a window of attention"
    if len({(layer.keys.shape, layer.values.shape, layer.keys.dtype) for layer in cache.layers}) > 1:
        return "its layers have keys of different sizes"
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return "it takes no positions"
    if torch.are_deterministic_algorithms_enabled():
        return "deterministic algorithms look at places on the CPU"
    return unrecordable(model)


@contextmanager
def fixed_step(model: Any, cache: Cache, prompt_mask: torch.Tensor, rows: int, most: int) -> Iterator[None]:
    """Let `model` decode so within the block. `cache` holds prompts, whose mask is (examples, prompt length), and
    becomes one of `rows` beams that may generate `most` tokens each.

    Raises ValueError where the model cannot.
    """
    if why_not := problem(model, cache):
        raise ValueError(f"the model must allow tensors of a fixed length but does not: {why_not}")
    generated, seen = Generated(cache.layers, rows, most), FixedSeen(prompt_mask.bool())
    cache.layers = [FixedLayer(layer, number, generated, seen) for number, layer in enumerate(cache.layers)]
    own = model.__dict__.get("forward")  # hooks of accelerate put one there
    step = Step(model, cache, generated, seen)

    @wraps(step.usual)  # generate looks at what the model takes
    def forward(**inputs: Any) -> CausalLMOutputWithPast:
        return step(**inputs)

    model.forward = forward
    try:
        yield
    finally:
        del model.forward
        if own is not None:
            model.forward = own
