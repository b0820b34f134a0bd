"""Tables in GitHub's Markdown. Whatever a cell holds stays in it: prompt templates have bars and line breaks.

markdown_table(["method", "EM@1"], [["lora", 17.5]], rules=["---", "---:"])     # its lines
"""

from collections.abc import Iterable, Sequence
from typing import Any


def markdown_table(
    headings: Sequence[str], lines: Iterable[Sequence[Any]], rules: Sequence[str] | None = None
) -> list[str]:
    """The lines of a table. `rules` stand below the headings: `---:` where a column is flush right."""
    return [_row(headings), _joined(rules or ["---"] * len(headings)), *map(_row, lines)]


def _row(cells: Sequence[Any]) -> str:
    return _joined([str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells])


def _joined(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
