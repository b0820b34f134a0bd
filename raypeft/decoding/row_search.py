"""Greedy search and sampling on a batch whose rows end at different times: rows that have ended are left out.

    search = RowSearch(Picker(uniforms, temperature=0.6), rows_per_example=5)
    model.generate(input_ids=ids, stopping_criteria=criteria, custom_generate=search)
    search.found[0]        # the generated tokens of the first row, its end included

`generate` of Transformers computes all rows until the last one ends. Of five samples of sixteen problems, with room for
512 tokens each, nearly always one goes on to its last token, while most others have ended after a tenth of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from transformers import Cache, DynamicCache, EncoderDecoderCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.utils import ModelOutput

from raypeft.decoding.beam_attention import BeamCache, BeamLayer
from raypeft.decoding.sampling import Picker
from raypeft.decoding.stopping import SearchListener, first_nan

MOST_KEPT = 0.75
"""Rows are left out once this part of them remains. Each time the caches of the others are copied."""
LAYERS = (DynamicLayer, DynamicSlidingWindowLayer, BeamLayer)
"""Kinds of caches that hold of each row nothing but its keys and values."""


class RowSearch(SearchListener):
    """A search for `custom_generate` of Transformers' `generate` in which no row depends on another."""

    def __init__(self, pick: Picker, rows_per_example: int) -> None:
        """The rows of an example stand one after the other."""
        self.pick, self.rows_per_example = pick, rows_per_example
        self.tokens = self.log_probs = self.lengths = torch.empty(0)
        """(rows, max_new_tokens) picked tokens and their log-probabilities; (rows) how many of them are a row's own."""

    def __call__(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        **model_kwargs: Any,
    ) -> torch.Tensor:
        """Search from `input_ids`, (rows, prompt length), and fill `found`; returns the rows that ended last."""
        width, rows = self.rows_per_example, torch.arange(len(input_ids), device=input_ids.device)
        self._begin(rows, generation_config.max_new_tokens)
        ended = torch.zeros_like(rows, dtype=torch.bool)
        outputs = model._prefill(input_ids, generation_config, model_kwargs)
        while True:
            model_kwargs = model._update_model_kwargs_for_generation(
                outputs, model_kwargs, is_encoder_decoder=model.config.is_encoder_decoder
            )
            scores = logits_processor(input_ids, outputs.logits[:, -1].to(copy=True, dtype=torch.float32))
            del outputs  # its logits may be those of whole prompts
            input_ids = torch.cat([input_ids, self._next(input_ids, scores, rows, ended)[:, None]], dim=1)
            ended = ended | stopping_criteria(input_ids, None)
            kept, kept_width = remaining(ended.tolist(), width)
            if not kept:
                return input_ids
            if len(kept) <= MOST_KEPT * len(rows) and may_narrow(model_kwargs.get("past_key_values")):
                places, width = torch.tensor(kept, device=rows.device), kept_width
                rows, ended, input_ids = rows[places], ended[places], input_ids[places]
                model_kwargs = narrowed(model_kwargs, places)
            length = 1 if model_kwargs.get("use_cache") else None
            inputs = model.prepare_inputs_for_generation(input_ids, next_sequence_length=length, **model_kwargs)
            outputs = model(**inputs, return_dict=True)

    def _begin(self, rows: torch.Tensor, most: int) -> None:
        self.tokens = rows.new_zeros(len(rows), most)
        self.log_probs = torch.zeros(len(rows), most, device=rows.device)
        self.lengths = torch.zeros_like(rows)
        self.step = 0

    def _next(
        self, input_ids: torch.Tensor, scores: torch.Tensor, rows: torch.Tensor, ended: torch.Tensor
    ) -> torch.Tensor:
        """The next token of each of the `rows`; it is noted for those that have not ended."""
        tokens = self.pick(input_ids, scores, rows, self.step)
        chosen = scores.log_softmax(dim=-1).gather(1, tokens[:, None]).squeeze(1)
        self.tokens[rows, self.step] = tokens
        self.log_probs[rows, self.step] = torch.where(ended, 0.0, chosen)
        self.lengths[rows] += ~ended
        self.step += 1
        return tokens

    @cached_property
    def found(self) -> list[list[int]]:
        """The generated tokens of each row. Fetched for all at once: each fetch waits for the GPU."""
        rows = zip(self.tokens.tolist(), self.lengths.tolist(), strict=True)
        return [tokens[:length] for tokens, length in rows]

    @property
    def sums(self) -> dict[tuple[int, tuple[int, ...]], float]:
        """(row, picked tokens) -> sum of their log-probabilities, after each step."""
        return {
            (row, tuple(tokens[:length])): self.sum_of(row, tokens[:length])
            for row, tokens in enumerate(self.found)
            for length in range(1, len(tokens) + 1)
        }

    def nan_step(self) -> int | None:
        """The first step, from 1, at which a score of some row was NaN. Fetched for all steps at once."""
        return first_nan([*self.log_probs[:, : self.step].unbind(dim=1)])

    def sum_of(self, row: int, tokens: Sequence[int]) -> float:
        """The sum of log-probabilities, in nats, of a row's tokens, its end included."""
        return sum(self._fetched[row][: len(tokens)])

    @cached_property
    def _fetched(self) -> list[list[float]]:
        return self.log_probs.tolist()


def remaining(ended: Sequence[bool], width: int) -> tuple[list[int], int]:
    """The places of the rows to go on with, and how many each example then has; `width` is how many it has now.

    Examples all of whose rows have ended are left out. The others keep as many rows as the one with most that go on,
    since their beams attend to a prompt together (`beam_attention.attend`); where that is more than its own, some of
    those that have ended stay.
    """
    examples = [range(start, start + width) for start in range(0, len(ended), width)]
    going_on = [sum(not ended[place] for place in example) for example in examples]
    most = max(going_on)
    kept: list[int] = []
    for example, count in zip(examples, going_on, strict=True):
        if count:
            kept += sorted(sorted(example, key=lambda place: ended[place])[:most])
    return kept, most


def may_narrow(cache: Any) -> bool:
    """Whether rows of a cache can be left out: no row's part of it depends on which others there are."""
    if isinstance(cache, EncoderDecoderCache):
        return may_narrow(cache.self_attention_cache) and may_narrow(cache.cross_attention_cache)
    return type(cache) in (DynamicCache, BeamCache) and all(type(layer) in LAYERS for layer in cache.layers)


def narrowed(model_kwargs: dict[str, Any], places: torch.Tensor) -> dict[str, Any]:
    """What `generate` hands from step to step, of some rows alone."""
    narrowed: dict[str, Any] = {}
    for name, value in model_kwargs.items():
        if isinstance(value, Cache):
            value.batch_select_indices(places)
        elif isinstance(value, ModelOutput):  # of an encoder
            value = type(value)(**{part: _rows(each, places) for part, each in value.items()})
        narrowed[name] = _rows(value, places)
    return narrowed


def _rows(value: Any, places: torch.Tensor) -> Any:
    """Some rows of a tensor that has one for each sequence. One of a single dimension has places of tokens."""
    return value[places] if isinstance(value, torch.Tensor) and value.dim() > 1 else value
