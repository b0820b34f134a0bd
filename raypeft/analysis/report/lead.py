"""The answer of a panel in a few sentences: the setting that validation chose, and the best on test beside it.

    print(lead(panel))

The best test score of many is too high by luck, so it never leads alone.
"""

from __future__ import annotations

from raypeft.analysis.report.panels import Panel, Standing
from raypeft.analysis.report.table import measured_text
from raypeft.analysis.report.tables import by_text


def lead(panel: Panel) -> str:
    """Empty where no condition has the score."""
    if not panel.ranked:
        return ""
    top, best, score = panel.ranked[0], panel.best, panel.score
    if len(panel.ranked) == 1:
        return f"{_told(top, panel)}."
    if panel.best_by == score.name:  # nothing was measured on the test
        return f"{top.condition.label} has the lowest {score.title}: {_value(top, panel)}."
    if best is None:
        return f"Nothing was chosen on validation. {_top(panel)}"
    by = by_text(panel.best_by, panel.declared) if panel.best_by else f"{score.title}, among its choices"
    chosen = f"Validation chose {_told(best, panel)} (by {by})."
    if best is top:
        return f"{chosen} It is the best on test as well.{_ties(panel)}"
    return f"{chosen} {_top(panel)}"


def _top(panel: Panel) -> str:
    return f"Best on test, which is optimistic: {_told(panel.ranked[0], panel)}.{_ties(panel)}"


def _told(standing: Standing, panel: Panel) -> str:
    return f"{standing.condition.label}, {panel.score.title} {_value(standing, panel)}"


def _value(standing: Standing, panel: Panel) -> str:
    unit = " %" if panel.score.unit == "fraction" else f" {panel.score.unit}"
    return f"{measured_text(panel.score, standing.scores[panel.score.name])}{unit}"


def _ties(panel: Panel) -> str:
    """How many conditions cannot be told apart from the best on test; empty where that is not known."""
    others = len(panel.ranked) - 1
    tied = sum(each.is_tied for each in panel.ranked) - 1
    if not panel.tie_rule:
        return ""
    if tied <= 0:
        return " No other condition is tied with the best on test."
    if others == 1:
        return " The other condition cannot be told apart from it."
    if tied < others:
        return f" {tied} of the other {others} conditions cannot be told apart from the best on test."
    return f" None of the other {others} conditions can be told apart from the best on test."
