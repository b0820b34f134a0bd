"""Batched beam search over prompts: what each begins with in common is computed once, each ends at its own end.

    candidates = generate(model, tokenizer, prompts, num_beams=10, num_return_sequences=10, max_new_tokens=64)

The search itself is `generate` of Transformers. It repeats every prompt for every beam before it reads the prompt; here
the prompt's keys and values are computed once an example and, where the model allows it, kept once an example
(`raypeft.beam_attention`); those of the prompts' common beginning (virtual tokens, the template's header, the shots of
ICL) are computed once a call. An encoder-decoder reads a prompt once in any case and goes straight to `generate`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache, DynamicCache, StoppingCriteria, StoppingCriteriaList

from raypeft import beam_attention, virtual_tokens
from raypeft.memory import free_memory
from raypeft.records import Candidate, Prompt, Report, report_nothing


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    *,
    num_beams: int,
    num_return_sequences: int,
    max_new_tokens: int,
    stop: Sequence[str] = (),
    batch_size: int = 16,
    report: Report = report_nothing,
) -> list[list[Candidate]]:
    """For each prompt, in order, its `num_return_sequences` candidates, best first.

    A candidate ends at the end-of-sequence token, at the first token that contains a `stop` string (single characters),
    or after `max_new_tokens`. When the GPU's memory runs out the batch is halved and tried again; at one example
    torch.cuda.OutOfMemoryError is raised.
    """
    model.eval()
    search = {
        "num_beams": num_beams,
        "num_return_sequences": num_return_sequences,
        "max_new_tokens": max_new_tokens,
        "do_sample": False,
        "early_stopping": False,
        "length_penalty": 1.0,
    }
    ends = _EndTokens(tokenizer, stop)
    decode_batch = _decode_pairs if model.config.is_encoder_decoder else _Decoder(model, prompts)
    # Longest first: what does not fit in memory shows at once, and batches are of similar length.
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index].prompt_ids))
    results: list[list[Candidate]] = [[] for _ in prompts]
    done = 0
    report("generate", done, len(order))
    while done < len(order):
        batch = order[done : done + batch_size]
        try:
            texts = decode_batch(model, tokenizer, [prompts[i] for i in batch], search, ends)
        except torch.cuda.OutOfMemoryError:
            if batch_size == 1:
                raise
            batch_size //= 2
            free_memory()
            continue
        for index, candidates in zip(batch, texts, strict=True):
            results[index] = candidates
        done += len(batch)
        report("generate", done, len(prompts))
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


class _EndTokens:
    """Which tokens end a candidate, as a lookup over the vocabulary."""

    def __init__(self, tokenizer: Any, stop: Sequence[str]) -> None:
        if any(len(character) != 1 for character in stop):
            raise ValueError(f"stop strings must be single characters but got {list(stop)!r}")
        self.eos_token_id: int = tokenizer.eos_token_id
        self.stop = tuple(stop)
        self.is_stop = torch.zeros(len(tokenizer), dtype=torch.bool)
        if stop:
            pieces = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
            self.is_stop = torch.tensor([any(character in piece for character in stop) for piece in pieces])

    def criteria(self) -> StoppingCriteriaList:
        lookup = self.is_stop

        class EndsWithStop(StoppingCriteria):
            def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
                last = input_ids[:, -1]
                # A model's vocabulary may be padded beyond the tokenizer's; such a token stops nothing.
                known = last.clamp(max=len(lookup) - 1)
                return lookup.to(last.device)[known] & (last == known)

        return StoppingCriteriaList([EndsWithStop()] if self.stop else [])

    def cut(self, tokens: list[int]) -> tuple[list[int], str]:
        """The tokens up to and with the first that ends the candidate, and why it ends."""
        for position, token in enumerate(tokens):
            if token == self.eos_token_id:
                return tokens[: position + 1], "eos"
            if self.stop and token < len(self.is_stop) and self.is_stop[token]:
                return tokens[: position + 1], "stop"
        return tokens, "length"


class _Decoder:
    """Decodes batches of a decoder-only model; holds the keys and values of what all prompts begin with."""

    def __init__(self, model: Any, prompts: Sequence[Prompt]) -> None:
        self.prefix = common_prefix([prompt.prompt_ids for prompt in prompts])
        self.virtual = virtual_tokens.count(model)
        self.cache = self._read_prefix(model) if self.prefix or self.virtual else None

    @torch.inference_mode()
    def _read_prefix(self, model: Any) -> Cache:
        """Virtual tokens and the common beginning, for a batch of one."""
        inner = _without_adapter(model)
        cache = _new_cache(inner)
        if self.virtual:
            virtual_tokens.read(model, cache)
        if self.prefix:
            tokens = torch.tensor([self.prefix], device=model.device)
            inner(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache

    @torch.inference_mode()
    def __call__(
        self, model: Any, tokenizer: Any, prompts: Sequence[Prompt], search: dict[str, Any], ends: _EndTokens
    ) -> list[list[Candidate]]:
        # LoRA and IA3 sit in the model's own layers, and virtual tokens are in the cache: PEFT has no more to do.
        inner = _without_adapter(model)
        pad = tokenizer.pad_token_id
        # In the cache already, so that any token may stand for them here; they are attended to and counted.
        sequences = [[*[pad] * self.virtual, *prompt.prompt_ids] for prompt in prompts]
        input_ids, attention_mask = _pad_after_prefix(sequences, self.virtual + len(self.prefix), pad, model.device)
        cache = self._read_prompts(inner, input_ids, attention_mask)
        shared = beam_attention.supports(inner)
        if shared:
            beam_attention.fork(cache, attention_mask[:, :-1])
        else:
            cache.batch_repeat_interleave(search["num_beams"])
        with beam_attention.beam_attention(inner) if shared else nullcontext():
            generated = inner.generate(
                input_ids=input_ids,
                attention_mask=attention_mask,
                past_key_values=cache,
                stopping_criteria=ends.criteria(),
                **search,
            )
        answers = generated[:, input_ids.shape[1] :]
        return list(_candidates(answers, prompts, tokenizer, search["num_return_sequences"], ends))

    def _read_prompts(self, inner: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Cache:
        """Keys and values of all but the last prompt token, (batch) rows; `generate` reads the last one itself."""
        if self.cache is None:
            cache = _new_cache(inner)
        else:
            cache = copy.deepcopy(self.cache)
            cache.batch_repeat_interleave(len(input_ids))
        known = self.virtual + len(self.prefix)
        position_ids = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)
        inner(
            input_ids=input_ids[:, known:-1],
            attention_mask=attention_mask[:, :-1],
            position_ids=position_ids[:, known:-1],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return cache


def _new_cache(inner: Any) -> Cache:
    return beam_attention.new_cache() if beam_attention.supports(inner) else DynamicCache(config=inner.config)


def _without_adapter(model: Any) -> Any:
    """The Transformers model inside a PEFT one (its layers still carry the adapter)."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@torch.inference_mode()
