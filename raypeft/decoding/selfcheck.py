"""Which path of decoding gives a loaded model the candidates of Transformers' own `generate`. Takes seconds.

    chosen = choose_path(model, tokenizer, search)
    generate(model, tokenizer, prompts, replace(search, path=chosen.path))

A few prompts of different lengths are decoded along each path, the fastest first: with and without a common beginning,
in a batch and alone, after the model's virtual tokens if it has any. The first path that gives the scores of `generate`
for each prompt alone is chosen. Classes of models break a path silently (padding inside a sliding window or a linear
bias) or with an error (a state that beams cannot share), and no list of classes would be complete.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from raypeft.decoding.decoders import decoder_for, paths
from raypeft.decoding.search import Decoder, Path, Search
from raypeft.gpu import is_out_of_memory
from raypeft.models.limits import rope_switch
from raypeft.records import Example, Prompt

TOKENS = 3
"""Generated tokens: the first is scored with the prompt, the second with one more key, the third after a change of
places among the beams."""
BEAMS = 2
TOLERANCE = 2e-3
"""Nats by which the score of a beam may differ in float32. Measured for SmolLM2-135M: 4e-5; with errors put in on
purpose (padding that is seen, positions that count it, beams whose keys stay behind): 0.5 and more."""
HALF_TOLERANCE = 1.0
"""The same where weights or activations have fewer digits. Measured there in bfloat16: 0.3, in int8: 0.5; with errors:
1.4 and more."""
LONGEST = 512
"""The widest window, in tokens, that the check's prompts are made longer than."""

BEGINNING = "Write a function that "
TEXTS = (f"{BEGINNING}adds.", f"{BEGINNING}sorts a list of words by their length.")
"""Two prompts with a common beginning, the second about twice as long."""
OTHER = "Read a file."
"""One with another beginning."""

Sums = Mapping[tuple[int, ...], float]
"""Generated tokens -> sum of their log-probabilities, of every beam that a search has chosen for one prompt."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The path that a model is decoded along."""

    path: Path
    note: str | None = None
    """Why it is no faster one. None: it is the fastest that the kind of model may have."""


def choose_path(model: Any, tokenizer: Any, search: Search, longest: int = 0) -> Chosen:
    """The fastest path that gives the candidates of `generate`, for a search of this kind over sequences of at most
    `longest` tokens, prompt and answer.

    Leaves the state of random numbers as it was. Raises ValueError, with the library's message at its end, where
    `generate` itself cannot decode the model.
    """
    model.eval()
    checked = _small(search)
    with torch.random.fork_rng(), torch.inference_mode():
        prompts = _prompts(tokenizer, model, 0)
        expected = _expected(model, tokenizer, checked, prompts)
        left: list[str] = []
        for path in paths(model, search.graphs)[:-1]:
            along = replace(checked, path=path)
            problem = (
                _position_problem(model, longest)
                or _window_problem(model, tokenizer, along)
                or _problem(model, tokenizer, along, prompts, expected)
            )
            if problem is None:
                return Chosen(path, "; ".join(left) or None)
            left.append(f"{path}: {problem}")
        return Chosen("alone", "; ".join(left))


def _small(search: Search) -> Search:
    """A short search of the same kind. Samples become the likeliest tokens, so that chance has no part in it."""
    small = replace(search, max_new_tokens=TOKENS, stop=(), opening=None)
    if search.do_sample:
        return replace(small, num_return_sequences=2, temperature=1.0, top_p=1.0, top_k=1)
    return replace(small, num_beams=min(search.num_beams, BEAMS), num_return_sequences=1)


def _prompts(tokenizer: Any, model: Any, shortest: int) -> list[Prompt]:
    """The prompts of the check, each of at least `shortest` tokens: those of `TEXTS`, and `OTHER`."""
    rows = model.get_input_embeddings().weight.shape[0]
    end = [tokenizer.eos_token_id] if model.config.is_encoder_decoder else []
    prompts = []
    for place, text in enumerate((*TEXTS, OTHER)):
        ids = [each for each in tokenizer(text, add_special_tokens=False)["input_ids"] if each < rows]
        if len(ids) < len(TEXTS):  # the tokenizer knows no words
            ids = [*range(len(TEXTS) + place)]
        repeats = 1 + max(0, shortest - 1) // len(ids)
        prompts.append(Prompt(Example(f"check {place}", text, ""), [*ids * repeats, *end], []))
    return prompts


def _expected(model: Any, tokenizer: Any, search: Search, prompts: Sequence[Prompt]) -> list[Sums]:
    """What `generate` finds for each of the first prompts alone."""
    alone = replace(search, path="alone", num_return_sequences=1)  # each sample takes the likeliest tokens
    try:
        found = [_sums(model, tokenizer, alone, [prompt])[0] for prompt in prompts[: len(TEXTS)]]
    except Exception as error:
        if is_out_of_memory(error):
            raise
        kind = "beam search" if search.num_beams > 1 and not search.do_sample else "sampling or greedy search"
        raise ValueError(f"Transformers must be able to decode the model by {kind} with this method, but one of the "
                         f"type {model.config.model_type} fails: {_message(error)}") from error  # fmt: skip
    if not all(math.isfinite(value) for sums in found for value in sums.values()):
        raise ValueError(f"the scores of the model must be finite but are not (weights held as {model.dtype})")
    return found


