"""Whether prompts and answers fit a model: its context, and its embedding.

room = Room(context_length=2048, virtual_tokens=20)
room.fits(len(prompt.prompt_ids), max_new_tokens)
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from raypeft.records import Prompt


@dataclass(frozen=True, slots=True)
class Room:
    """How many tokens a model takes. All lengths are in tokens."""

    context_length: int | None = None
    """None: there is no limit."""
    is_encoder_decoder: bool = False
    """Prompt and answer of an encoder-decoder are two sequences, and each may be as long as the context."""
    virtual_tokens: int = 0
    """They stand before every prompt."""

    def needs(self, prompt: int, answer: int) -> int:
        """The length of the longest sequence with a prompt and an answer of these lengths."""
        return self.virtual_tokens + (max(prompt, answer) if self.is_encoder_decoder else prompt + answer)

    def fits(self, prompt: int, answer: int) -> bool:
        return self.context_length is None or self.needs(prompt, answer) <= self.context_length

    def beside(self, length: int) -> int | None:
        """How long a prompt may be beside an answer of this length, or an answer beside a prompt. None: any length."""
        if self.context_length is None:
            return None
        return self.context_length - self.virtual_tokens - (0 if self.is_encoder_decoder else length)

    def for_answers(self, lengths: Iterable[tuple[int, int]]) -> int:
        """The length for all answers with which most examples have room, given each one's lengths of prompt and answer.

        An example has room if its answer is not cut, and its prompt fits beside an answer of that length: the longest
        answer would take away the examples with long prompts. Of several such lengths it is the largest. Where no
        example fits by itself it is that of the longest answer, and 1, for the end of an answer, without any.
        """
        every = [*lengths]
        fitting = [(prompt, answer) for prompt, answer in every if self.fits(prompt, answer)]
        least = sorted(answer for _, answer in fitting)
        if self.context_length is None or not fitting:
            return max((answer for _, answer in every), default=1)
        most = sorted(self.beside(prompt) or 0 for prompt, _ in fitting)
        return max(least, key=lambda length: (bisect_right(least, length) - bisect_left(most, length), length))

    def problem(self, prompts: Sequence[Prompt], answer: int, num_shots: int) -> str:
        """How many of `prompts`, of up to `num_shots` shots, do not fit beside an answer of this length, and how
        much the longest needs.
        """
        lengths = [len(prompt.prompt_ids) for prompt in prompts]
        worst = prompts[lengths.index(max(lengths))]
        too_long = sum(not self.fits(length, answer) for length in lengths)
        fields = {"num_shots": num_shots, "num_virtual_tokens": self.virtual_tokens, "max_new_tokens": answer}
        remedies = " or ".join(f"{field} ({value})" for field, value in fields.items() if value)
        return (f"prompt and answer must fit the model's context of {self.context_length} tokens but example "
                f"{worst.example.id} needs {self.needs(max(lengths), answer)} ({too_long} of {len(prompts)} examples "
                f"do not fit); lower {remedies}")  # fmt: skip


def check_ids(prompts: Iterable[Prompt], rows: int, tokenizer: Any) -> None:
    """Raise ValueError naming the example and the token where the embedding, of so many rows, has none for a token."""
    for prompt in prompts:
        beyond = [each for each in (*prompt.prompt_ids, *prompt.answer_ids) if each >= rows]
        if beyond:
            raise ValueError(f"the model must have an embedding for every token of the data but has {rows} and example "
                             f"{prompt.example.id} has {tokenizer.convert_ids_to_tokens(beyond[0])!r} with the id "
                             f"{beyond[0]}; is it the tokenizer of another model?")  # fmt: skip