def _decode_pairs(
    model: Any, tokenizer: Any, prompts: Sequence[Prompt], search: dict[str, Any], ends: _EndTokens
) -> list[list[Candidate]]:
    """A batch of an encoder-decoder, padded on the right: virtual tokens must stand right before the prompt."""
    sequences = [torch.tensor(prompt.prompt_ids, device=model.device) for prompt in prompts]
    generated = model.generate(
        input_ids=pad_sequence(sequences, batch_first=True, padding_value=tokenizer.pad_token_id),
        attention_mask=pad_sequence([torch.ones_like(each) for each in sequences], batch_first=True),
        stopping_criteria=ends.criteria(),
        **search,
    )
    # The first token is what starts the decoder.
    return list(_candidates(generated[:, 1:], prompts, tokenizer, search["num_return_sequences"], ends))


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


def _candidates(
    answers: torch.Tensor, prompts: Sequence[Prompt], tokenizer: Any, count: int, ends: _EndTokens
) -> Iterator[list[Candidate]]:
    """`answers` is (examples x count, longest answer), the generated tokens only."""
    generated = answers.tolist()
    for index, prompt in enumerate(prompts):
        candidates = []
        for rank in range(count):
            tokens, reason = ends.cut(generated[index * count + rank])
            text = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            for character in ends.stop:
                text = text.split(character, 1)[0]
            candidates.append(Candidate(prompt.example.id, rank, text, len(tokens), reason))
        yield candidates
