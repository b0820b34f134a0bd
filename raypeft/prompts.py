"""Example + shots -> text -> token ids. The prompt is the same in training and in generation.

    ### Instruction:
    reverse a list `x`
    ### Response:
    x[::-1]

The template is the paper's (arXiv 2308.10462v3, section 4.3). The answer is tokenised on its own, so the border between
prompt and answer falls at the same token whether the answer is given or generated.
"""

import random
from collections.abc import Sequence
from typing import Any

from raypeft.records import Example, Prompt

TEMPLATE = "### Instruction:\n{nl}\n### Response:\n"
SHOT = TEMPLATE + "{code}\n\n"


def render(nl: str, shots: Sequence[Example] = ()) -> str:
    """The text that the model reads: the shots with their answers, then the query."""
    return "".join(SHOT.format(nl=shot.nl, code=shot.code) for shot in shots) + TEMPLATE.format(nl=nl)


def encode(example: Example, tokenizer: Any, shots: Sequence[Example] = (), is_encoder_decoder: bool = False) -> Prompt:
    """The example as token ids; the answer ends with the tokenizer's end-of-sequence token.

    The two sides of an encoder-decoder are sequences of their own, with the special tokens that its tokenizer gives
    every sequence; a decoder reads prompt and answer as one.
    """
    eos = tokenizer.eos_token_id
    prompt_ids = tokenizer(render(example.nl, shots))["input_ids"]
    answer_ids = tokenizer(example.code, add_special_tokens=is_encoder_decoder)["input_ids"]
    # Some tokenizers append their own eos to whatever they are given; a decoder's prompt must not end with one.
    if prompt_ids[-1] == eos and not is_encoder_decoder:
        prompt_ids = prompt_ids[:-1]
    return Prompt(example, prompt_ids, answer_ids if answer_ids[-1:] == [eos] else [*answer_ids, eos])


def check_fits(
    prompts: Sequence[Prompt],
    context_length: int | None,
    max_new_tokens: int | None = None,
    virtual_tokens: int = 0,
) -> None:
    """Raise ValueError naming the longest example where prompt and answer exceed the model's context, in tokens.

    `max_new_tokens` is the room that generation needs; None: the room of the known answer, as in training.
    `context_length` None: there is no limit. `virtual_tokens` stand before every prompt and take their room.
    """
    if context_length is None:
        return
    needs = [virtual_tokens + len(prompt.prompt_ids) + (max_new_tokens or len(prompt.answer_ids)) for prompt in prompts]
    too_long = [need for need in needs if need > context_length]
    if too_long:
        worst = prompts[needs.index(max(needs))]
        raise ValueError(
            f"prompt and answer must fit the model's context of {context_length} tokens but example {worst.example.id} "
            f"needs {max(needs)} ({len(too_long)} of {len(prompts)} examples do not fit); lower num_shots or "
            f"max_new_tokens, or leave such examples out"
        )


def pick_shots(train: Sequence[Example], num_shots: int, icl_seed: int) -> list[Example]:
    """The paper's in-context examples (RQ1): one `random.sample` of the training split, the same for every query.

    Raises ValueError where the split has too few examples.
    """
    if num_shots > len(train):
        raise ValueError(f"num_shots must be at most the {len(train)} training examples but got {num_shots}")
    return random.Random(icl_seed).sample(list(train), num_shots)
