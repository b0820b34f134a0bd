"""Makes examples of a declared dataset's rows, and says which rows cannot be used and why.

examples, problems = make_examples(table, declaration)
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from raypeft.data.declared.declaration import Declaration, filled, is_template, template_columns
from raypeft.data.declared.files import Problem, Table
from raypeft.data.sources import unique
from raypeft.data.text import half_of_a_pair, with_line_feeds
from raypeft.mistakes import nearest
from raypeft.records import Example
from raypeft.sandbox import parse_tests
from raypeft.sandbox.asserts import can_fail, from_check, is_asserts

RESERVED = ("low", "high", "paper", "validation", "paper_low", "paper_high")
"""Words that no level may have: its columns would have the names of a score's readings (`pass_at_1_low`)."""
ASKING, ANSWERING = ("user", "human"), ("assistant", "gpt")
"""Names of the two sides of a chat: those of OpenAI, and those of ShareGPT."""


class Unusable(ValueError):
    """Why a row cannot be used."""


def make_examples(table: Table, declaration: Declaration) -> tuple[list[Example], list[Problem]]:
    """An example for each row that can be used, and all problems of the table. Ids are made unique.

    Raises ValueError where the table lacks a column.
    """
    check_columns(table, declaration)
    made, problems = [], list(table.problems)
    spelled: dict[str, str] = {}
    for number, row in enumerate(table.rows):
        try:
            example = _example(number, row.values, declaration)
            _check_spelling(example.level, spelled, declaration.levels)
            made.append(example)
        except Unusable as error:
            problems.append(Problem(row.place, str(error)))
    ids = unique([example.id for example in made])
    return [replace(example, id=given) for given, example in zip(ids, made, strict=True)], problems


def repeated_ids(table: Table, declaration: Declaration) -> list[Problem]:
    """The rows whose id an earlier row has. `unique` puts a number behind such an id."""
    if declaration.id is None:
        return []
    seen, found = set[str](), []
    for row in table.rows:
        given = row.values.get(declaration.id)
        if given is not None and str(given) in seen:
            found.append(Problem(row.place, f"{declaration.id} is that of an earlier row; a number is put behind it"))
        seen.add(str(given))
    return found


def check_columns(table: Table, declaration: Declaration) -> None:
    """Raise ValueError naming each column that the declaration names and no row has."""
    present = table.columns
    if not table.rows:
        return
    for field, column in declaration.columns():
        if column not in present:
            raise ValueError(f"{field} must name a column but got {column!r}{nearest(column, present)}; "
                             f"the columns are {', '.join(map(str, present))}")  # fmt: skip


def _example(number: int, values: dict[str, Any], declaration: Declaration) -> Example:
    given = values.get(declaration.id) if declaration.id else None
    example_id = str(number if given is None else given)
    earlier: tuple[Example, ...] = ()
    if declaration.messages:
        *before, (nl, code) = _exchanges(declaration.messages, values.get(declaration.messages))
        earlier = tuple(Example(f"{example_id}.{at}", *each) for at, each in enumerate(before))
    else:
        assert declaration.prompt is not None  # the declaration's own check
        nl = _text(declaration.prompt, values)
        code = _text(declaration.answer, values) if declaration.answer else ""
    tests, level = _tests(declaration.tests, values), _level(declaration.levels, values)
    return Example(example_id, nl, code, tests=tests, level=level, earlier=earlier)


def _level(column: str | None, values: dict[str, Any]) -> str:
    """The level of a row: a word or a number; it becomes part of the names of columns. Empty where there is none."""
    value = values.get(column) if column else None
    if value is None or (isinstance(value, float) and math.isnan(value)):  # NaN: an empty cell of a table
        return ""
    level = f"{value:g}" if isinstance(value, float) else str(value).strip()
    if not re.fullmatch(r"[\w+.-]{0,40}", level.replace(" ", "_")) or level.lower() in RESERVED:
        raise Unusable(f"{column} must be a word of letters and digits, other than {', '.join(RESERVED)}, but is "
                       f"{level[:60]!r}")  # fmt: skip
    return level.replace(" ", "_")


def _check_spelling(level: str, spelled: dict[str, str], column: str | None) -> None:
    """Raise Unusable where an earlier row has this level in other letters: SQL would take their columns for one.

    `spelled` has the levels of earlier rows by their small letters, and is added to.
    """
    if (first := spelled.setdefault(level.lower(), level)) != level:
        raise Unusable(f"{column} must differ in more than capitals from other levels but is {level!r}, and an "
                       f"earlier row has {first!r}")  # fmt: skip


def _text(source: str, values: dict[str, Any]) -> str:
    """The text of a column or template. In a template a column may be empty, as long as the whole is not."""
    texts = {column: _column(column, values.get(column), is_template(source)) for column in template_columns(source)}
    if not any(text.strip() for text in texts.values()):
        raise Unusable(f"no text in {', '.join(texts)}")
    return filled(source, texts).rstrip() if is_template(source) else texts[source]


