"""Prompt templates of the user's own."""

from typing import Any

import pytest

from raypeft.prompting.forms import NAMED, render
from raypeft.prompting.templates import PromptTemplate, as_text, chosen_form, read_template
from raypeft.records import Example, Form

QUERY = Example("q", "reverse a list `x`", "x[::-1]", starter_code="def f(x):")
SHOT = Example("1", "sort `y`", "sorted(y)", starter_code="def g(y):")


def form_of(template: Any) -> Form:
    form = chosen_form(None, read_template(template))
    assert form is not None
    return form


def test_a_text_is_the_query_and_a_shot_is_the_query_with_its_answer_and_an_empty_line() -> None:
    form = form_of("# {nl}\n")
    assert render(QUERY, [SHOT], form) == ("# sort `y`\ndef g(y):\nsorted(y)\n\n# reverse a list `x`\ndef f(x):\n")
    assert (form.answer, form.stop) == ("{code}", None)


def test_starter_code_stands_where_the_template_puts_it_and_nowhere_else() -> None:
    assert render(QUERY, [SHOT], form_of("{starter_code} # {nl}\n")) == (
        "def g(y): # sort `y`\nsorted(y)\n\ndef f(x): # reverse a list `x`\n"
    )


def test_doubled_braces_are_braces() -> None:
    form = form_of({"query": "{{{nl}}}\n", "answer": "{code}{{end}}"})
    assert render(QUERY, (), form) == "{reverse a list `x`\ndef f(x):}\n"
    assert form.stop == ("{end}",)


def test_a_mapping_gives_shot_answer_and_stop_as_well() -> None:
    form = form_of({"query": "Q {nl}\nA\n", "shot": "{nl} -> {code}\n", "answer": "{code} END", "stop": "STOP"})
    assert render(QUERY, [SHOT], form).startswith("sort `y`\ndef g(y): -> sorted(y)\nQ reverse")
    assert (form.answer, form.stop) == ("{code} END", ("STOP",))


@pytest.mark.parametrize(("answer", "stop"), [("{code}\n---\n", ("---",)), ("{code}\n", None), ("{code}", None)])
def test_what_follows_the_code_ends_an_answer_unless_another_stop_is_given(answer: str, stop: object) -> None:
    assert form_of({"query": "{nl}", "answer": answer}).stop == stop


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("# nl\n", "query must have the placeholder {nl} but got '# nl\\n'"),
        ("{n}", "query must have no other placeholders than {nl}, {starter_code} but got {n}; did you mean nl?"),
        ("{nl} {}", "query must have no other placeholders than {nl}, {starter_code} but got {}"),
        ("{nl.id}", "query must have no other placeholders than {nl}, {starter_code} but got {nl.id}"),
        ("{nl!r}", "query must have plain placeholders, without : or !, but got '{nl!r}'"),
        ("{nl:>9}", "query must have plain placeholders"),
        ("{nl} { x", "query must have its literal braces doubled ({{ and }}) but got '{nl} { x'"),
        ("{nl}\n{starter_code}\n", "query must not end with {starter_code}"),
        ({"query": "{nl}", "shot": "{nl}"}, "shot must have the placeholder {code} but got '{nl}'"),
        ({"query": "{nl}", "answer": "A: {code}"}, "answer must begin with {code}"),
        ({"query": "{nl}", "answer": "A"}, "answer must have the placeholder {code}"),
        ({"query": "{nl}", "stop": ["a", ""]}, "stop must have strings of at least one character but got ['a', '']"),
        ({"query": "{nl}", "stop": 3}, "stop: Input should be a valid tuple but got 3"),
        ({"query": "{nl}", "stopp": "a"}, "must be a mapping of query, shot, answer, stop but got stopp; did you mean"),
        ({"shot": "{nl}"}, "must have query, the text of the query with {nl}, but got none"),
        (3, "must be a text with {nl}, or a mapping of query, shot, answer and stop, but got 3"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused_with_what_is_known(template: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_template(template)
    assert str(caught.value).startswith(message)


def test_a_mapping_is_json_text_in_its_column_and_can_be_read_from_it() -> None:
    given = read_template({"query": "Q {nl}\n", "stop": ["\n"]})
    assert as_text(given) == '{"query": "Q {nl}\\n", "stop": ["\\n"]}'
    assert read_template(as_text(given)) == given == PromptTemplate(query="Q {nl}\n", stop=("\n",))
    assert as_text("# {nl}") == "# {nl}" and as_text(None) is None


def test_a_template_of_a_chat_is_the_users_turn() -> None:
    form = chosen_form("chat", "Write Python. {nl}")
    assert form is not None and form.chat and form.query == "Write Python. {nl}"
    assert chosen_form("chat", None) == NAMED["chat"]
    assert chosen_form(None, None) is None
