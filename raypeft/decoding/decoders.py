"""How a batch of prompts is read before the search, for each path of decoding.

decoder = decoder_for(model, tokenizer, search, prompts)
decoder.decode(prompts[:16])
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache, DynamicCache

from raypeft.decoding import beam_attention, fixed_cache
from raypeft.decoding.search import Decoder, Path, Search
from raypeft.models import virtual_tokens
from raypeft.records import Candidate, Prompt


def paths(model: Any, graphs: bool = False) -> list[Path]:
    """The paths of decoding that may be tried for a model, the fastest first; `graphs` on a GPU only."""
    if model.config.is_encoder_decoder:
        return ["plain", "alone"]  # its encoder reads a prompt once in any case
    if not beam_attention.supports(_without_adapter(model)):
        return ["cached", "plain", "alone"]
    graphed: list[Path] = ["graphed"] if graphs and model.device.type == "cuda" else []
    return [*graphed, "shared", "cached", "plain", "alone"]


def decoder_for(model: Any, tokenizer: Any, search: Search, prompts: Sequence[Prompt]) -> Decoder:
    """The decoder of the search's path; `prompts` are all that will be decoded, for what they have in common."""
    path = search.path or paths(model, search.graphs)[0]
    if model.config.is_encoder_decoder:
        return PairDecoder(model, tokenizer, search, prompts)
    return DECODERS[path](model, tokenizer, search, prompts)


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


