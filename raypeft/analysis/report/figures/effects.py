"""Main effects and interactions: which swept field matters for the score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import altair as alt

from raypeft.analysis.report.figures.figure import Figure, name_of, over_rows, short, told_apart, tooltip
from raypeft.analysis.report.panels import Panel, Standing, by_method
from raypeft.analysis.report.study import Study
from raypeft.analysis.report.variance import complete_factors, decomposition

FEWEST_CELLS = 4
MOST_FACTORS = 6


def main_effects(panel: Panel, study: Study) -> Iterator[Figure]:
    """For each model and method whose swept fields make a complete grid of two factors or more."""
    for key, found in by_method(panel).items():
        shares = _shares(panel, found)
        if shares:
            yield _figure(panel, told_apart(key, panel), shares, found)


def _shares(panel: Panel, found: Sequence[Standing]) -> list[tuple[str, float]]:
    names = panel.swept(found)
    if len(found) < FEWEST_CELLS or not 2 <= len(names) <= MOST_FACTORS:
        return []
    cells = [{short(name): each.condition.fields.get(name) for name in names} for each in found]
    factors = complete_factors(cells, [short(name) for name in names])
    values = [[row[panel.score.name] for row in each.condition.rows] for each in found]
    if len(factors) < 2 or len({len(each) for each in values}) > 1:
        return []
    return decomposition(cells, factors, values)


def _figure(panel: Panel, key: Sequence[str], shares: Sequence[tuple[str, float]], found: Sequence[Standing]) -> Figure:
    score = panel.score
    rows = [{"effect": name, "share": round(100 * share, 4)} for name, share in shares]
    order = [row["effect"] for row in rows]
    across = alt.X("share:Q", title="share of the variance, %", scale=alt.Scale(domain=[0, 100]))
    up = alt.Y("effect:N", sort=order, title=None, axis=alt.Axis(grid=False, ticks=False, labelPadding=8))
    bar = over_rows().mark_bar(height={"band": 0.62}, cornerRadiusEnd=2).encode(
        x=across, y=up, tooltip=tooltip(("effect:N", "effect"), ("share:Q", "share, %")))  # fmt: skip
    text = over_rows().mark_text(align="left", dx=5).encode(x=across, y=up, text=alt.Text("share:Q", format=".1f"))
    caption = (
        f"Analysis of variance of {score.title} over {len(found)} conditions, a complete grid; × is an interaction: "
        "what two fields do together beyond what each does alone. Fields that were swept together count as one. The "
        "shares hold for the values that were tried: a wider range of a field gives it a larger share."
    )
    name = name_of("effects", *key)
    title = f"What explains {score.title}" + (f": {' '.join(key)}" if key else "")
    return Figure(name, title, caption, rows, alt.layer(bar, text).properties(height=26 * len(rows)))
