"""Parallel coordinates: every condition as one line over all swept fields, which ends at its score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from raypeft.analysis.report.figures.figure import (
    Figure,
    axis_title,
    described,
    over_rows,
    short,
    shown,
    tooltip,
    value_text,
)  # fmt: skip
from raypeft.analysis.report.panels import Panel, Standing
from raypeft.analysis.report.study import Study

MOST_LINES = 300
MOST_AXES = 8
FEWEST_CONDITIONS = 5
BEST, WORST = "#d55e00", "#9aa0ab"
"""Colours that can be seen on white paper and on a dark screen."""
NONE = "–"
"""Stands on an axis for conditions without the field."""
STEP, WIDTH = 112, 1_080
"""Least distance of two axes, and the width over which many of them are spread, in pixels."""


def parallel_coordinates(panel: Panel, study: Study) -> Iterator[Figure]:
    """Where two fields or more are swept (the method counts as one) and five conditions have a score."""
    told = panel.ranked[:MOST_LINES]
    names = [*(["tuning_method"] if len(panel.methods) > 1 else []), *(["model"] if len(panel.models) > 1 else []),
             *panel.swept(told)][:MOST_AXES]  # fmt: skip
    if len(told) < FEWEST_CONDITIONS or len(names) < 2:
        return
    is_wide = len(names) > 3
    titles = [*(short(name) for name in names), axis_title(panel.score)]
    sides = {name: _side(told, name) for name in names}
    rows = [row for place, each in enumerate(told) for row in _line(each, place / len(told), sides, panel)][::-1]
    labels = [
        {"axis": short(name), "place": _place(side, text), "text": text}
        for name, side in sides.items()
        for text in side
    ]
    ends = _ends(told, panel)
    labels += [{"axis": titles[-1], "place": place, "text": text} for place, text in ends]
    across = alt.X(
        "axis:N",
        sort=titles,
        title=None,
        scale=alt.Scale(type="point", padding=0.4),
        axis=alt.Axis(orient="top", labelAngle=0, domain=False, ticks=False, grid=True, labelPadding=12),
    )
    up = alt.Y("place:Q", axis=None, scale=alt.Scale(domain=[-0.03, 1.03], nice=False))
    line = over_rows().mark_line(strokeWidth=1.6, opacity=0.65).encode(
        x=across, y=up, detail="id:N",
        color=alt.Color("rank:Q", legend=None, scale=alt.Scale(range=[BEST, WORST], interpolate="rgb")),
        tooltip=tooltip(("condition:N", "condition"), ("value:Q", panel.score.title), ("id:N", "trial")),
    )  # fmt: skip
    # Lines run through the words, so the words stand on an edge of the paper's colour.
    halo, mark = (
        alt.Chart(alt.NamedData(name="labels")).mark_text(align="left", dx=7, fontSize=11, **style).encode(
            x=across, y=up, text="text:N")
        for style in ({"style": "halo"}, {})
    )  # fmt: skip
    tick = alt.Chart(alt.NamedData(name="labels")).mark_tick(orient="horizontal", thickness=1.5, size=9).encode(
        x=across, y=up)  # fmt: skip
    caption = (
        f"One line a condition, coloured by its place in the order of {panel.score.title}: from the best (orange) to "
        "the last (grey)."
    )
    if len(told) < len(panel.ranked):
        caption += f" The best {len(told)} of {len(panel.ranked)} conditions."
    if any(NONE in side for side in sides.values()):
        caption += f" {NONE}: the field does not apply, such as a learning rate where nothing is trained."
    step = max(STEP, min(190, WIDTH // len(titles))) if is_wide else STEP
    chart = alt.layer(line, tick, halo, mark).properties(width=alt.Step(step), height=320)
    title = f"All swept fields and {panel.score.title}"
    yield Figure("parallel_coordinates", title, caption, rows, chart, {"labels": labels}, is_wide=is_wide)


def _side(told: Sequence[Standing], name: str) -> list[str]:
    """The texts of an axis, from the bottom up; a condition without the field stands below."""
    values = {value_text(each.condition.fields[name]): each.condition.fields[name]
              for each in told if each.condition.fields.get(name) is not None}  # fmt: skip
    numbers = all(isinstance(value, int | float) for value in values.values())
    order = sorted(values, key=lambda text: values[text]) if numbers else sorted(values)
    return [*([NONE] if any(each.condition.fields.get(name) is None for each in told) else []), *order]


def _place(side: Sequence[str], text: str) -> float:
    return side.index(text) / max(1, len(side) - 1)


def _line(each: Standing, rank: float, sides: dict[str, list[str]], panel: Panel) -> Iterator[dict[str, Any]]:
    measured = shown(panel.score, each.scores[panel.score.name])
    shared = {**described(each), **measured, "rank": rank}
    for name, side in sides.items():
        value = each.condition.fields.get(name)
        text = NONE if value is None else value_text(value)
        yield {**shared, "axis": short(name), "place": _place(side, text), "text": text}
    low, high = _range([*panel.ranked[:MOST_LINES]], panel)
    place = (each.scores[panel.score.name].mean - low) / ((high - low) or 1.0)
    yield {**shared, "axis": axis_title(panel.score), "place": place, "text": f"{measured['value']:.4g}"}


def _range(told: Sequence[Standing], panel: Panel) -> tuple[float, float]:
    values = [each.scores[panel.score.name].mean for each in told]
    return min(values), max(values)


def _ends(told: Sequence[Standing], panel: Panel) -> list[tuple[float, str]]:
    low, high = _range(told, panel)
    return [(share, f"{panel.score.scale * (low + share * (high - low)):.4g}") for share in (0.0, 0.5, 1.0)]
