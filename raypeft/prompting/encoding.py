"""Example + shots -> token ids, and what a context has room for.

    prompt = Encoder(tokenizer).encode(example, shots)
    prompt.prompt_ids, prompt.answer_ids

Prompt and answer are tokenised in one piece and split where the prompt ends. The prompt's tokens are always those of
the prompt alone: in generation nothing else is known. Where a token of the whole would cross the border, the answer is
tokenised for itself, so no model is trained to continue a prompt that it never reads. The paper's code tokenised both
apart in RQ2, and cut and padded what it trained on (`cut_as_paper`, `padded_as_paper`); in RQ4 it tokenised both as one
and gave a token on the border to the answer (`Form.joined`).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from raypeft.prompting.chat import Turn, answer_turn, chat_text
from raypeft.prompting.forms import CORRECTED, exchanges, render, turns
from raypeft.prompting.plain_text import Marks, token_ids
from raypeft.records import Example, Form, Prompt

PAPER_PROMPT_TOKENS = 64
"""Room that RQ2's program gave a training prompt; the answer's was the dataset's `max_new_tokens`."""


@dataclass(frozen=True)
class Encoder:
    """Turns examples into token ids, for one tokenizer and one form of prompt."""

    tokenizer: Any
    is_encoder_decoder: bool = False
    """The two sides of an encoder-decoder are sequences of their own, with the special tokens that its tokenizer gives
    every sequence; a decoder reads prompt and answer as one."""
    form: Form = CORRECTED
    apart: bool = False
    """Tokenise answers apart from prompts, as the paper's code did. SentencePiece then puts a space before them."""

    def encode(self, example: Example, shots: Sequence[Example] = ()) -> Prompt:
        """The example as token ids; the answer ends with the token `end_id`."""
        prefilled = example.starter_code if self.form.starter == "prefilled" else ""
        text, marks = self._marked(example, shots)
        prompt_ids = self._prompt_ids(text, marks)
        if self.form.joined:
            code = marks.hide(example.code.strip())
            joined = token_ids(self.tokenizer, text + self.form.answer.format(code=code), marks)
            prompt_ids, answer_ids = self._split(joined, prompt_ids)
        else:
            answer_ids = self._answer_ids(example.code, text, prompt_ids, marks)
        return Prompt(example, prompt_ids, answer_ids, tuple(shot.id for shot in shots), prefilled=prefilled)

    def _marked(self, example: Example, shots: Sequence[Example]) -> tuple[str, Marks]:
        """The prompt as text, with signs for the special tokens that the data spells in it or in the answer."""
        text = self.text(example, shots)
        marks = Marks.of(self.tokenizer, [example.code, *spelled_by(example, shots)], text)
        if marks.signs:
            text = self.text(marks.hidden_in(example), [*map(marks.hidden_in, shots)])
        return text, marks

    def text(self, example: Example, shots: Sequence[Example] = ()) -> str:
        """The prompt as text."""
        if self.form.chat:
            return chat_text(self.tokenizer, turns(example, shots, self.form)) + self.turn.opening
        return render(example, shots, self.form)

    @cached_property
    def turn(self) -> Turn:
        """What stands around an answer in a chat: the same for all examples."""
        return answer_turn(self.tokenizer)

    @property
    def end_id(self) -> int:
        """The token that ends an answer: the tokenizer's end of sequence, or the end of a turn in a chat."""
        return self.turn.end_id if self.form.chat else int(self.tokenizer.eos_token_id)

    def _split(self, ids: list[int], prompt_ids: list[int]) -> tuple[list[int], list[int]]:
        """Prompt and answer, tokenised as one; a token that holds the border belongs to the answer."""
        if ids[-1:] == [self.tokenizer.eos_token_id]:
            ids = ids[:-1]
        border = next((at for at, (one, other) in enumerate(zip(prompt_ids, ids, strict=False)) if one != other), None)
        border = min(len(prompt_ids), len(ids)) if border is None else border
        return ids[:border], ids[border:]

    def _prompt_ids(self, text: str, marks: Marks) -> list[int]:
        # A chat template writes the special tokens itself.
        ids = token_ids(self.tokenizer, text, marks, add_special_tokens=not self.form.chat)
        # Some tokenizers append their own eos to whatever they are given; a decoder's prompt must not end with one.
        appended = ids[-1:] == [self.tokenizer.eos_token_id] and not self.is_encoder_decoder and not self.form.chat
        return ids[:-1] if appended else ids

    def _answer_ids(self, code: str, prompt: str, prompt_ids: list[int], marks: Marks) -> list[int]:
        text, end_id = self.form.answer.format(code=marks.hide(code)), self.tokenizer.eos_token_id
        if self.form.chat:
            text, end_id = self.turn.before + text + self.turn.after, self.turn.end_id
        ids = self._ids_after(prompt, prompt_ids, text, marks)
        return ids if ids[-1:] == [end_id] else [*ids, end_id]

    def _ids_after(self, prompt: str, prompt_ids: list[int], answer: str, marks: Marks) -> list[int]:
        """The ids of an answer that follow those of its prompt.

        Where the whole does not begin with the prompt's ids, a line break stands for the prompt: SentencePiece puts its
        space marker before a text, but not after a line break.
        """
        if not (self.apart or self.is_encoder_decoder):
            for before in (prompt, "\n"):
                ids = prompt_ids if before is prompt else self._prompt_ids(before, marks)
                whole = self._prompt_ids(before + answer, marks)
                if whole[: len(ids)] == ids:
                    return whole[len(ids) :]
        return token_ids(self.tokenizer, answer, marks, add_special_tokens=self.is_encoder_decoder)

    def encode_answers(
        self, examples: Sequence[Example], max_length: int | None, pick: random.Random | None = None
    ) -> list[Prompt]:
        """What is trained on: each example with its first answer of which prompt and answer have at most `max_length`
        tokens (None: its first). Examples without such an answer are left out.

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
                    text, marks = self._marked(answered, ())
                    answer_ids = self._answer_ids(code, text, prompt.prompt_ids, marks)
                    prompt = replace(prompt, example=answered, answer_ids=answer_ids)
                # The paper's code counted the end-of-sequence token of a joined text, though it has no loss.
                if max_length is None or len(prompt) + self.form.joined <= max_length:
                    kept.append(prompt)
                    break
        return kept

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


def spelled_by(example: Example, shots: Sequence[Example]) -> list[str]:
    """The texts of the data in a prompt, in which special tokens are not read."""
    before = exchanges(example, shots)
    return [example.nl, example.starter_code, *(text for each in before for text in (each.nl, each.code))]


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
