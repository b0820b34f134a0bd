"""Examples of a user's rows: which columns are read, and why a row cannot be used."""

import json
from datetime import datetime
from typing import Any

import pytest

from raypeft.data.declared.declaration import Declaration
from raypeft.data.declared.examples import make_examples
from raypeft.data.declared.files import Row, Table, told
from raypeft.records import Example

TESTS = {"inputs": ["1\n"], "outputs": ["2\n"]}


def table(*rows: dict[str, Any]) -> Table:
    return Table([Row(f"line {number}", row) for number, row in enumerate(rows, start=1)])


def made(row: dict[str, Any], **fields: Any) -> Example:
    examples, problems = make_examples(table(row), Declaration(path="a.jsonl", **fields))
    assert problems == []
    return examples[0]


def refused(row: dict[str, Any], **fields: Any) -> str:
    examples, problems = make_examples(table({}, row), Declaration(path="a.jsonl", **fields))
    assert examples == []
    return told(problems)[-1]


def test_columns_become_instruction_and_answer() -> None:
    assert made({"q": "sum", "a": "sum(x)\n"}, prompt="q", answer="a") == Example("0", "sum", "sum(x)\n")


def test_a_template_joins_columns_and_may_have_braces_of_its_own() -> None:
    row = {"task": "sum", "def.sig": "def f(x):", "code": "return 1"}
    example = made(row, prompt="{{{task}}}\n{def.sig}", answer="{def.sig}\n    {code}")
    assert (example.nl, example.code) == ("{sum}\ndef f(x):", "def f(x):\n    return 1")


@pytest.mark.parametrize("empty", ["", None])
def test_a_column_of_a_template_may_be_empty(empty: Any) -> None:
    row = {"instruction": "sum", "input": empty, "a": "x"}
    assert made(row, prompt="{instruction}\n{input}", answer="a").nl == "sum"


def test_lines_of_columns_templates_and_chats_end_in_line_feeds_alone() -> None:
    row = {"q": "sum\r\nof x", "a": "y = x\r\nsum(y)\r"}
    assert made(row, prompt="q", answer="a") == Example("0", "sum\nof x", "y = x\nsum(y)\n")
    assert made(row, prompt="{q}!", answer="{a}") == Example("0", "sum\nof x!", "y = x\nsum(y)")
    chat = [{"role": "user", "content": "a\r\nb"}, {"role": "assistant", "content": "c\r\nd"}]
    assert made({"m": chat}, messages="m") == Example("0", "a\nb", "c\nd")


def test_lines_of_tests_that_are_code_end_in_line_feeds_alone_and_those_of_inputs_stay() -> None:
    tests: dict[str, Any] = {"asserts": ["x = 1\r\nassert f(x)"], "suffix": "\r\n  return x\r\n"}
    kept = json.loads(made({"q": "q", "t": tests}, prompt="q", tests="t").tests)
    assert kept == {"asserts": ["x = 1\nassert f(x)"], "suffix": "\n  return x\n"}
    tests = {"inputs": ["1\r\n"], "outputs": ["2\r\n"]}
    assert json.loads(made({"q": "q", "t": tests}, prompt="q", tests="t").tests) == tests


def test_ids_come_from_their_column_and_are_made_unique() -> None:
    rows = table(*({"n": number, "q": "q", "a": "a"} for number in (7, 7, 8)))
    examples, _ = make_examples(rows, Declaration(path="a.jsonl", prompt="q", answer="a", id="n"))
    assert [each.id for each in examples] == ["7", "7#2", "8"]


@pytest.mark.parametrize(
    "chat",
    [
        [{"role": "user", "content": "sum"}, {"role": "assistant", "content": "sum(x)"}],
        [{"from": "human", "value": "sum"}, {"from": "gpt", "value": "sum(x)"}],
        json.dumps([{"role": "user", "content": "sum"}, {"role": "assistant", "content": "sum(x)"}]),
    ],
)
def test_a_chat_of_one_exchange_is_an_example(chat: Any) -> None:
    assert made({"messages": chat}, messages="messages") == Example("0", "sum", "sum(x)")


