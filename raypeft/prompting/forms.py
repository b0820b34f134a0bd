"""The text around instructions and answers: which form a trial's prompts take, and a prompt as text.

    ### Instruction:
    reverse a list `x`
    ### Response:
    x[::-1]

The template is the paper's (arXiv 2308.10462v3, section 4.3), the same in training and in generation. The paper's code
had other forms; `form_of` knows them. A sweep can ask for another form by its name in `NAMED`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from raypeft.records import Example, Form, Forms

CORRECTED = Form()
FENCED = Form(
    query="### Instruction:\n{nl}\n### Response:\n```python\n",
    shot="### Instruction:\n{nl}\n### Response:\n```python\n{code}\n```\n\n",
    stop=("```",),
)

PromptForm = Literal["plain", "fenced", "chat"]
NAMED: dict[PromptForm, Form] = {
    "plain": CORRECTED,
    # The closing fence is part of the answer, so that a trained model learns to write it.
    "fenced": replace(FENCED, answer="{code}\n```"),
    "chat": Form(query="{nl}", shot="", chat=True),
}
"""The forms that the field `prompt_form` names. Each is the same in training and in generation."""


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


def exchanges(query: Example, shots: Sequence[Example]) -> list[Example]:
    """What stands in a prompt before the query, with its answers: the shots, and what was said in its chat before."""
    return [*(each for shot in shots for each in (*shot.earlier, shot)), *query.earlier]


def render(query: Example, shots: Sequence[Example] = (), form: Form = CORRECTED) -> str:
    """The text that the model reads: the shots with their answers, then the query."""
    told = "".join(form.shot.format(code=each.code, **_asked(each, form)) for each in exchanges(query, shots))
    begun = query.starter_code if form.starter in ("prefilled", "asked") else ""
    return form.before + told + form.query.format(**_asked(query, form)) + form.after + begun


def turns(query: Example, shots: Sequence[Example], form: Form) -> list[dict[str, str]]:
    """The prompt as messages for a chat template: each shot is a turn of the user and the model's answer to it."""
    messages: list[dict[str, str]] = []
    for each in exchanges(query, shots):
        messages.append({"role": "user", "content": form.query.format(**_asked(each, form))})
        messages.append({"role": "assistant", "content": form.answer.format(code=each.code)})
    return [*messages, {"role": "user", "content": form.query.format(**_asked(query, form))}]


def _asked(example: Example, form: Form) -> dict[str, str]:
    """What an example asks for, by placeholder; its starter code below the instruction where the form puts it there."""
    below = f"\n{example.starter_code}" if example.starter_code and form.starter == "below" else ""
    return {"nl": example.nl + below, "starter_code": example.starter_code}
