"""Example + shots -> text -> token ids.

    ### Instruction:
    reverse a list `x`
    ### Response:
    x[::-1]

The template is the paper's (arXiv 2308.10462v3, section 4.3), the same in training and in generation. The answer is
tokenised on its own, so the border between prompt and answer falls at the same token whether the answer is given or
generated. The paper's code had other forms (`form_of`) and cut what it trained on (`cut_as_paper`).
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from raypeft.records import Example, Form, Forms, Prompt

PAPER_PROMPT_TOKENS = 64
"""Room that RQ2's program gave a training prompt; the answer's was the dataset's `max_new_tokens`."""


CORRECTED = Form()
FENCED = Form(
    query="### Instruction:\n{nl}\n### Response:\n```python\n",
    shot="### Instruction:\n{nl}\n### Response:\n```python\n{code}\n```\n\n",
    stop=("```",),
)


def form_of(
    fidelity: str, trained: bool, is_encoder_decoder: bool, training: bool = False, own: Forms | None = None
) -> Form:
    """The form of a prompt under `corrected` or `paper`; `own` are the dataset's, if it has any.

    The paper's code asked untuned models in Python fences (RQ1 and RQ3, commit 3b31320), and tuned ones with a newline
    first that training had not (RQ2, commit e7971c0). CodeT5+ was trained after a prefix and asked without it, with its
    first sentinel token at the end. Shots before a tuned model, which the paper has not, keep the plain form.
    """
    if own is not None:
        paper = own.paper_training if training else own.paper_generation
        return own.corrected if fidelity == "corrected" else paper
    if fidelity == "corrected":
        return CORRECTED
    sentinel = "<extra_id_0>" if is_encoder_decoder else ""
    if not trained:
        return replace(FENCED, after=sentinel)
    if training:
        return replace(CORRECTED, before="Generate Python code: " if is_encoder_decoder else "")
    return replace(CORRECTED, before="\n", after=sentinel)


def render(nl: str, shots: Sequence[Example] = (), form: Form = CORRECTED) -> str:
    """The text that the model reads: the shots with their answers, then the query."""
    told = "".join(form.shot.format(nl=instruction(shot, form), code=shot.code) for shot in shots)
    return form.before + told + form.query.format(nl=nl) + form.after


def instruction(example: Example, form: Form = CORRECTED) -> str:
    """What an example asks for, with its starter code below where the form puts it there."""
    return f"{example.nl}\n{example.starter_code}" if example.starter_code and form.starter == "below" else example.nl


def encode(
    example: Example,
    tokenizer: Any,
    shots: Sequence[Example] = (),
    is_encoder_decoder: bool = False,
    form: Form = CORRECTED,
) -> Prompt:
    """The example as token ids; the answer ends with the tokenizer's end-of-sequence token.

    The two sides of an encoder-decoder are sequences of their own, with the special tokens that its tokenizer gives
    every sequence; a decoder reads prompt and answer as one.
    """
    prefilled = example.starter_code if form.starter == "prefilled" else ""
    prompt_ids = tokenizer(render(instruction(example, form), shots, form) + prefilled)["input_ids"]
    # Some tokenizers append their own eos to whatever they are given; a decoder's prompt must not end with one.
    if prompt_ids[-1] == tokenizer.eos_token_id and not is_encoder_decoder:
        prompt_ids = prompt_ids[:-1]
    answer_ids = _encode_answer(example.code, tokenizer, is_encoder_decoder, form)
    return Prompt(example, prompt_ids, answer_ids, tuple(shot.id for shot in shots), prefilled=prefilled)


def _encode_answer(code: str, tokenizer: Any, is_encoder_decoder: bool, form: Form) -> list[int]:
    eos = tokenizer.eos_token_id
    ids: list[int] = tokenizer(form.answer.format(code=code), add_special_tokens=is_encoder_decoder)["input_ids"]
    return ids if ids[-1:] == [eos] else [*ids, eos]


def encode_answers(
    examples: Sequence[Example],
    tokenizer: Any,
    max_length: int | None,
    is_encoder_decoder: bool = False,
    form: Form = CORRECTED,
    pick: random.Random | None = None,
) -> tuple[list[Prompt], int]:
    """What is trained on: each example with its first answer of which prompt and answer have at most `max_length`
    tokens (None: its first), and how many examples were left out since they have no such answer.

    With `pick` one answer an example is drawn, and the example left out where that one is too long, as in RQ4's program
    (replication package, commit 3b31320).
    """
    kept = []
    for example in examples:
        answers = [code for code in (example.code, *example.other_codes) if code.strip()]
        if pick is not None and answers:
            answers = [pick.choice(answers)]
        prompt = encode(example, tokenizer, (), is_encoder_decoder, form)
        for code in answers:
            if code != example.code:  # the instruction, often the longer part, stays as it is encoded
                answer_ids = _encode_answer(code, tokenizer, is_encoder_decoder, form)
                prompt = replace(prompt, example=replace(example, code=code), answer_ids=answer_ids)
            if max_length is None or len(prompt) <= max_length:
                kept.append(prompt)
                break
    return kept, len(examples) - len(kept)


def encode_in_room(
    example: Example,
    tokenizer: Any,
    shots: Sequence[Example],
    room: int | None,
    is_encoder_decoder: bool = False,
    form: Form = CORRECTED,
    nearest_last: bool = False,
) -> Prompt:
    """As `encode`, without the last of `shots` that a prompt of `room` tokens cannot hold (None: it holds all).

    `shots` are given nearest first; `nearest_last` turns round those that are kept. A query that exceeds the room
    without any shot is given back so, for `check_fits` to refuse.
    """
    prompt = None
    for kept in range(len(shots), -1, -1):
        chosen = list(shots[:kept])
        prompt = encode(example, tokenizer, chosen[::-1] if nearest_last else chosen, is_encoder_decoder, form)
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
    return _sample(train, num_shots, random.Random(icl_seed))


def pick_shots_for(query: Example, train: Sequence[Example], num_shots: int, icl_seed: int) -> list[Example]:
    """Random shots of this query's own: they depend on the seed and the query's id. Raises as `pick_shots`."""
    return _sample(train, num_shots, random.Random(f"{icl_seed}/{query.id}"))


def _sample(train: Sequence[Example], num_shots: int, generator: random.Random) -> list[Example]:
    if num_shots > len(train):
        raise ValueError(f"num_shots must be at most the {len(train)} training examples but got {num_shots}")
    return generator.sample(list(train), num_shots)
