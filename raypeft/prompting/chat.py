"""A model's own chat template: the text of a prompt, and what the template writes around the model's answer.

prompt = chat_text(tokenizer, [{"role": "user", "content": "reverse a list `x`"}])
answer_turn(tokenizer).end_id
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_ANSWER = "RAYPEFT-ANSWER"
"""Stands for an answer, to see what a template writes around it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What stands around an answer in the model's turn, after what `chat_text` ends with."""

    end_id: int
    """The token that ends the turn: that of the template (such as `<|im_end|>`), or else the tokenizer's own end."""
    before: str = ""
    """Blanks between the prompt and the answer, such as the space of Llama 2's template."""
    after: str = ""
    """Between the answer and the end."""


def chat_text(tokenizer: Any, messages: Sequence[dict[str, str]]) -> str:
    """The messages as the model reads them, up to the point where it answers."""
    before = _around_answer(tokenizer)[0]
    return _asked(tokenizer, messages) + ("" if _is_blank(before) else before)


def answer_turn(tokenizer: Any) -> Turn:
    """What the template writes between a prompt and an answer, and after the answer."""
    before, tail = _around_answer(tokenizer)
    before = before if _is_blank(before) else ""
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    ids = tokenizer(tail, add_special_tokens=False)["input_ids"]
    end_id = next((each for each in ids if each in special), None)
    if end_id is None:
        return Turn(tokenizer.eos_token_id, before)
    return Turn(end_id, before, tail.partition(tokenizer.convert_ids_to_tokens(end_id))[0])


def _asked(tokenizer: Any, messages: Sequence[dict[str, str]]) -> str:
    """The messages as the template asks for an answer."""
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))


def _around_answer(tokenizer: Any) -> tuple[str, str]:
    """What the template writes before a last answer, after what it asks with, and what it writes below the answer.

    A template may show an answer that was given otherwise than it asks for one (some leave out empty thoughts); then
    the answer follows the prompt directly.
    """
    messages = [{"role": "user", "content": "x"}]
    prompt = _asked(tokenizer, messages)
    answered = [*messages, {"role": "assistant", "content": _ANSWER}]
    head, _, tail = str(tokenizer.apply_chat_template(answered, tokenize=False)).partition(_ANSWER)
    return head.removeprefix(prompt) if head.startswith(prompt) else "", tail


def _is_blank(before: str) -> bool:
    """Whether it may be a part of the answer: blanks are, and the space of Llama 2 makes one token with what follows.

    All else (the empty thoughts of Qwen3) ends the prompt, so that the model answers at once and answers hold no more
    than code.
    """
    return not before.strip()
