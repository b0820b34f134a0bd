"""Main effects and interactions: which swept field matters for the score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import altair as alt

from raypeft.analysis.report.figures.figure import Figure, name_of, over_rows, short, told_apart, tooltip, value_text
from raypeft.analysis.report.panels import Panel, Standing, by_method
from raypeft.analysis.report.study import Study
from raypeft.analysis.report.variance import LEAST_KEPT, Cell, complete_grid, decomposition

SMALLEST_GRID = 4
"""Cells of two factors with two values each."""
MOST_FACTORS = 6


@dataclass(frozen=True, slots=True)
class Effects:
    """Shares of the variance, and what they are of."""

    shares: Sequence[tuple[str, float]]
    used: int
    """Number of conditions."""
    left_out: str
    """Which conditions are left out, and why; empty where none is."""


def main_effects(panel: Panel, study: Study) -> Iterator[Figure]:
    """For each model and method whose swept fields, or most of their values, make a complete grid of two factors."""
    for key, found in by_method(panel).items():
        effects = _effects(panel, found)
        if effects and effects.shares:
            yield _figure(panel, told_apart(key, panel), effects)


def _effects(panel: Panel, found: Sequence[Standing]) -> Effects | None:
    names = panel.swept(found)
    if len(found) < SMALLEST_GRID or not 2 <= len(names) <= MOST_FACTORS:
        return None
    # A condition of which a seed failed is no whole cell.
    seeds = max(Counter(len(each.condition.rows) for each in found).items(), key=lambda each: each[::-1])[0]
    whole = [each for each in found if len(each.condition.rows) == seeds]
    cells = [{short(name): each.condition.fields.get(name) for name in names} for each in whole]
    factors, kept = complete_grid(cells, [short(name) for name in names])
    if len(kept) < max(SMALLEST_GRID, LEAST_KEPT * len(found)):
        return None
    used, part = [whole[place] for place in kept], [cells[place] for place in kept]
    values = [[row[panel.score.name] for row in each.condition.rows] for each in used]
    return Effects(decomposition(part, factors, values), len(used), _left_out(cells, part, len(found), seeds))


def _left_out(cells: Sequence[Cell], part: Sequence[Cell], total: int, seeds: int) -> str:
    """What the grid lacks: values of which a condition is missing, and conditions with fewer or more seeds."""
    reasons = []
    if len(part) < len(cells):
        told, kept = ({f"{name} {value_text(value)}": None for each in of for name, value in each.items()}
                      for of in (cells, part))  # fmt: skip
        gone = [text for text in told if text not in kept]
        named = f" ({', '.join(gone)})" if gone else ""
        reasons.append(f"{len(cells) - len(part)} so that the others are a complete grid{named}")
    if len(cells) < total:
        reasons.append(f"{total - len(cells)} that did not run with {seeds} {'seed' if seeds == 1 else 'seeds'}")
    return f"Of {total} conditions are left out: {' and '.join(reasons)}. " if reasons else ""


def _figure(panel: Panel, key: Sequence[str], effects: Effects) -> Figure:
    score = panel.score
    rows = [{"effect": name, "share": round(100 * share, 4)} for name, share in effects.shares]
    order = [row["effect"] for row in rows]
    across = alt.X("share:Q", title="share of the variance, %", scale=alt.Scale(domain=[0, 100]))
    up = alt.Y("effect:N", sort=order, title=None, axis=alt.Axis(grid=False, ticks=False, labelPadding=8))
    bar = over_rows().mark_bar(height={"band": 0.62}, cornerRadiusEnd=2).encode(
        x=across, y=up, tooltip=tooltip(("effect:N", "effect"), ("share:Q", "share, %")))  # fmt: skip
    text = over_rows().mark_text(align="left", dx=5).encode(x=across, y=up, text=alt.Text("share:Q", format=".1f"))
    caption = (
        f"Analysis of variance of {score.title} over {effects.used} conditions, a complete grid; × is an interaction: "
        f"what two fields do together beyond what each does alone. {effects.left_out}Fields that were swept "
        "together count as one. The shares hold for the values that were tried: a wider range of a field gives it a "
        "larger share."
    )
    name = name_of("effects", *key)
    title = f"What explains {score.title}" + (f": {' '.join(key)}" if key else "")
    return Figure(name, title, caption, rows, alt.layer(bar, text).properties(height=26 * len(rows)))
