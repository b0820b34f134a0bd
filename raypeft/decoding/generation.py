"""Batched decoding: what prompts begin with in common is computed once, each candidate ends at its own end.

    beams = Search(max_new_tokens=64, num_beams=10, num_return_sequences=10)
    samples = Search(max_new_tokens=1024, do_sample=True, num_return_sequences=5, temperature=0.6, top_p=0.95)
    candidates = generate(model, tokenizer, prompts, beams)

The search itself is `generate` of Transformers. It repeats every prompt for every beam before it reads the prompt; here
the prompt's keys and values are computed once an example and, where the model allows it, kept once an example
(`raypeft.decoding.beam_attention`); those of the prompts' common beginning (virtual tokens, the template's header, the
shots of ICL) are computed once a call. An encoder-decoder reads a prompt once in any case and goes straight to
`generate`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache, DynamicCache, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from raypeft import events
from raypeft.decoding import beam_attention
from raypeft.decoding.older_search import OlderSearch, Version, counted
from raypeft.decoding.sampling import KeyedPicks, noise
from raypeft.decoding.stopping import BeamScores, Ends, Opening
from raypeft.events import Listener, Stage
from raypeft.machine import free_memory
from raypeft.models import virtual_tokens
from raypeft.records import Candidate, Prompt

Keep = Callable[[Sequence[int], list[list[Candidate]]], None]
"""Told of each finished batch: the prompts' places, and the candidates of each."""


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

    @property
    def rows(self) -> int:
        """Sequences that are decoded at once for an example."""
        return self.num_return_sequences if self.do_sample else self.num_beams


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    search: Search,
    keep: Keep | None = None,
    listener: Listener = events.ignore,
) -> list[list[Candidate]]:
    """For each prompt, in order, its `num_return_sequences` candidates: of beam search best first, or samples.

    A candidate ends at an end-of-sequence token, before the first stop string, or after `max_new_tokens`. When the
    GPU's memory runs out the batch is halved and tried again; at one example torch.cuda.OutOfMemoryError is raised.
    """
    model.eval()
    kind = PairDecoder if model.config.is_encoder_decoder else SequenceDecoder
    decoder = kind(model, tokenizer, search, prompts)
    # Longest first: what does not fit in memory shows at once, and batches are of similar length.
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index].prompt_ids))
    results: list[list[Candidate]] = [[] for _ in prompts]
    done, batch_size = 0, search.batch_size
    listener(Stage("generate", done, len(order)))
    while done < len(order):
        batch = order[done : done + batch_size]
        try:
            found = decoder.decode([prompts[index] for index in batch])
        except torch.cuda.OutOfMemoryError:
            if batch_size == 1:
                raise
            batch_size //= 2
            free_memory()
            continue
        for index, candidates in zip(batch, found, strict=True):
            results[index] = candidates
        if keep:
            keep(batch, found)
        done += len(batch)
        listener(Stage("generate", done, len(order)))
    return results


def common_prefix(sequences: Sequence[Sequence[int]]) -> list[int]:
    """The longest beginning that all sequences share, leaving at least two tokens of each; empty for a single one."""
    if len(sequences) < 2:
        return []
    first, last = min(map(list, sequences)), max(map(list, sequences))
    room = min(len(sequence) for sequence in sequences) - 2
    length = 0
    while length < room and first[length] == last[length]:
        length += 1
    return first[:length]


class Decoder:
    """Runs Transformers' search on batches of prompts; how a prompt is read, its subclasses say."""

    def __init__(self, model: Any, tokenizer: Any, search: Search, prompts: Sequence[Prompt]) -> None:
        """`prompts` are all that will be decoded, for what they have in common."""
        self.model, self.tokenizer, self.search = model, tokenizer, search
        self.searched = model
        """The model whose `generate` is called."""
        self.ends = Ends(tokenizer, search.stop, search.end_ids, search.older is not None, search.opening)

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
        listener: BeamScores | KeyedPicks | OlderSearch
        criteria: list[StoppingCriteria] = []
        if search.do_sample or search.num_beams == 1:
            # Greedy search over scores of which only the picked token's is finite.
            if search.do_sample:
                inputs = {name: each.repeat_interleave(search.rows, dim=0) for name, each in inputs.items()}
            listener = KeyedPicks(_uniforms(prompts, search), search.temperature, search.top_p, search.top_k)
            criteria = self.ends.criteria(start)
        else:
            settings |= {"num_beams": search.num_beams, "num_return_sequences": search.num_return_sequences}
            settings |= {"early_stopping": False, "length_penalty": 1.0}
            if search.older:
                listener = settings["custom_generate"] = OlderSearch(
                    self.ends.shows_stop, counted(prompts, search.older, self.model.config.is_encoder_decoder)
                )
            else:
                listener = BeamScores(search.num_beams, start)
                criteria = [*self.ends.criteria(start), listener]
        generated = self.searched.generate(
            **inputs,
            **cache,
            **settings,
            logits_processor=LogitsProcessorList([] if isinstance(listener, OlderSearch) else [listener]),
            stopping_criteria=StoppingCriteriaList(criteria),
        )
        if isinstance(listener, OlderSearch):
            answers = [tokens for beams in listener.found for tokens in beams]
        else:
            answers = generated[:, start:].tolist()
        return list(self._candidates(prompts, answers, listener))

    def _candidates(
        self, prompts: Sequence[Prompt], answers: list[list[int]], listener: BeamScores | KeyedPicks | OlderSearch
    ) -> Iterator[list[Candidate]]:
        """`answers` are the generated tokens, those of an example one after the other."""
        count = self.search.num_return_sequences
        for example, prompt in enumerate(prompts):
            candidates = []
            for rank in range(count):
                row = example * count + rank
                tokens, text, reason = self.ends.cut(answers[row], self.continued(prompt))
                log_probability = listener.sum_of(row if isinstance(listener, KeyedPicks) else example, tokens)
                text = prompt.prefilled + text
                candidates.append(Candidate(prompt.example.id, rank, text, len(tokens), reason, log_probability))
            yield candidates


