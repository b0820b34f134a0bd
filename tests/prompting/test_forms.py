"""The text around instructions and answers."""

import pytest

from raypeft.prompting.forms import NAMED, form_of, render, turns
from raypeft.records import Example

A, Q = Example("a", "a", ""), Example("q", "q", "")
QUERY = Example("q", "reverse a list `x`", "x[::-1]")
SHOTS = [Example("1", "sort `y`", "sorted(y)"), Example("2", "sum `z`", "sum(z)")]
TRAIN = [Example(str(number), f"add {number}", f"x + {number}") for number in range(50)]


def test_shots_come_before_the_query_in_their_order_with_their_answers() -> None:
    assert render(QUERY, SHOTS) == (
        "### Instruction:\nsort `y`\n### Response:\nsorted(y)\n\n"
        "### Instruction:\nsum `z`\n### Response:\nsum(z)\n\n"
        "### Instruction:\nreverse a list `x`\n### Response:\n"
    )


def test_braces_in_an_example_stay_as_they_are() -> None:
    shot = Example("1", "make a dict of {x}", "{x: {}}")
    assert render(Example("q", "fill {nl} and {code}", ""), [shot]).count("{") == 5
    assert "{x: {}}" in render(Q, [shot])


def test_corrected_prompts_are_the_same_in_training_and_in_generation_for_every_method() -> None:
    kinds = [(trained, t5, training) for trained in (True, False) for t5 in (True, False) for training in (True, False)]
    texts = {render(A, SHOTS, form_of("corrected", *kind)) for kind in kinds}
    assert texts == {render(A, SHOTS)}


@pytest.mark.parametrize(("is_encoder_decoder", "end"), [(False, ""), (True, "<extra_id_0>")])
def test_the_papers_untuned_prompts_stand_in_python_fences(is_encoder_decoder: bool, end: str) -> None:
    form = form_of("paper", False, is_encoder_decoder)
    assert render(QUERY, SHOTS[:1], form) == (
        "### Instruction:\nsort `y`\n### Response:\n```python\nsorted(y)\n```\n\n"
        "### Instruction:\nreverse a list `x`\n### Response:\n```python\n" + end
    )
    assert form.stop == ("```",)


@pytest.mark.parametrize(
    ("is_encoder_decoder", "training", "before", "end"),
    [
        (False, True, "", ""),
        (False, False, "\n", ""),
        (True, True, "Generate Python code: ", ""),
        (True, False, "\n", "<extra_id_0>"),
    ],
)
def test_the_papers_tuned_prompts_differ_between_training_and_inference(
    is_encoder_decoder: bool, training: bool, before: str, end: str
) -> None:
    form = form_of("paper", True, is_encoder_decoder, training)
    assert render(A, (), form) == f"{before}### Instruction:\na\n### Response:\n{end}"
    assert form.stop is None


def test_the_plain_form_is_that_of_the_paper() -> None:
    assert NAMED["plain"] == form_of("corrected", True, False)


def test_a_fenced_form_shows_and_asks_answers_in_python_fences_and_ends_where_they_close() -> None:
    form = NAMED["fenced"]
    assert render(QUERY, SHOTS[:1], form) == (
        "### Instruction:\nsort `y`\n### Response:\n```python\nsorted(y)\n```\n\n"
        "### Instruction:\nreverse a list `x`\n### Response:\n```python\n"
    )
    assert form.answer.format(code="x[::-1]") == "x[::-1]\n```"
    assert form.stop == ("```",)


def test_the_turns_of_a_chat_are_the_shots_with_their_answers_and_then_the_query() -> None:
    assert turns(QUERY, SHOTS[:1], NAMED["chat"]) == [
        {"role": "user", "content": "sort `y`"},
        {"role": "assistant", "content": "sorted(y)"},
        {"role": "user", "content": "reverse a list `x`"},
    ]


def test_what_was_said_in_a_chat_before_stands_between_the_shots_and_the_query() -> None:
    first = Example("q.0", "sort `x`", "sorted(x)")
    chat = Example("q", "reverse it", "x[::-1]", earlier=(first,))
    assert render(chat, SHOTS[:1]) == render(QUERY, [SHOTS[0], first]).replace("reverse a list `x`", "reverse it")
    assert [each["content"] for each in turns(Q, [chat], NAMED["chat"])] == [
        "sort `x`", "sorted(x)", "reverse it", "x[::-1]", "q"]  # fmt: skip
