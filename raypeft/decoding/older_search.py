"""Beam search as Transformers 4 had it, by which the paper's code found its candidates.

    search = OlderSearch(has_stop, counted(prompts, "4.34", is_encoder_decoder=False))
    model.generate(input_ids=ids, num_beams=10, num_return_sequences=10, custom_generate=search)
    search.found[0]        # the generated tokens of the first example's candidates, best first

Follows `BeamSearchScorer` and `beam_search` of Transformers 4.34 (RQ2, replication package, commit e7971c0) and 4.44
(RQ1 and RQ3, commit 3b31320). 4.34 divides a finished beam's sum of log-probabilities by its whole length, prompt
included, which favours short answers; 4.44 and 5 divide by the generated length. In both, only running beams are asked
for their stop strings, and these beams finish together; in 5 each continuation is asked, and those that end here finish
alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from raypeft.decoding.steps import Steps
from raypeft.decoding.stopping import SearchListener
from raypeft.records import Prompt

Version = Literal["4.34", "4.44"]
"""Of Transformers."""


@dataclass(frozen=True, slots=True)
class Counted:
    """How one example's tokens are counted."""

    whole_length: int | None = None
    """Tokens before the answer that count towards a beam's length, as in 4.34, where the end of sequence does not
    count. None: as in 4.44, the generated tokens count, with the end of sequence."""
    stop_from: int = 0
    """Generated tokens that stop strings are not looked for in. The paper's code left out as many of a decoder's tokens
    as the encoder had read."""


def counted(prompts: Sequence[Prompt], version: Version, is_encoder_decoder: bool) -> list[Counted]:
    """How the tokens of each prompt's answer are counted. Virtual tokens and padding never are.

    An encoder-decoder's answer begins with one token, which starts the decoder and is not in the generated tokens.
    """
    if is_encoder_decoder:
        whole = 1 if version == "4.34" else None
        return [Counted(whole, stop_from=len(prompt.prompt_ids) - 1) for prompt in prompts]
    return [Counted(len(prompt.prompt_ids) if version == "4.34" else None) for prompt in prompts]


@dataclass(slots=True)
class Beams:
    """The finished beams of one example, the best `size` of them (`BeamHypotheses`)."""

    size: int
    counted: Counted
    finished: list[tuple[float, list[int]]] = field(default_factory=list)
    """Score and generated tokens, in the order in which they came."""
    is_over: bool = False

    @property
    def worst(self) -> float:
        return min(score for score, _ in self.finished)

    def add(self, tokens: list[int], total: float, ended: bool) -> None:
        """A beam with the sum of its log-probabilities; `ended` where its last token is the end of sequence."""
        whole = self.counted.whole_length
        length = len(tokens) if whole is None else whole + len(tokens) - ended
        score = total / length
        if len(self.finished) < self.size or score > self.worst:
            self.finished.append((score, tokens))
            if len(self.finished) > self.size:
                del self.finished[self.finished.index(min(self.finished, key=lambda beam: beam[0]))]

    def is_done(self, best_total: float, generated: int) -> bool:
        """Whether no running beam can become better than the worst finished one, by the older rule of thumb."""
        return len(self.finished) == self.size and self.worst >= best_total / (
            generated + (self.counted.whole_length or 0)
        )

    def best(self, count: int) -> list[list[int]]:
        """The generated tokens of the best beams, best first; of equal ones the later first."""
        return [tokens for _, tokens in sorted(self.finished, key=lambda beam: beam[0])[::-1][:count]]