def test_a_systems_message_stands_above_the_instruction() -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "sum"},
            {"role": "assistant", "content": "sum(x)"}]  # fmt: skip
    assert made({"m": chat}, messages="m").nl == "Be brief.\n\nsum"


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_systems_message_leaves_the_instruction_alone(text: str) -> None:
    assert made({"m": [{"role": "system", "content": text}, user("sum"), ANSWER]}, messages="m").nl == "sum"


def test_of_a_chat_of_several_exchanges_the_last_answer_is_the_reference_and_the_others_stand_before() -> None:
    system = {"role": "system", "content": "Be brief."}
    example = made({"m": [system, user("sum"), ANSWER, user("twice"), ANSWER]}, messages="m")
    assert (example.nl, example.code) == ("twice", "sum(x)")
    assert [(each.nl, each.code) for each in example.earlier] == [("Be brief.\n\nsum", "sum(x)")]


@pytest.mark.parametrize(
    ("tests", "kept"),
    [
        (["assert f(1) == 2"], {"asserts": ["assert f(1) == 2"]}),
        ({"asserts": ["assert f(1) == 2"], "setup": "x = 1"}, {"asserts": ["assert f(1) == 2"], "setup": "x = 1"}),
        ({"test": "def check(c):\n    assert c(1) == 2", "entry_point": "f"},
         {"asserts": ["assert c(1) == 2"], "setup": "c = f"}),
    ],
)  # fmt: skip
def test_tests_may_be_code(tests: Any, kept: Any) -> None:
    assert json.loads(made({"q": "double", "t": tests}, prompt="q", tests="t").tests) == kept


@pytest.mark.parametrize("tests", [TESTS, json.dumps(TESTS)])
def test_tests_are_kept_as_text_and_need_no_answer(tests: Any) -> None:
    example = made({"q": "double", "t": tests}, prompt="q", tests="t")
    assert (example.code, json.loads(example.tests)) == ("", TESTS)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no text in a"), ("", "no text in a"), (" \n\t", "no text in a"), (3, "a must be text but is a number"),
        (float("nan"), "a must be text but is a number"), (True, "a must be text but is true or false"),
        (["x"], "a must be text but is a list"), ({"x": 1}, "a must be text but is a mapping"),
        (b"x", "a must be text but is bytes"),
        ("\ud83d!", "a must be text but has '\\ud83d', half of a surrogate pair"),
    ],
)  # fmt: skip
def test_a_value_that_is_no_text_is_named(value: Any, reason: str) -> None:
    assert refused({"q": "sum", "a": value}, prompt="q", answer="a") == f"line 2: {reason}"


def test_a_template_whose_columns_are_all_empty_has_no_text() -> None:
    assert refused({"q": "", "i": None, "a": "x"}, prompt="{q}\n{i}", answer="a") == "lines 1, 2: no text in q, i"


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


ANSWER = {"role": "assistant", "content": "sum(x)"}


@pytest.mark.parametrize(
    ("chat", "reason"),
    [
        (None, "m must be a list of messages but is nothing"), ("hello", "m must be a list of messages but is text"),
        (7, "m must be a list of messages but is a number"), ([], "but is empty"),
        (["hello"], "m must be a list of mappings with role and content"),
        ([user(None), ANSWER], "m must have messages with role and content, both of them text"),
        ([{"content": "x"}, ANSWER], "m must have messages with role and content, both of them text"),
        ([user("a"), ANSWER, user("b")], "but is user, assistant, user"),
        ([user("a"), user("b"), ANSWER], "but is user, user, assistant"),
        ([user("a"), ANSWER, {"role": "system", "content": "x"}], "but is user, assistant, system"),
        ([{"role": "system", "content": "x"}], "but is system"),
        ([ANSWER, user("a")], "but is assistant, user"), ([user("a")], "but is user"),
        ([user(" "), ANSWER], "no text in the user's message of m"),
        ([user("a"), {"role": "assistant", "content": ""}], "no text in the assistant's message of m"),
    ],
)  # fmt: skip
def test_a_chat_whose_turns_are_in_no_order_is_named(chat: Any, reason: str) -> None:
    assert refused({"m": chat}, messages="m").endswith(reason)


