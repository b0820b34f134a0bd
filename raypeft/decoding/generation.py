"""Batched decoding: what prompts begin with in common is computed once, each candidate ends at its own end.

    beams = Search(max_new_tokens=64, num_beams=10, num_return_sequences=10)
    samples = Search(max_new_tokens=1024, do_sample=True, num_return_sequences=5, temperature=0.6, top_p=0.95)
    candidates = generate(model, tokenizer, prompts, beams)

The search itself is `generate` of Transformers. It repeats every prompt for every beam before it reads the prompt; here
the prompt's keys and values are computed once an example and, where the model allows it, kept once an example
(`raypeft.decoding.beam_attention`); those of the prompts' common beginning (virtual tokens, the template's header, the
shots of ICL) are computed once a call. An encoder-decoder reads a prompt once in any case and goes straight to
`generate`, and so does a model of which `raypeft.decoding.selfcheck` finds that it needs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from raypeft import events
from raypeft.decoding.decoders import decoder_for
from raypeft.decoding.search import Decoder, Search
from raypeft.events import Listener, Stage
from raypeft.gpu import batches_within_memory
from raypeft.records import Candidate, Prompt

__all__ = ["Keep", "Search", "batches", "decoding_order", "generate"]

Keep = Callable[[Sequence[int], list[list[Candidate]]], None]
"""Told of each finished batch: the prompts' places, and the candidates of each."""


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    search: Search,
    keep: Keep | None = None,
    listener: Listener = events.ignore,
) -> list[list[Candidate]]:
    """For each prompt, in order, its `num_return_sequences` candidates: of beam search best first, or samples.

    A candidate ends at an end-of-sequence token, before the first stop string, or after `max_new_tokens`. Raises what
    `batches` raises.
    """
    results: list[list[Candidate]] = [[] for _ in prompts]
    done = 0
    listener(Stage("generate", done, len(prompts)))
    for batch, found in batches(model, tokenizer, prompts, search):
        for index, candidates in zip(batch, found, strict=True):
            results[index] = candidates
        if keep:
            keep(batch, found)
        done += len(batch)
        listener(Stage("generate", done, len(prompts)))
    return results


def decoding_order(prompts: Sequence[Prompt]) -> list[int]:
    """The places of the prompts in the order in which they are decoded.

    Longest first: what does not fit in memory shows at once, and batches are of similar length.
    """
    return sorted(range(len(prompts)), key=lambda index: -len(prompts[index].prompt_ids))


def batches(
    model: Any, tokenizer: Any, prompts: Sequence[Prompt], search: Search, done: int = 0
) -> Iterator[tuple[Sequence[int], list[list[Candidate]]]]:
    """The places of each batch of prompts and their candidates, but for the `done` first ones in `decoding_order`.

    Raises what `batches_within_memory` raises, and FloatingPointError where the model's scores are NaN.
    """
    model.eval()
    decoder = decoder_for(model, tokenizer, search, prompts)

    def decode(places: Sequence[int]) -> list[list[Candidate]]:
        asked = [prompts[place] for place in places]
        found = decoder.decode(asked)
        _check_numbers(decoder, asked)
        return found

    batch_size = 1 if search.path == "alone" else search.batch_size
    yield from batches_within_memory(decoding_order(prompts)[done:], batch_size, decode)


def _check_numbers(decoder: Decoder, prompts: Sequence[Prompt]) -> None:
    """Raise FloatingPointError where scores of a batch were NaN: its candidates are no answers of the model.

    A model may be broken for some prompts alone, such as longer ones than it was checked with.
    """
    if decoder.nan_step is None:
        return
    lengths = [len(prompt.prompt_ids) for prompt in prompts]
    size = str(min(lengths)) if min(lengths) == max(lengths) else f"{min(lengths)} to {max(lengths)}"
    raise FloatingPointError(f"the scores of the model must be numbers but are NaN at token {decoder.nan_step} of an "
                             f"answer to prompts of {size} tokens (the first: {prompts[0].example.id}; computed in "
                             f"{str(decoder.model.dtype).removeprefix('torch.')})")  # fmt: skip
