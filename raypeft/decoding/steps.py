"""The model in a search of our own: step by step, on rows that change places and become fewer.

    steps = Steps(model, input_ids, generation_config, model_kwargs)
    while True:
        logits = steps.logits()
        ...
        steps.reorder(parents)              # or, where steps.may_leave_out(...): steps.keep(rows)
        steps.read(input_ids)

`generate` of Transformers computes all rows of a batch until the last one ends. Of sixteen examples with room for many
tokens there is often one that goes on to its last token, while most others have ended after a tenth of them.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache, DynamicCache, EncoderDecoderCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.generation.utils import ALL_CACHE_NAMES
from transformers.utils import ModelOutput

from raypeft.decoding.beam_attention import BeamCache, BeamLayer

MOST_KEPT = 0.75
"""Rows are left out once this part of them remains. Each time the caches of the others are copied."""
LAYERS = (DynamicLayer, DynamicSlidingWindowLayer, BeamLayer)
"""Kinds of caches that hold of each row nothing but its keys and values."""


class Steps:
    """Runs the model as `generate` does, for what is given to it as `custom_generate`."""

    def __init__(self, model: Any, input_ids: torch.Tensor, config: Any, model_kwargs: dict[str, Any]) -> None:
        """Reads the prompts, (rows, prompt length)."""
        self.model, self.kwargs = model, model_kwargs
        self.outputs = model._prefill(input_ids, config, model_kwargs)

    def logits(self) -> torch.Tensor:
        """(rows, vocabulary) those of the next token, in float32."""
        self.kwargs = self.model._update_model_kwargs_for_generation(
            self.outputs, self.kwargs, is_encoder_decoder=self.model.config.is_encoder_decoder
        )
        logits: torch.Tensor = self.outputs.logits[:, -1].to(copy=True, dtype=torch.float32)
        self.outputs = None  # its logits may be those of whole prompts
        return logits

    def read(self, input_ids: torch.Tensor) -> None:
        """Compute the last token of each row, (rows, length)."""
        length = 1 if self.kwargs.get("use_cache") else None
        inputs = self.model.prepare_inputs_for_generation(input_ids, next_sequence_length=length, **self.kwargs)
        self.outputs = self.model(**inputs, return_dict=True)

    @property
    def _cache(self) -> str | None:
        """The name of what holds the states of the tokens that were read."""
        return next((name for name in ALL_CACHE_NAMES if name in self.kwargs), None)

    def may_leave_out(self, kept: int, rows: int) -> bool:
        """Whether `kept` of so many rows are few enough that the others are left out, and the cache allows it."""
        cache = self._cache
        return kept <= MOST_KEPT * rows and cache is not None and may_narrow(self.kwargs[cache])

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows alone, in this order."""
        self.kwargs = {name: _kept(value, rows) for name, value in self.kwargs.items()}

    def reorder(self, rows: torch.Tensor) -> None:
        """Give each row the states of the one that it continues; some classes do that in their own way."""
        if (cache := self._cache) is None:
            return
        if hasattr(self.model, "_reorder_cache"):
            self.kwargs[cache] = self.model._reorder_cache(self.kwargs[cache], rows)
        else:
            self.kwargs[cache].reorder_cache(rows)


def may_narrow(cache: Any) -> bool:
    """Whether rows of a cache can be left out: no row's part of it depends on which others there are."""
    if isinstance(cache, EncoderDecoderCache):
        return may_narrow(cache.self_attention_cache) and may_narrow(cache.cross_attention_cache)
    return type(cache) in (DynamicCache, BeamCache) and all(type(layer) in LAYERS for layer in cache.layers)


def _kept(value: Any, rows: torch.Tensor) -> Any:
    """Some rows of what `generate` hands from step to step."""
    if isinstance(value, Cache):
        value.batch_select_indices(rows)
    elif isinstance(value, ModelOutput):  # of an encoder
        return type(value)(**{name: _kept(each, rows) for name, each in value.items()})
    elif isinstance(value, torch.Tensor) and value.dim() > 1:  # one of a single dimension has places of tokens
        return value[rows]
    return value