def _problem(
    model: Any, tokenizer: Any, search: Search, prompts: Sequence[Prompt], expected: Sequence[Sums]
) -> str | None:
    """What is wrong with the search's path. None: nothing."""
    compared, ends = [0.0], set(search.end_ids or [tokenizer.eos_token_id])
    beams = 1 if search.do_sample else search.num_beams
    both, other = prompts[: len(TEXTS)], prompts[len(TEXTS) :]
    try:
        # With a common beginning, without one, and without any padding. The first of these goes all the way. For the
        # others one token tells: it is scored by the last token of the prompt, over the keys of what was read before.
        for tokens, batch, beside in ((TOKENS, both, []), (1, both, other), (1, both[:1], [])):
            along = replace(search, max_new_tokens=tokens)
            for found, wanted in zip(_sums(model, tokenizer, along, batch, beside), expected, strict=False):
                compared += differences(found, wanted, beams, ends)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return f"it fails ({_message(error)})"
    worst, limit = max(compared), _tolerance(model)
    if all(each <= limit for each in compared):  # not of NaN
        return None
    return f"its scores differ by {worst:.2g} nats from those of generate"


def _position_problem(model: Any, longest: int) -> str | None:
    """Why sequences so long must be decoded one at a time. None: they need not."""
    switch = rope_switch(model.config)
    if switch is None or longest <= switch:
        return None
    return f"beyond {switch} tokens the longest sequence of a batch decides how the positions of all are encoded"


def _window_problem(model: Any, tokenizer: Any, search: Search) -> str | None:
    """The same for prompts that are longer than the model's window of attention. None: nothing, or there is no window.

    The shared path needs no such prompts: it goes by the model's own mask (`beam_attention.attend`). Nor does an
    encoder-decoder, whose padding is on the right.
    """
    window = _window(model.config)
    if window is None or search.path in ("graphed", "shared") or model.config.is_encoder_decoder:
        return None
    if search.path == "cached":
        return f"padding would stand in its window of {window} tokens"
    if window > LONGEST:
        return f"its window of {window} tokens is longer than the prompts of the check"
    if model.device.type == "cpu" and window > LONGEST // 8:
        return f"prompts longer than its window of {window} tokens take too long to check on a CPU"
    prompts = _prompts(tokenizer, model, window + TOKENS)
    return _problem(model, tokenizer, search, prompts, _expected(model, tokenizer, search, prompts))


def _sums(
    model: Any, tokenizer: Any, search: Search, prompts: Sequence[Prompt], beside: Sequence[Prompt] = ()
) -> Sequence[Sums]:
    """What a search finds for prompts; those `beside` take away what they have in common, and are not decoded."""
    decoder: Decoder = decoder_for(model, tokenizer, search, [*prompts, *beside])
    decoder.decode(prompts)
    assert decoder.listener is not None
    found: list[dict[tuple[int, ...], float]] = [{} for _ in prompts]
    for (place, tokens), value in decoder.listener.sums.items():
        found[place // search.num_return_sequences if search.do_sample else place][tokens] = value
    return found


def differences(found: Sums, expected: Sums, beams: int, ends: set[int]) -> list[float]:
    """How far two searches for the same prompt differ, in nats, for each beam that can be compared. A tie is no
    difference.

    A beam that both have chosen must have the same score. One that only one has chosen, though both could have, must
    have a score no better than the worst that the other has chosen: the two are then equal up to the difference. What
    follows from such a choice is not compared.
    """
    compared = [abs(value - expected[tokens]) for tokens, value in found.items() if tokens in expected]
    for one, other in ((found, expected), (expected, found)):
        for tokens, value in one.items():
            if tokens not in other and tokens[:-1] in _running(other, len(tokens) - 1, beams, ends):
                chosen = [each for key, each in other.items() if len(key) == len(tokens)]
                # There are none where the other is over: a batch goes on until all of it is.
                compared.append(max(0.0, value - min(chosen, default=value)))
    return compared


def _running(sums: Sums, length: int, beams: int, ends: set[int]) -> set[tuple[int, ...]]:
    """The beams that a search went on with after so many tokens: the best that have not ended."""
    if length == 0:
        return {()}
    going_on = [tokens for tokens in sums if len(tokens) == length and tokens[-1] not in ends]
    return set(sorted(going_on, key=lambda tokens: -sums[tokens])[:beams])


def _tolerance(model: Any) -> float:
    exact = model.dtype == torch.float32 and not getattr(model, "is_quantized", False)
    return TOLERANCE if exact else HALF_TOLERANCE


def _window(config: Any) -> int | None:
    """The smallest number of tokens that a config.json names as a window of attention. None: it names none."""
    widths = [
        width
        for name, value in config.to_dict().items()
        if re.search(r"window|attention_chunk", name) and name != "max_window_layers"
        for width in _numbers(value)
    ]
    return min(widths, default=None)


def _numbers(value: Any) -> Iterator[int]:
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, int) and not isinstance(each, bool) and each > 0:
            yield each


def _message(error: Exception) -> str:
    """The kind and the first line of an error."""
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first}"[:300]
