"""Whether prompts and answers fit a model: its context, and its embedding.

room = Room(context_length=2048, virtual_tokens=20)
room.fits(len(prompt.prompt_ids), max_new_tokens)
"""

from __future__ import annotations

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

    def for_prompts(self, answer: int) -> int | None:
        """How long a prompt may be beside an answer of this length. None: as long as it likes."""
        if self.context_length is None:
            return None
        return self.context_length - self.virtual_tokens - (0 if self.is_encoder_decoder else answer)

    def problem(self, prompts: Sequence[Prompt], answer: int) -> str:
        """How many of `prompts` do not fit beside an answer of this length, and by how much the longest."""
        lengths = [len(prompt.prompt_ids) for prompt in prompts]
        worst = prompts[lengths.index(max(lengths))]
        too_long = sum(not self.fits(length, answer) for length in lengths)
        fields = ["num_shots", *(["num_virtual_tokens"] if self.virtual_tokens else []), "max_new_tokens"]
        return (f"prompt and answer must fit the model's context of {self.context_length} tokens but example "
                f"{worst.example.id} needs {self.needs(max(lengths), answer)} ({too_long} of {len(prompts)} examples "
                f"do not fit); lower {' or '.join(fields)}")  # fmt: skip


def check_ids(prompts: Iterable[Prompt], rows: int, tokenizer: Any) -> None:
    """Raise ValueError naming the example and the token where the embedding, of so many rows, has none for a token."""
    for prompt in prompts:
        beyond = [each for each in (*prompt.prompt_ids, *prompt.answer_ids) if each >= rows]
        if beyond:
            raise ValueError(f"the model must have an embedding for every token of the data but has {rows} and example "
                             f"{prompt.example.id} has {tokenizer.convert_ids_to_tokens(beyond[0])!r} with the id "
                             f"{beyond[0]}; is it the tokenizer of another model?")  # fmt: skip
