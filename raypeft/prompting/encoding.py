"""Example + shots -> token ids, and what a context has room for.

    prompt = Encoder(tokenizer).encode(example, shots)
    prompt.prompt_ids, prompt.answer_ids

The answer is tokenised on its own, so the border between prompt and answer falls at the same token whether the answer
is given or generated. The paper's code cut and padded what it trained on in RQ2 (`cut_as_paper`, `padded_as_paper`),
and tokenised prompt and answer as one in RQ4 (`Form.joined`).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from raypeft.prompting.forms import CORRECTED, instruction, render
from raypeft.prompting.plain_text import token_ids
from raypeft.records import Example, Form, Prompt

PAPER_PROMPT_TOKENS = 64
"""Room that RQ2's program gave a training prompt; the answer's was the dataset's `max_new_tokens`."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """Turns examples into token ids, for one tokenizer and one form of prompt."""

    tokenizer: Any
    is_encoder_decoder: bool = False
    """The two sides of an encoder-decoder are sequences of their own, with the special tokens that its tokenizer gives
    every sequence; a decoder reads prompt and answer as one."""
    form: Form = CORRECTED

    def encode(self, example: Example, shots: Sequence[Example] = ()) -> Prompt:
        """The example as token ids; the answer ends with the tokenizer's end-of-sequence token."""
        begun = example.starter_code if self.form.starter in ("prefilled", "asked") else ""
        text = render(instruction(example, self.form), shots, self.form) + begun
        data = [example.nl, example.starter_code, *(part for each in shots for part in (each.nl, each.code))]
        prompt_ids = token_ids(self.tokenizer, text, data)
        # Some tokenizers append their own eos to whatever they are given; a decoder's prompt must not end with one.
        if prompt_ids[-1] == self.tokenizer.eos_token_id and not self.is_encoder_decoder:
            prompt_ids = prompt_ids[:-1]
        if self.form.joined:
            code = example.code.strip()
            joined = token_ids(self.tokenizer, text + self.form.answer.format(code=code), [*data, code])
            prompt_ids, answer_ids = self._split(joined, prompt_ids)
        else:
            answer_ids = self._encode_answer(example.code)
        prefilled = begun if self.form.starter == "prefilled" else ""
        return Prompt(example, prompt_ids, answer_ids, tuple(shot.id for shot in shots), prefilled=prefilled)

    def _split(self, ids: list[int], prompt_ids: list[int]) -> tuple[list[int], list[int]]:
        """Prompt and answer, tokenised as one; a token that holds the border belongs to the answer."""
        if ids[-1:] == [self.tokenizer.eos_token_id]:
            ids = ids[:-1]
        border = next((at for at, (one, other) in enumerate(zip(prompt_ids, ids, strict=False)) if one != other), None)
        border = min(len(prompt_ids), len(ids)) if border is None else border
        return ids[:border], ids[border:]

    def _encode_answer(self, code: str) -> list[int]:
        eos, text = self.tokenizer.eos_token_id, self.form.answer.format(code=code)
        ids = token_ids(self.tokenizer, text, [code], add_special_tokens=self.is_encoder_decoder)
        return ids if ids[-1:] == [eos] else [*ids, eos]

    def encode_answers(
        self, examples: Sequence[Example], max_length: int | None, pick: random.Random | None = None
    ) -> tuple[list[Prompt], int]:
        """What is trained on: each example with its first answer of which prompt and answer have at most `max_length`
        tokens (None: its first), and how many examples were left out since they have no such answer.

        With `pick` one answer an example is drawn, and the example left out where that one is too long, as in RQ4's
        program (replication package, commit 3b31320).
        """
        kept = []
        for example in examples:
            answers = [code for code in (example.code, *example.other_codes) if code.strip()]
            if pick is not None and answers:
                answers = [pick.choice(answers)]
            prompt = self.encode(example)
            for code in answers:
                answered = replace(example, code=code)
                if code != example.code and self.form.joined:
                    prompt = self.encode(answered)
                elif code != example.code:  # the instruction, often the longer part, stays as it is encoded
                    prompt = replace(prompt, example=answered, answer_ids=self._encode_answer(code))
                # The paper's code counted the end-of-sequence token of a joined text, though it has no loss.
                if max_length is None or len(prompt) + self.form.joined <= max_length:
                    kept.append(prompt)
                    break
        return kept, len(examples) - len(kept)

    def encode_in_room(
        self, example: Example, shots: Sequence[Example], room: int | None, nearest_last: bool = False
    ) -> Prompt:
        """As `encode`, without the last of `shots` that a prompt of `room` tokens cannot hold (None: it holds all).

        `shots` are given nearest first; `nearest_last` turns round those that are kept. A query that exceeds the room
        without any shot is given back so.
        """
        prompt = None
        for kept in range(len(shots), -1, -1):
            chosen = list(shots[:kept])
            prompt = self.encode(example, chosen[::-1] if nearest_last else chosen)
            if room is None or len(prompt.prompt_ids) <= room:
                break
        assert prompt is not None
        return replace(prompt, dropped_shots=len(shots) - len(prompt.shots))


def cut_as_paper(prompt: Prompt, answer_tokens: int, is_encoder_decoder: bool = False) -> Prompt:
    """A training prompt cut as RQ2's program did: the answer to `answer_tokens`, its end-of-sequence token kept.

    A decoder's prompt loses its end where prompt and answer exceed `answer_tokens` and 64 together (the answer's marker
    with it); an encoder's is cut to 64 tokens, its end-of-sequence token kept.
    """

    def cut(ids: list[int], length: int) -> list[int]:
        return ids if len(ids) <= length else [*ids[: length - 1], ids[-1]]

    answer_ids = cut(prompt.answer_ids, answer_tokens)
    if is_encoder_decoder:
        prompt_ids = cut(prompt.prompt_ids, PAPER_PROMPT_TOKENS)
    else:
        prompt_ids = prompt.prompt_ids[: PAPER_PROMPT_TOKENS + answer_tokens - len(answer_ids)]
    return replace(prompt, prompt_ids=prompt_ids, answer_ids=answer_ids)


def padded_as_paper(prompt: Prompt, answer_tokens: int) -> Prompt:
    """A decoder's training prompt with padding on its left up to `answer_tokens` and 64 tokens, as in RQ2's program.

    Virtual tokens stand before the padding there, so they are further from the prompt than at inference.
    """
    return replace(prompt, padding=max(0, PAPER_PROMPT_TOKENS + answer_tokens - len(prompt)))
