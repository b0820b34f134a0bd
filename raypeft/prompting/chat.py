"""A model's own chat template: the text of a prompt, and what the template writes around the model's answer.

chat_text(tokenizer, [{"role": "user", "content": "reverse a list `x`"}])
answer_turn(tokenizer).end_id
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_ANSWER = "RAYPEFT-ANSWER"
"""Stands for an answer, to see what a template writes around it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What stands around an answer in the model's turn, after what a template asks with (`chat_text`)."""

    end_id: int
    """The token that ends the turn: that of the template (such as `<|im_end|>`), or else the tokenizer's own end."""
    opening: str = ""
    """The end of every prompt, such as the empty thoughts of Qwen3: the model answers at once, and answers hold no more
    than code."""
    before: str = ""
    """Blanks between the prompt and the answer, such as the space of Llama 2's template. They belong to the answer,
    since the space makes one token with what follows."""
    after: str = ""
    """Between the answer and the end."""


def chat_text(tokenizer: Any, messages: Sequence[dict[str, str]]) -> str:
    """The messages as the template asks for an answer to them."""
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))


def answer_turn(tokenizer: Any) -> Turn:
    """What the template writes between what it asks with and an answer, and after the answer.

    A template may show an answer that was given otherwise than it asks for one (some leave out empty thoughts); then
    the answer follows the prompt directly.
    """
    asked = [{"role": "user", "content": "x"}]
    prompt = chat_text(tokenizer, asked)
    answered = [*asked, {"role": "assistant", "content": _ANSWER}]
    head, _, tail = str(tokenizer.apply_chat_template(answered, tokenize=False)).partition(_ANSWER)
    between = head.removeprefix(prompt) if head.startswith(prompt) else ""
    opening, before = (between, "") if between.strip() else ("", between)
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    ids = tokenizer(tail, add_special_tokens=False)["input_ids"]
    end_id = next((each for each in ids if each in special), None)
    if end_id is None:
        return Turn(tokenizer.eos_token_id, opening, before)
    return Turn(end_id, opening, before, tail.partition(tokenizer.convert_ids_to_tokens(end_id))[0])
