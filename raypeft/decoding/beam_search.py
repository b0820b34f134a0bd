"""Beam search on a batch whose examples end at different times: examples that have ended are left out.

    search = BeamSearch()
    model.generate(input_ids=ids, num_beams=10, num_return_sequences=10, custom_generate=search)
    search.found[0]        # the generated tokens of the first example's best candidate, its end included

Each step is taken by the functions of Transformers' own search, so what an example finds is what `generate` finds for
it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch

from raypeft.decoding.steps import Steps
from raypeft.decoding.stopping import SearchListener, first_nan

IMPOSSIBLE = -1e9
"""The score of a beam that is none yet, as in Transformers."""


@dataclass(slots=True)
class BeamStates:
    """The beams of some examples; the first dimension of each tensor is that of the examples."""

    example: torch.Tensor
    """(examples) their places in the batch"""
    running: torch.Tensor
    """(examples, beams, longest) tokens of the beams that go on, and how they came to be: `running_parents`"""
    running_scores: torch.Tensor
    running_parents: torch.Tensor
    finished: torch.Tensor
    """The same of the best beams that have ended, so far; where there are fewer, what `is_finished` denies"""
    finished_scores: torch.Tensor
    finished_parents: torch.Tensor
    is_finished: torch.Tensor
    may_improve: torch.Tensor
    """(examples, 1) whether a running beam may still become better than the finished ones"""

    @classmethod
    def begin(cls, input_ids: torch.Tensor, beams: int, longest: int) -> Self:
        """`input_ids` is (examples x beams, prompt length)."""
        rows, start = input_ids.shape
        shape = (rows // beams, beams)
        tokens = input_ids.new_zeros(*shape, longest)
        tokens[:, :, :start] = input_ids.view(*shape, start)
        parents = input_ids.new_full((*shape, longest - start), -1, dtype=torch.int32)
        scores = torch.full(shape, IMPOSSIBLE, device=input_ids.device)
        running_scores = scores.clone()
        running_scores[:, 0] = 0.0  # at first all beams are the same
        none = torch.zeros(shape, dtype=torch.bool, device=input_ids.device)
        places = torch.arange(shape[0], device=input_ids.device)
        return cls(places, tokens, running_scores, parents, tokens.clone(), scores, parents.clone(), none, ~none[:, :1])

    def of(self, kept: torch.Tensor) -> Self:
        """Some of the examples."""
        return replace(self, **{each.name: getattr(self, each.name)[kept] for each in fields(self)})


class BeamSearch(SearchListener):
    """A search for `custom_generate` of Transformers' `generate`, which also sums the candidates' log-probabilities."""

    def __init__(self) -> None:
        self.steps: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        """For each step its examples, (examples), the continuations that were chosen, (examples, continuations,
        generated tokens), and the sums of their log-probabilities, (examples, continuations). They stay on the device
        until they are asked for."""
        self.start = 0
        """The length of the prompts."""
        self.found: list[list[int]] = []
        """The generated tokens of the candidates, those of an example one after the other, best first."""

    def __call__(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        **model_kwargs: Any,
    ) -> torch.Tensor:
        """Search from `input_ids`, (examples x beams, prompt length), and fill `found`; returns the last beams."""
        config, length = generation_config, input_ids.shape[1]
        self.start = length
        beams, ended = BeamStates.begin(input_ids, config.num_beams, config.max_length), []
        steps = Steps(model, input_ids, config, model_kwargs)
        while True:
            log_probs = logits_processor(input_ids, steps.logits().log_softmax(dim=-1))
            beams = self._next(model, beams, log_probs, stopping_criteria, config, length)
            parents = beams.running_parents[:, :, length - self.start]
            length += 1
            kept = beams.may_improve.flatten().nonzero().flatten()
            if not len(kept):
                break
            if steps.may_leave_out(len(kept), len(parents)):
                ended.append(beams.of((~beams.may_improve).flatten().nonzero().flatten()))
                steps.keep(parents[kept].flatten())
                beams = beams.of(kept)
            else:
                steps.reorder(parents.flatten())
            input_ids = beams.running[:, :, :length].flatten(0, 1)
            steps.read(input_ids)
        self.found = _found([*ended, beams], self.start, config.num_return_sequences)
        return input_ids

    def _next(
        self, model: Any, beams: BeamStates, log_probs: torch.Tensor, criteria: Any, config: Any, length: int
    ) -> BeamStates:
        """The beams after one more token; `log_probs` is (examples x beams, vocabulary) of it, `length` that of the
        sequences before it.

        The running beams' last parents are places among the rows of `log_probs`.
        """
        start, (examples, width) = self.start, beams.running_scores.shape
        place = {"cur_len": length, "decoder_prompt_len": start}
        rules = {"early_stopping": config.early_stopping, "length_penalty": config.length_penalty}
        ends = 0 if config._eos_token_tensor is None else len(config._eos_token_tensor)
        sums, chosen, parents = model._get_top_k_continuations(
            (log_probs.view(examples, width, -1) + beams.running_scores[:, :, None]).flatten(1),
            beams.running, beams.running_parents, do_sample=False, beams_to_keep=max(2, 1 + ends) * width,
            num_beams=width, batch_size=examples, vocab_size=log_probs.shape[-1], **place,
        )  # fmt: skip
        generated = chosen[:, :, : length + 1]
        self.steps.append((beams.example, generated[:, :, start:].clone(), sums.clone()))
        hits = criteria(generated.flatten(0, 1), None).view(examples, -1)
        running, scores, running_parents = model._get_running_beams_for_next_iteration(
            sums, chosen, parents, hits, num_beams=width
        )
        among_best = torch.arange(hits.shape[1], device=hits.device) < width
        finished, finished_scores, finished_parents, is_finished = model._update_finished_beams(
            beams.finished, chosen, beams.finished_scores, sums, beams.finished_parents, parents, beams.may_improve,
            beams.is_finished, hits, among_best, num_beams=width, **place, **rules,
        )  # fmt: skip
        may_improve = model._check_early_stop_heuristic(
            beams.may_improve, scores, finished_scores, is_finished, length + 1, config.max_length, start, **rules
        )
        # Alone, an example is over as well once all its continuations have ended.
        may_improve = may_improve & ~hits.all(dim=1, keepdim=True)
        return BeamStates(beams.example, running, scores, running_parents,
                          finished, finished_scores, finished_parents, is_finished, may_improve)  # fmt: skip

    @property
    def sums(self) -> dict[tuple[int, tuple[int, ...]], float]:
        """(example, generated tokens) -> sum of log-probabilities, of every continuation that was ever chosen."""
        return {
            (example, tuple(beam)): value
            for step in self.steps
            for example, beams, values in zip(*(each.tolist() for each in step), strict=True)
            for beam, value in zip(beams, values, strict=True)
            if not value < IMPOSSIBLE / 2
        }

    def nan_step(self) -> int | None:
        """The first step, from 1, at which a score of some beam was NaN. Fetched for all steps at once."""
        return first_nan([sums for _, _, sums in self.steps])

    def sum_of(self, example: int, tokens: Sequence[int]) -> float | None:
        """The sum of log-probabilities, in nats, of a candidate's tokens, its end included."""
        if not 0 < len(tokens) <= len(self.steps):
            return None
        step = len(tokens) - 1
        examples, chosen, sums = self.steps[step] = tuple(each.cpu() for each in self.steps[step])  # type: ignore[assignment]
        same = (examples == example)[:, None] & (chosen == torch.tensor(tokens)).all(dim=-1)
        return float(sums[same].max()) if same.any() else None  # at first the other beams have the same continuations


def _found(parts: Sequence[BeamStates], start: int, count: int) -> list[list[int]]:
    """The generated tokens of the best `count` candidates of each example, in the order of the examples."""
    found: dict[int, list[list[int]]] = {}
    for each in parts:
        lengths = (each.finished_parents >= 0).sum(dim=-1).tolist()
        rows = zip(each.example.tolist(), each.finished[:, :, start:].tolist(), lengths, strict=True)
        for example, candidates, own in rows:
            found[example] = [tokens[:length] for tokens, length in zip(candidates, own, strict=True)][:count]
    return [tokens for example in sorted(found) for tokens in found[example]]