class OlderSearch(SearchListener):
    """Beam search for `custom_generate` of Transformers' `generate`, on a batch of examples that do not interact."""

    def __init__(self, has_stop: Callable[[list[int]], bool], counted: Sequence[Counted]) -> None:
        """`has_stop` tells whether generated tokens have a stop string; an example is over once all its running beams
        have one.
        """
        self.has_stop, self.counted = has_stop, counted
        self.found: list[list[list[int]]] = []
        """Of each example the generated tokens of its candidates, best first."""
        self.sums: dict[tuple[int, tuple[int, ...]], float] = {}
        """(example, generated tokens) -> sum of log-probabilities, of every beam that ran or ended."""

    def sum_of(self, example: int, tokens: Sequence[int]) -> float | None:
        """The sum of log-probabilities, in nats, of a candidate's tokens, its end included."""
        return self.sums.get((example, tuple(tokens)))

    def nan_step(self) -> int | None:
        """The first step, from 1, at which a score of some beam was NaN."""
        return min((len(tokens) for (_, tokens), total in self.sums.items() if math.isnan(total)), default=None)

    def __call__(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        **model_kwargs: Any,
    ) -> torch.Tensor:
        """Search from `input_ids`, (examples x beams, prompt length), and fill `found`; returns the running beams.

        Processors and criteria are not asked: the paper's code had no other than stop strings.
        """
        config, start = generation_config, input_ids.shape[1]
        every, device = [Beams(config.num_beams, counted) for counted in self.counted], input_ids.device
        beams = dict(enumerate(every))
        totals = torch.zeros(len(beams), config.num_beams, device=device)
        totals[:, 1:] = -1e9  # at first all beams are the same
        steps = Steps(model, input_ids, config, model_kwargs)
        while True:
            log_probs = steps.logits().log_softmax(dim=-1).view(len(beams), config.num_beams, -1)
            running = input_ids[:, start:].view(len(beams), config.num_beams, -1).tolist()
            chosen = self._choose(beams, running, log_probs + totals[:, :, None], config)
            parents, tokens, totals = (torch.tensor(each, device=device) for each in zip(*chosen, strict=True))
            rows = parents + torch.arange(len(beams), device=device)[:, None] * config.num_beams
            input_ids = torch.cat([input_ids[rows.flatten()], tokens.flatten()[:, None]], dim=1)
            self._close(list(beams.values()), input_ids[:, start:], totals, config)
            kept = [place for place, each in enumerate(beams.values()) if not each.is_over]
            if not kept:
                break
            if steps.may_leave_out(len(kept), len(beams)):
                steps.keep(rows[kept].flatten())
                input_ids, totals = input_ids.unflatten(0, rows.shape)[kept].flatten(0, 1), totals[kept]
                beams = {example: each for example, each in beams.items() if not each.is_over}
            else:
                steps.reorder(rows.flatten())
            steps.read(input_ids)
        self.found = [each.best(config.num_return_sequences) for each in every]
        return input_ids

    def _choose(
        self, beams: dict[int, Beams], running: list[list[list[int]]], totals: torch.Tensor, config: Any
    ) -> list[tuple[list[int], list[int], list[float]]]:
        """Of each example the running beams' parents, next tokens and totals; beams that end are put aside.

        `beams` has the examples' places in the batch, `totals` is (examples, beams, vocabulary). A continuation that
        ends counts only among the best `num_beams`.
        """
        ends, vocabulary = set(config._eos_token_tensor.tolist()), totals.shape[-1]
        values, places = totals.flatten(1).topk(max(2, 1 + len(ends)) * config.num_beams, dim=1)
        chosen = []
        for row, ((example, each), rows) in enumerate(zip(beams.items(), running, strict=True)):
            if each.is_over:  # its rows go on with anything: nobody looks at them
                width = config.num_beams
                chosen.append(([*range(width)], [min(ends)] * width, [0.0] * width))
                continue
            kept: list[tuple[int, int, float]] = []
            pairs = zip(places[row].tolist(), values[row].tolist(), strict=True)
            for rank, (place, value) in enumerate(pairs):
                parent, token = divmod(place, vocabulary)
                self.sums[example, (*rows[parent], token)] = value
                if token not in ends:
                    kept.append((parent, token, value))
                elif rank < config.num_beams:
                    each.add([*rows[parent], token], value, ended=True)
                if len(kept) == config.num_beams:
                    break
            each.is_over = each.is_done(values[row, 0].item(), len(rows[0]) + 1)
            parents, tokens, sums = zip(*kept, strict=True)
            chosen.append(([*parents], [*tokens], [*sums]))
        return chosen

    def _close(self, beams: list[Beams], generated: torch.Tensor, totals: torch.Tensor, config: Any) -> None:
        """End the examples whose running beams all have a stop string, or have no room left; these beams count too."""
        rows = generated.view(len(beams), config.num_beams, -1).tolist()
        full = generated.shape[1] >= config.max_new_tokens
        for each, running, sums in zip(beams, rows, totals.tolist(), strict=True):
            if each.is_over:
                continue
            skipped = each.counted.stop_from
            if full or all(self.has_stop(tokens[skipped:]) for tokens in running):
                for tokens, total in zip(running, sums, strict=True):
                    each.add(tokens, total, ended=False)
                each.is_over = True
