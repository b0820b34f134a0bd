"""A search for candidates: its settings, and Transformers' `generate` run with them on a batch.

How a batch is read before that, the subclasses of `Decoder` say (`raypeft.decoding.decoders`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from transformers import Cache, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from raypeft.decoding.beam_search import BeamSearch
from raypeft.decoding.older_search import OlderSearch, Version, counted
from raypeft.decoding.opening import Opening
from raypeft.decoding.row_search import RowSearch
from raypeft.decoding.sampling import Picker, noise
from raypeft.decoding.stopping import BeamScores, Ends
from raypeft.records import Candidate, Prompt

Path = Literal["graphed", "shared", "cached", "plain", "alone"]
"""How a batch is decoded, the fastest first.

- graphed: as shared, with what is generated in tensors of a fixed length, so that a GPU repeats a step as a CUDA graph
  (`raypeft.decoding.fixed_cache`)
- shared: prompts are read once, and the beams of an example attend to one copy (`raypeft.decoding.beam_attention`)
- cached: prompts are read once, and the usual cache repeats them for each beam
- plain: `generate` reads the prompts of a batch itself
- alone: the same, one prompt after the other, without any padding. The other paths are held against this one
"""

Listener = BeamSearch | BeamScores | RowSearch | OlderSearch
"""What hears a search. `BeamScores` hears Transformers' own, on the path that the others are held against."""


@dataclass(frozen=True, slots=True)
class Search:
    """How candidates are looked for; the names are Transformers'."""

    max_new_tokens: int
    num_beams: int = 1
    num_return_sequences: int = 1
    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    """Sample from so many of the likeliest tokens; None: from all."""
    seed: int = 42
    stop: tuple[str, ...] = ()
    """A candidate ends before the first of these strings."""
    older: Version | None = None
    """Search with beams as this version of Transformers did, until all running beams of an example have a stop string
    (`raypeft.decoding.older_search`)."""
    end_ids: tuple[int, ...] | None = None
    """Tokens that end a candidate, such as the end of a chat turn. None: the tokenizer's end of sequence."""
    opening: Opening | None = None
    """What is left out where an answer begins. None: nothing."""
    decode_alone: bool = False
    """Decode a candidate without its prompt, as the paper's code did; what continues prefilled code is never decoded
    so."""
    batch_size: int = 16
    """Examples that are decoded at once."""
    path: Path | None = None
    """None: the first one that the kind of model may have."""
    graphs: bool = False
    """Whether the path may be `graphed`, where none is given."""

    @property
    def rows(self) -> int:
        """Sequences that are decoded at once for an example."""
        return self.num_return_sequences if self.do_sample else self.num_beams

    def ends(self, tokenizer: Any) -> Ends:
        """What ends a candidate, with this tokenizer."""
        return Ends(tokenizer, self.stop, self.end_ids, self.older is not None, self.opening)


class Decoder:
    """Runs Transformers' search on batches of prompts; how a prompt is read, its subclasses say."""

    def __init__(self, model: Any, tokenizer: Any, search: Search, prompts: Sequence[Prompt]) -> None:
        """`prompts` are all that will be decoded, for what they have in common."""
        self.model, self.tokenizer, self.search = model, tokenizer, search
        self.searched = model
        """The model whose `generate` is called."""
        self.listener: Listener | None = None
        """Of the batch that was decoded last."""
        self.nan_step: int | None = None
        """The first step of that batch, from 1, at which the model's scores were NaN. None: they were numbers."""
        self.ends = search.ends(tokenizer)

    def decode(self, prompts: Sequence[Prompt]) -> list[list[Candidate]]:
        """The candidates of each prompt of a batch."""
        raise NotImplementedError

    def continued(self, prompt: Prompt) -> list[int]:
        """The tokens that an answer to a prompt is decoded after."""
        return prompt.prompt_ids if prompt.prefilled or not self.search.decode_alone else []

    def find(
        self, prompts: Sequence[Prompt], inputs: dict[str, torch.Tensor], cache: dict[str, Cache], start: int
    ) -> list[list[Candidate]]:
        """Search a batch; `start` is where the answers begin in the sequences that Transformers returns."""
        search = self.search
        settings: dict[str, Any] = {"max_new_tokens": search.max_new_tokens, "do_sample": False}
        if search.end_ids is not None:
            settings["eos_token_id"] = [*search.end_ids]
        listener: Listener
        criteria: list[StoppingCriteria] = []
        if search.do_sample or search.num_beams == 1:
            if search.do_sample:
                inputs = {name: each.repeat_interleave(search.rows, dim=0) for name, each in inputs.items()}
            pick = Picker(_uniforms(prompts, search), search.temperature, search.top_p, search.top_k)
            listener = settings["custom_generate"] = RowSearch(pick, search.rows)
            criteria = self.ends.criteria(start)
        else:
            settings |= {"num_beams": search.num_beams, "num_return_sequences": search.num_return_sequences}
            settings |= {"early_stopping": False, "length_penalty": 1.0}
            if search.older:
                listener = settings["custom_generate"] = OlderSearch(
                    self.ends.shows_stop, counted(prompts, search.older, self.model.config.is_encoder_decoder)
                )
            elif search.path == "alone":
                listener = BeamScores(search.num_beams, start)
                criteria = [*self.ends.criteria(start), listener]
            else:
                listener = settings["custom_generate"] = BeamSearch()
                criteria = self.ends.criteria(start)
        generated = self.searched.generate(
            **inputs,
            **cache,
            **settings,
            logits_processor=LogitsProcessorList([listener] if isinstance(listener, BeamScores) else []),
            stopping_criteria=StoppingCriteriaList(criteria),
        )
        self.listener, self.nan_step = listener, listener.nan_step()
        if isinstance(listener, OlderSearch):
            answers = [tokens for beams in listener.found for tokens in beams]
        else:
            answers = generated[:, start:].tolist() if isinstance(listener, BeamScores) else listener.found
        return list(self._candidates(prompts, answers, listener))

    def _candidates(
        self, prompts: Sequence[Prompt], answers: list[list[int]], listener: Listener
    ) -> Iterator[list[Candidate]]:
        """`answers` are the generated tokens, those of an example one after the other."""
        count = self.search.num_return_sequences
        for example, prompt in enumerate(prompts):
            candidates = []
            for rank in range(count):
                row = example * count + rank
                tokens, text, reason = self.ends.cut(answers[row], self.continued(prompt))
                log_probability = listener.sum_of(row if isinstance(listener, RowSearch) else example, tokens)
                text = prompt.prefilled + text
                candidates.append(Candidate(prompt.example.id, rank, text, len(tokens), reason, log_probability))
            yield candidates


def _uniforms(prompts: Sequence[Prompt], search: Search) -> np.ndarray | None:
    """(rows, max_new_tokens) numbers that pick the tokens of samples; None where the likeliest is taken."""
    if not search.do_sample:
        return None
    return np.stack(
        [
            noise(search.seed, prompt.example.id, candidate, search.max_new_tokens)
            for prompt in prompts
            for candidate in range(search.num_return_sequences)
        ]
    )
