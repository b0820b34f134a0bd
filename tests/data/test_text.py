"""Texts of examples: what a terminal can show of them."""

import pytest

from raypeft.data.text import visible


@pytest.mark.parametrize("text", ["x = 'é' # ok\n\ty = '日本'", "", "\\x1b"])
def test_printable_text_with_line_breaks_and_tabs_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("\x1b[2J", "\\x1b[2J"), ("a\rb\x00", "a\\rb\\x00"), ("\u202e", "\\u202e"), ("\x85\u2028", "\\x85\\u2028")],
)
def test_what_steers_a_terminal_is_written_as_its_escape(text: str, shown: str) -> None:
    assert visible(text) == shown
