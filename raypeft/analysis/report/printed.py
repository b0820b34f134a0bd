"""A report on a terminal: the tables of the page, in their order and with their marks, as far as there is room.

    print_report(study, panels(study))
    print(markdown_report(study, panels(study)))

What does not fit gives way: first the intervals of all scores but the one that orders, then columns from the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from raypeft.analysis.report.cautions import cautions
from raypeft.analysis.report.exports import markdown
from raypeft.analysis.report.lead import lead
from raypeft.analysis.report.panels import Panel
from raypeft.analysis.report.study import Study
from raypeft.analysis.report.table import Table, TableColumn
from raypeft.analysis.report.tables import MARKS, results, tables, unscored
from raypeft.analysis.report.terminal import MOST_LINES, SHOWS_ALL, older_lines, unscored_lines
from raypeft.analysis.report.verdict_table import verdict_lines
from raypeft.analysis.warnings import warnings

MOST_WARNINGS = 12
"""Warnings that are printed where not all are asked for."""
SETTINGS = 24
"""Characters of the settings that a line has at least: they may be folded."""
GAP = 3
"""Characters between two columns."""
IDS = "trial"
"""The heading over the ids of trials."""


@dataclass(frozen=True, slots=True)
class Printed:
    """A table as texts, with a column for the marks."""

    columns: tuple[TableColumn, ...]
    lines: tuple[tuple[str, ...], ...]

    def width(self, folded: bool = True) -> int:
        """Characters that it takes; `folded`: where the settings are folded as far as they may be."""
        return sum(self._width(place, folded) + GAP for place in range(len(self.columns)))

    def _width(self, place: int, folded: bool) -> int:
        title = self.columns[place].title
        widest = max([len(title), *(len(line[place]) for line in self.lines)])
        return min(widest, SETTINGS) if folded and title == "settings" else widest

    def without(self, place: int) -> Printed:
        """The same without a column."""
        lines = tuple((*line[:place], *line[place + 1 :]) for line in self.lines)
        return Printed((*self.columns[:place], *self.columns[place + 1 :]), lines)

    def without_interval(self, place: int) -> Printed:
        """The same without the bounds of a score."""
        column = replace(self.columns[place], title=self.columns[place].title.removesuffix(" [95 %]"))
        lines = tuple((*line[:place], line[place].partition(" [")[0], *line[place + 1 :]) for line in self.lines)
        return Printed((*self.columns[:place], column, *self.columns[place + 1 :]), lines)


def print_report(
    study: Study, found: Sequence[Panel], most: int | None = MOST_LINES, console: Console | None = None
) -> None:
    """Print what the study shows. Of more lines than `most` the first are printed; None: all, single trials as well."""
    console = console or Console()
    if not study.rows:
        _say(console, f"{study.state}: no trial has a row yet")
    for panel in found:
        _say(console, lead(panel))
        for table in tables(panel, study) if most is None else results(panel, study, most):
            _print_table(console, table, most)
    told = [*cautions(study, found), *warnings(study.scored)]
    for text in told if most is None else told[:MOST_WARNINGS]:
        _say(console, f"warning: {text}")
    if most is not None and len(told) > MOST_WARNINGS:
        _say(console, f"and {len(told) - MOST_WARNINGS} more warnings ({SHOWS_ALL})")
    for line in [*unscored_lines(study.rows, study.declared, most), *older_lines(study.rows)]:
        _say(console, line)
    if study.is_unfinished and study.rows:
        _say(console, study.state)
    for line in verdict_lines(study):
        _say(console, line)


def markdown_report(study: Study, found: Sequence[Panel]) -> str:
    """The tables as GitHub's Markdown; empty where there are no rows."""
    every = [table for panel in found for table in results(panel, study)]
    without = unscored(study)
    return "\n".join(map(markdown, [*every, *([without] if without else [])])).rstrip("\n")


def _say(console: Console, text: str) -> None:
    """A line, or, on a terminal, as many as it takes, those that follow as far to the right as the first."""
    indent = len(text) - len(text.lstrip())
    if console.is_terminal:
        console.print(Padding(Text(text.lstrip()), (0, 0, 0, indent)))
    else:
        console.print(Text(text), soft_wrap=True)


def _print_table(console: Console, table: Table, most: int | None) -> None:
    lines = len(table.lines) + table.left_out
    cut = f" The best {most} of {lines:,} lines ({SHOWS_ALL})." if most is not None and lines > most else ""
    _say(console, f"{table.title}. {table.caption}{cut}")
    whole = _printed(table, most)
    # Outside a terminal there is no width to keep to, and a folded table is no use to anyone.
    shown, lacking = fitted(whole, console.width, keep_ids=most is None) if console.is_terminal else (whole, [])
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in shown.columns:
        justify: Literal["right", "left"] = "right" if column.numeric else "left"
        grid.add_column(Text(column.title), justify=justify, no_wrap=column.title != "settings")
    for line, texts in zip(table.lines[:most], shown.lines, strict=True):
        grid.add_row(*map(Text, texts), style="bold" if "best" in line.marks else None)
    if not console.is_terminal:
        console.width = max(console.width, whole.width(folded=False))
    console.print(grid)
    if lacking:
        columns = "column" if len(lacking) == 1 else "columns"
        _say(console, f"no room here for the {columns} {', '.join(lacking)} (--markdown prints whole tables)")


def _printed(table: Table, most: int | None) -> Printed:
    """The first lines of a table; its marks stand behind the settings."""
    titles = [column.title for column in table.columns]
    if not any(MARKS.keys() & set(line.marks) for line in table.lines):
        return Printed(table.columns, tuple(line.cells for line in table.lines[:most]))
    place = titles.index("settings") + 1
    columns = (*table.columns[:place], TableColumn("marks", numeric=False), *table.columns[place:])
    lines = tuple((*line.cells[:place], _marks(line.marks), *line.cells[place:]) for line in table.lines[:most])
    return Printed(columns, lines)


def _marks(marks: Sequence[str]) -> str:
    """The best one is chosen anyway, which need not take room."""
    return ", ".join(MARKS[mark] for mark in marks if not (mark == "chosen" and "best" in marks))


def fitted(printed: Printed, width: int, keep_ids: bool = False) -> tuple[Printed, list[str]]:
    """What so many characters have room for, and the headings of what they have not."""
    scores = [place for place, column in enumerate(printed.columns) if column.title.endswith(" [95 %]")]
    for place in scores[1:]:
        if printed.width() > width:
            printed = printed.without_interval(place)
    first = next((place for place, column in enumerate(printed.columns) if column.numeric), 0)
    lacking: list[str] = []
    while printed.width() > width:
        droppable = [place for place in range(first + 1, len(printed.columns))
                     if not (keep_ids and printed.columns[place].title == IDS)]  # fmt: skip
        if not droppable:
            break
        lacking.insert(0, printed.columns[droppable[-1]].title)
        printed = printed.without(droppable[-1])
    return printed, lacking