class SequenceDecoder(Decoder):
    """Of a decoder-only model; holds the keys and values of what all prompts begin with."""

    def __init__(self, model: Any, tokenizer: Any, search: Search, prompts: Sequence[Prompt]) -> None:
        super().__init__(model, tokenizer, search, prompts)
        # LoRA and IA3 sit in the model's own layers, and virtual tokens are in the cache: PEFT has no more to do.
        self.inner = self.searched = _without_adapter(model)
        self.prefix = common_prefix([prompt.prompt_ids for prompt in prompts])
        self.virtual = virtual_tokens.count(model)
        self.cache = self._read_prefix() if self.prefix or self.virtual else None

    @torch.inference_mode()
    def _read_prefix(self) -> Cache:
        """Virtual tokens and the common beginning, for a batch of one."""
        cache = _new_cache(self.inner)
        if self.virtual:
            virtual_tokens.read(self.model, cache)
        if self.prefix:
            tokens = torch.tensor([self.prefix], device=self.model.device)
            self.inner(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache

    @torch.inference_mode()
    def decode(self, prompts: Sequence[Prompt]) -> list[list[Candidate]]:
        pad = self.tokenizer.pad_token_id
        # In the cache already, so that any token may stand for them here; they are attended to and counted.
        sequences = [[*[pad] * self.virtual, *prompt.prompt_ids] for prompt in prompts]
        known = self.virtual + len(self.prefix)
        input_ids, attention_mask = _pad_after_prefix(sequences, known, pad, self.model.device)
        cache = self._read_prompts(input_ids, attention_mask)
        shared = beam_attention.supports(self.inner)
        if shared:
            beam_attention.fork(cache, attention_mask[:, :-1])
        else:
            cache.batch_repeat_interleave(self.search.rows)
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        with beam_attention.beam_attention(self.inner) if shared else nullcontext():
            return self.find(prompts, inputs, {"past_key_values": cache}, input_ids.shape[1])

    def _read_prompts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Cache:
        """Keys and values of all but the last prompt token, (batch) rows; `generate` reads the last one itself."""
        if self.cache is None:
            cache = _new_cache(self.inner)
        else:
            cache = copy.deepcopy(self.cache)
            cache.batch_repeat_interleave(len(input_ids))
        known = self.virtual + len(self.prefix)
        position_ids = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)
        self.inner(
            input_ids=input_ids[:, known:-1],
            attention_mask=attention_mask[:, :-1],
            position_ids=position_ids[:, known:-1],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return cache


class PairDecoder(Decoder):
    """Of an encoder-decoder. A batch is padded on the right: virtual tokens must stand right before the prompt."""

    def continued(self, prompt: Prompt) -> list[int]:
        return []  # the answer is a sequence of its own

    @torch.inference_mode()
    def decode(self, prompts: Sequence[Prompt]) -> list[list[Candidate]]:
        sequences = [torch.tensor(prompt.prompt_ids, device=self.model.device) for prompt in prompts]
        inputs = {
            "input_ids": pad_sequence(sequences, batch_first=True, padding_value=self.tokenizer.pad_token_id),
            "attention_mask": pad_sequence([torch.ones_like(each) for each in sequences], batch_first=True),
        }
        # The first token of its answer is what starts the decoder.
        return self.find(prompts, inputs, {}, 1)


def _new_cache(inner: Any) -> Cache:
    return beam_attention.new_cache() if beam_attention.supports(inner) else DynamicCache(config=inner.config)


def _without_adapter(model: Any) -> Any:
    """The Transformers model inside a PEFT one (its layers still carry the adapter)."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


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


def _pad_after_prefix(
    sequences: Sequence[list[int]], prefix_length: int, pad_token_id: int, device: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """(batch, longest) ids and mask as [prefix][padding][rest], so that the prefix's cache serves every row."""
    longest = max(map(len, sequences))
    input_ids, attention_mask = [], []
    for sequence in sequences:
        padding = longest - len(sequence)
        head, rest = sequence[:prefix_length], sequence[prefix_length:]
        input_ids.append([*head, *[pad_token_id] * padding, *rest])
        attention_mask.append([1] * len(head) + [0] * padding + [1] * len(rest))
    return torch.tensor(input_ids, device=device), torch.tensor(attention_mask, device=device)
