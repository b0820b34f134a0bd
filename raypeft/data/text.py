"""Texts of examples and of templates: how they are compared, and what is no text."""

from string import Formatter
from typing import Any

Part = tuple[str, str | None, str | None, str | None]
"""Of a template: its text, and the field behind it with its specification and its conversion."""


def plain(text: str) -> str:
    """A text without what does not tell two instructions apart: case, and the kind and amount of white space."""
    return " ".join(text.casefold().split())


def visible(text: str) -> str:
    """A text that a terminal can show: what is neither printable nor a line break or tab is written as its escape.

    So a text that a model wrote can neither move the cursor, nor turn the direction of writing, nor change a title.
    """
    return "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode() for each in text
    )


def with_line_feeds(text: str) -> str:
    """A text whose lines end in line feeds alone. What is read with carriage returns, no model writes."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def half_of_a_pair(text: str) -> str | None:
    """The first half of a surrogate pair, which is no text to any tokenizer. None where there is none."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return str(error.object[error.start])
    return None


def as_strings(value: Any) -> Any:
    """A list of strings as a tuple; a single string is a list of one."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def template_parts(name: str, text: str) -> list[Part]:
    """The parts of a template with fields in braces. Raises ValueError where its braces are not in order."""
    try:
        return list(Formatter().parse(text))
    except ValueError as error:
        raise ValueError(
            f"{name} must have its literal braces doubled ({{{{ and }}}}) but got {text!r}: {error}"
        ) from None