def _column(name: str, value: Any, may_be_empty: bool) -> str:
    if value is None and may_be_empty:
        return ""
    if value is None:
        raise Unusable(f"no text in {name}")
    if not isinstance(value, str):
        raise Unusable(f"{name} must be text but is {_kind(value)}")
    return _sound(name, value)


def _sound(name: str, text: str) -> str:
    """The text with line feeds alone. Half of a surrogate pair is no text to any tokenizer."""
    if half := half_of_a_pair(text):
        raise Unusable(f"{name} must be text but has {half!r}, half of a surrogate pair")
    return with_line_feeds(text)


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a mapping",
             bytes: "bytes"}  # fmt: skip
    return kinds.get(type(value), f"of type {type(value).__name__}")


def _exchanges(column: str, value: Any) -> list[tuple[str, str]]:
    """The instructions of a chat and their answers. A system's message stands above the first instruction."""
    turns = list(_turns(column, value))
    roles = [role for role, _ in turns]
    first = turns[:1] if turns[:1] and turns[0][0] == "system" else []
    system = "".join(f"{text}\n\n" for _, text in first if text.strip())
    spoken = turns[len(first) :]
    if not spoken or [role for role, _ in spoken] != ["user", "assistant"] * (len(spoken) // 2):
        raise Unusable(f"{column} must be messages of the user and the assistant in turn, perhaps after a system's, "
                       f"but is {', '.join(roles) or 'empty'}")  # fmt: skip
    for role, text in spoken:
        if not text.strip():
            raise Unusable(f"no text in the {role}'s message of {column}")
    pairs = [(asked, answer) for (_, asked), (_, answer) in zip(spoken[::2], spoken[1::2], strict=True)]
    return [(system + pairs[0][0], pairs[0][1]), *pairs[1:]]


def _turns(column: str, value: Any) -> Iterator[tuple[str, str]]:
    """(role, text) of each message, in OpenAI's words (role, content) or ShareGPT's (from, value)."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise Unusable(f"{column} must be a list of messages but is text") from None
    if not isinstance(value, list):
        raise Unusable(f"{column} must be a list of messages but is {'nothing' if value is None else _kind(value)}")
    for message in value:
        if not isinstance(message, dict):
            raise Unusable(f"{column} must be a list of mappings with role and content")
        role, text = message.get("role", message.get("from")), message.get("content", message.get("value"))
        if not isinstance(role, str) or not isinstance(text, str):
            raise Unusable(f"{column} must have messages with role and content, both of them text")
        yield ("user" if role in ASKING else "assistant" if role in ANSWERING else role), _sound(column, text)


def _tests(column: str | None, values: dict[str, Any]) -> str:
    """The tests as JSON text in one of the sandbox's forms; empty where no column is named.

    A list is taken as assertions, and a mapping of test and entry_point as a function check(candidate) in HumanEval's
    form.
    """
    if column is None:
        return ""
    value = values.get(column)
    try:
        if isinstance(value, str) and value.strip():
            value = _json_of(column, value)
        if isinstance(value, list) and value:
            value = {"asserts": value}
        if isinstance(value, dict) and {"test", "entry_point"} <= value.keys():
            value = _from_check(column, str(value["test"]), str(value["entry_point"]))
        if not isinstance(value, dict):
            raise Unusable(f"no tests in {column}")
        if is_asserts(value):
            value = {name: _code_with_line_feeds(code) for name, code in value.items()}
        text = json.dumps(value)
        parse_tests(text)
    except (ValueError, TypeError) as error:  # TypeError: a date, bytes, a decimal
        raise error if isinstance(error, Unusable) else Unusable(f"{column}: {error}") from None
    return text


def _from_check(column: str, test: str, entry_point: str) -> dict[str, Any]:
    made = from_check(test, entry_point)
    runs_whole = made["asserts"] == [f"check({entry_point})"]  # else it was taken apart into what it asserts
    if runs_whole and not can_fail(made["setup"]):
        raise Unusable(f"{column}: the function check(candidate) must assert something, or every program would pass")
    return made


def _code_with_line_feeds(code: Any) -> Any:
    """A text or a list of texts with line feeds alone, as answers have them; anything else as it is."""
    if isinstance(code, list):
        return [_code_with_line_feeds(each) for each in code]
    return with_line_feeds(code) if isinstance(code, str) else code


def _json_of(column: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unusable(f"{column}: must be a list of tests, such as [\"assert f(1) == 2\"], or a mapping, or either as "
                       f"JSON text, but is the text {text[:40]!r}, which is no JSON ({error})") from None  # fmt: skip
