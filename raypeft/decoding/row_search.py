"""Greedy search and sampling on a batch whose rows end at different times: rows that have ended are left out.

search = RowSearch(Picker(uniforms, temperature=0.6), rows_per_example=5)
model.generate(input_ids=ids, stopping_criteria=criteria, custom_generate=search)
search.found[0]        # the generated tokens of the first row, its end included
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch

from raypeft.decoding.sampling import Picker
from raypeft.decoding.steps import Steps
from raypeft.decoding.stopping import SearchListener, first_nan


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
        steps = Steps(model, input_ids, generation_config, model_kwargs)
        while True:
            scores = logits_processor(input_ids, steps.logits())
            input_ids = torch.cat([input_ids, self._next(input_ids, scores, rows, ended)[:, None]], dim=1)
            ended = ended | stopping_criteria(input_ids, None)
            kept, kept_width = remaining(ended.tolist(), width)
            if not kept:
                return input_ids
            if steps.may_leave_out(len(kept), len(rows)):
                places, width = torch.tensor(kept, device=rows.device), kept_width
                rows, ended, input_ids = rows[places], ended[places], input_ids[places]
                steps.keep(places)
            steps.read(input_ids)

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
