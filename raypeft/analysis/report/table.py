"""A table of a report, as data, and how its cells are written.

A cell has a text for people. A line has `values`, by the name of a column, for programs (CSV).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from raypeft.analysis.report.panels import Measured, Panel
from raypeft.analysis.report.study import Study
from raypeft.analysis.settings import split_settings
from raypeft.metrics.metric import Score


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A heading."""

    title: str
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Line:
    """A line: its texts, and what it is sorted by in each column (None: its text)."""

    cells: tuple[str, ...]
    sort: tuple[Any, ...] = ()
    id: str = ""
    """Id of the trial to which it leads."""
    marks: tuple[str, ...] = ()
    """Of MARKS."""
    values: dict[str, Any] = field(default_factory=dict)
    """What it says, by column of the CSV file."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table."""

    name: str
    title: str
    caption: str
    columns: tuple[TableColumn, ...]
    lines: tuple[Line, ...]
    left_out: int = 0
    """Lines that were not made, since nobody is shown them."""


def measured_text(score: Score, measured: Measured | None) -> str:
    """A score with its interval, or with the range of its seeds: `17.5 [11.3, 26.1]`."""
    if measured is None:
        return ""
    digits = 1 if score.unit == "fraction" else 3
    mean = f"{score.scale * measured.mean:.{digits}f}"
    if measured.low is None or measured.high is None:
        return mean
    return f"{mean} [{score.scale * measured.low:.{digits}f}, {score.scale * measured.high:.{digits}f}]"


def settings_of(panel: Panel, study: Study) -> tuple[list[str], list[str]]:
    """The settings that all conditions have, and each condition's others."""
    rows = [{**each.row, "seed": None, "icl_seed": None} for each in panel.standings]
    return split_settings(rows, panel.declared)
