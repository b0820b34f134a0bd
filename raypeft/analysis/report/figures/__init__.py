"""The figures of a report, in the order in which it shows them. A new one is its file and its line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from raypeft.analysis.report.figures.agreement import agreement
from raypeft.analysis.report.figures.cost import score_against_cost
from raypeft.analysis.report.figures.curves import learning_curves
from raypeft.analysis.report.figures.effects import main_effects
from raypeft.analysis.report.figures.figure import Figure
from raypeft.analysis.report.figures.grids import heat_maps
from raypeft.analysis.report.figures.lines import lines
from raypeft.analysis.report.figures.memory import memory_of, peak_memory
from raypeft.analysis.report.figures.methods import methods
from raypeft.analysis.report.figures.parallel import parallel_coordinates
from raypeft.analysis.report.figures.scores import scores
from raypeft.analysis.report.panels import Panel
from raypeft.analysis.report.study import Study

FIGURES: tuple[Callable[[Panel, Study], Iterator[Figure]], ...] = (
    scores, methods, peak_memory, score_against_cost, heat_maps, lines, main_effects, parallel_coordinates,
    learning_curves, agreement,
)  # fmt: skip
"""Each yields the figures that the rows of a panel allow."""


def figures(panel: Panel, study: Study) -> list[Figure]:
    """All figures of a panel."""
    return [figure for draw in FIGURES for figure in draw(panel, study)]


def figures_without_scores(dataset: str, study: Study) -> list[Figure]:
    """The figures of a dataset on which no trial has scores."""
    return [*memory_of(dataset, study)]