class CachedDecoder(Decoder):
    """Of a decoder-only model; holds the keys and values of what all prompts begin with."""

    def __init__(self, model: Any, tokenizer: Any, search: Search, prompts: Sequence[Prompt]) -> None:
        super().__init__(model, tokenizer, search, prompts)
        # LoRA and IA3 sit in the model's own layers, and virtual tokens are in the cache: PEFT has no more to do.
        self.inner = self.searched = _without_adapter(model)
        self.prefix = common_prefix([prompt.prompt_ids for prompt in prompts])
        self.virtual = virtual_tokens.count(model)
        self.cache = self._read_prefix() if self.prefix or self.virtual else None

    def new_cache(self) -> Cache:
        return DynamicCache(config=self.inner.config)

    @property
    def known(self) -> int:
        """How many tokens at the beginning of every prompt are in the cache already."""
        return self.virtual + len(self.prefix)

    def sequences(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """The prompts with any token for each virtual one: these are in the cache already, attended to and counted."""
        return [[*[self.tokenizer.pad_token_id] * self.virtual, *prompt.prompt_ids] for prompt in prompts]

    @torch.inference_mode()
    def _read_prefix(self) -> Cache:
        """Virtual tokens and the common beginning, for a batch of one."""
        cache = self.new_cache()
        if self.virtual:
            virtual_tokens.read(self.model, cache)
        if self.prefix:
            tokens = torch.tensor([self.prefix], device=self.model.device)
            self.inner(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache

    @torch.inference_mode()
    def decode(self, prompts: Sequence[Prompt]) -> list[list[Candidate]]:
        input_ids, mask = self._padded(self.sequences(prompts), self.known)
        cache = self._read_prompts(input_ids[:, :-1], mask[:, :-1])
        cache.batch_repeat_interleave(self.search.rows)
        return self.find(
            prompts,
            {"input_ids": input_ids, "attention_mask": mask},
            {"past_key_values": cache},
            input_ids.shape[1],
        )

    def _read_prompts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Cache:
        """Keys and values of a batch, (batch, length) ids, which is all of the prompts but their last tokens.

        `generate` reads the last token itself.
        """
        if self.cache is None:
            cache = self.new_cache()
        else:
            cache = copy.deepcopy(self.cache)
            cache.batch_repeat_interleave(len(input_ids))
        position_ids = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)
        self.inner(
            input_ids=input_ids[:, self.known :],
            attention_mask=attention_mask,
            position_ids=position_ids[:, self.known :],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return cache

    def _padded(self, sequences: Sequence[list[int]], at: int | None = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, longest) ids and mask, with the padding before the token `at`, or after the last one (None)."""
        longest, pad = max(map(len, sequences)), self.tokenizer.pad_token_id
        input_ids, attention_mask = [], []
        for sequence in sequences:
            padding, place = longest - len(sequence), len(sequence) if at is None else at
            input_ids.append([*sequence[:place], *[pad] * padding, *sequence[place:]])
            attention_mask.append([*[1] * place, *[0] * padding, *[1] * (len(sequence) - place)])
        device = self.model.device
        return torch.tensor(input_ids, device=device), torch.tensor(attention_mask, device=device)


class SharedDecoder(CachedDecoder):
    """Keeps one copy of each prompt for all its beams.

    The cache is padded on the right, so that in each prompt the distance between two places is that between two tokens,
    as a sliding window counts it; what `generate` is given is padded on the left (`beam_attention.attend`).
    """

    def new_cache(self) -> Cache:
        return beam_attention.BeamCache()

    @torch.inference_mode()
    def decode(self, prompts: Sequence[Prompt]) -> list[list[Candidate]]:
        sequences = self.sequences(prompts)
        read, read_mask = self._padded([sequence[:-1] for sequence in sequences], None)
        cache = self._read_prompts(read, read_mask)
        input_ids, mask = self._padded(sequences)
        with beam_attention.beam_attention(self.inner), self._step(cache, read_mask):
            return self.find(
                prompts,
                {"input_ids": input_ids, "attention_mask": mask},
                {"past_key_values": cache},
                input_ids.shape[1],
            )

    def _step(self, cache: Cache, read_mask: torch.Tensor) -> AbstractContextManager[None]:
        """Turn the cache of prompts into one of beams; what must hold while they are decoded."""
        assert isinstance(cache, beam_attention.BeamCache)
        cache.fork(read_mask)
        return nullcontext()


class GraphedDecoder(SharedDecoder):
    """Writes what beams generate into tensors of a fixed length; on a GPU a step is then a CUDA graph."""

    def _step(self, cache: Cache, read_mask: torch.Tensor) -> AbstractContextManager[None]:
        rows = len(read_mask) * self.search.rows
        return fixed_cache.fixed_step(self.inner, cache, read_mask, rows, self.search.max_new_tokens)


class PlainDecoder(Decoder):
    """Of a decoder-only model whose prompts `generate` reads itself; PEFT puts virtual tokens before them."""

    def __init__(self, model: Any, tokenizer: Any, search: Search, prompts: Sequence[Prompt]) -> None:
        super().__init__(model, tokenizer, search, prompts)
        self.searched = model if virtual_tokens.count(model) else _without_adapter(model)

    @torch.inference_mode()
    def decode(self, prompts: Sequence[Prompt]) -> list[list[Candidate]]:
        inputs = _padded_batch(prompts, self.tokenizer.pad_token_id, self.model.device, "left")
        return self.find(prompts, inputs, {}, inputs["input_ids"].shape[1])


class PairDecoder(Decoder):
    """Of an encoder-decoder. A batch is padded on the right: virtual tokens must stand right before the prompt."""

    def continued(self, prompt: Prompt) -> list[int]:
        return []  # the answer is a sequence of its own

    @torch.inference_mode()
    def decode(self, prompts: Sequence[Prompt]) -> list[list[Candidate]]:
        inputs = _padded_batch(prompts, self.tokenizer.pad_token_id, self.model.device, "right")
        # The first token of its answer is what starts the decoder.
        return self.find(prompts, inputs, {}, 1)


DECODERS: dict[Path, type[Decoder]] = {
    "graphed": GraphedDecoder,
    "shared": SharedDecoder,
    "cached": CachedDecoder,
    "plain": PlainDecoder,
    "alone": PlainDecoder,
}
"""Of a decoder-only model."""


def _padded_batch(prompts: Sequence[Prompt], pad: int, device: Any, side: str) -> dict[str, torch.Tensor]:
    sequences = [torch.tensor(prompt.prompt_ids, device=device) for prompt in prompts]
    masks = [torch.ones_like(each) for each in sequences]
    return {
        "input_ids": pad_sequence(sequences, batch_first=True, padding_value=pad, padding_side=side),
        "attention_mask": pad_sequence(masks, batch_first=True, padding_side=side),
    }


def _without_adapter(model: Any) -> Any:
    """The Transformers model inside a PEFT one (its layers still carry the adapter)."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
