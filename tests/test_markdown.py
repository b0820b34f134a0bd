"""Tables in Markdown are read as tables, whatever their cells hold."""

import pytest

from raypeft.markdown import markdown_table


def test_a_table_has_its_headings_a_rule_and_its_lines() -> None:
    assert markdown_table(("method", "EM@1"), [("lora", 17.5)], ("---", "---:")) == [
        "| method | EM@1 |", "| --- | ---: |", "| lora | 17.5 |"]  # fmt: skip


def test_bars_and_line_breaks_stay_in_their_cell() -> None:
    markdown_it = pytest.importorskip("markdown_it")
    lines = markdown_table(("a|b", "n"), [("<|user|>\n{prompt}", 1)])
    html = markdown_it.MarkdownIt("commonmark").enable("table").render("\n".join(lines))
    assert html.count("<tr>") == 2 and html.count("<td>") == 2
    assert "<td>&lt;|user|&gt; {prompt}</td>" in html