@pytest.mark.parametrize(
    ("tests", "reason"),
    [
        (None, "no tests in t"),
        ("", "no tests in t"),
        ([1], "t: "),
        ([], "no tests in t"),
        ("{", "t: "),
        (["f(1) == 2"], "t: a test must have an assert"),
        ({"test": "def check(c):\n    c(1) == 2", "entry_point": "f"}, "t: the function check(candidate) must assert"),
        ({"test": "def check(c):\n    c(1) == 2\ncheck(f)", "entry_point": "f"},
         "t: the function check(candidate) must assert"),
        ("assert f(1) == 2", "t: must be a list of tests, such as [\"assert f(1) == 2\"], or a mapping"),
        ({"inputs": ["1"]}, "t: "),
        ({"inputs": ["1"], "outputs": [datetime(2026, 1, 1)]}, "t: Object of type datetime is not JSON serializable"),
    ],
)  # fmt: skip
def test_tests_in_another_form_are_named(tests: Any, reason: str) -> None:
    assert refused({"q": "double", "t": tests}, prompt="q", tests="t").startswith(f"line 2: {reason}")


def test_a_column_that_no_row_has_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError) as caught:
        make_examples(table({"instruction": "x", "output": "y"}),
                      Declaration(path="a.jsonl", prompt="{instrucion}\n{output}", answer="output"))  # fmt: skip
    assert str(caught.value) == (
        "prompt must name a column but got 'instrucion'; did you mean instruction?; the columns are instruction, output"
    )


@pytest.mark.parametrize(
    ("fields", "told_"),
    [
        ({}, "must have prompt and answer"), ({"prompt": "q"}, "must have answer or tests"),
        ({"prompt": "q", "answer": "a", "messages": "m"}, "must have either messages, or prompt and answer"),
        ({"prompt": "{q", "answer": "a"}, "prompt must have its literal braces doubled"),
        ({"prompt": "{}", "answer": "a"}, "prompt must have plain names of columns"),
        ({"prompt": "{q!r}", "answer": "a"}, "prompt must have plain names of columns"),
        ({"prompt": "{{q}}", "answer": "a"}, "prompt must name a column in braces"),
        ({"prompt": "", "answer": "a"}, "prompt must be a column or a template"),
        ({"prompt": "q", "answer": "a", "stop": ""}, "stop must have strings of at least one character"),
        ({"prompt": "q", "answer": "a", "config": "main"}, "config and revision must be left out unless path is"),
        ({"prompt": "q", "answer": "a", "split": {"test": 0.6, "validation": 0.4}}, "must leave prompts for training"),
    ],
)  # fmt: skip
def test_a_declaration_that_says_too_little_or_too_much_is_refused(fields: dict[str, Any], told_: str) -> None:
    with pytest.raises(ValueError, match=told_.replace("{", r"\{")):
        Declaration(path="a.jsonl", **fields)


@pytest.mark.parametrize(
    ("given", "level"),
    [("hard", "hard"), ("Very hard", "Very_hard"), (3, "3"), (2.0, "2"), (None, ""), (float("nan"), "")],
)
def test_a_level_is_a_word_or_a_number(given: Any, level: str) -> None:
    assert made({"q": "q", "t": TESTS, "l": given}, prompt="q", tests="t", levels="l").level == level


@pytest.mark.parametrize("given", ["low", "Low", "a/b", "x" * 41])
def test_a_level_that_cannot_be_part_of_a_columns_name_is_refused(given: str) -> None:
    assert "l must be a word of letters and digits" in refused(
        {"q": "q", "t": TESTS, "l": given}, prompt="q", tests="t", levels="l"
    )


def test_levels_that_differ_in_capitals_alone_are_refused_since_sql_takes_their_columns_for_one() -> None:
    rows = table(*({"q": "q", "t": TESTS, "l": level} for level in ("Easy", "hard", "easy", "Easy")))
    examples, problems = make_examples(rows, Declaration(path="a.jsonl", prompt="q", tests="t", levels="l"))
    assert [each.level for each in examples] == ["Easy", "hard", "Easy"]
    assert told(problems) == ["line 3: l must differ in more than capitals from other levels but is 'easy', and an "
                              "earlier row has 'Easy'"]  # fmt: skip


def test_levels_without_tests_have_no_effect_and_are_refused() -> None:
    with pytest.raises(ValueError, match="levels has no effect without tests"):
        Declaration(path="a.jsonl", prompt="q", answer="a", levels="l")
