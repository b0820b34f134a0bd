"""Score or loss against the learning rate or the number of shots, one line for each rank, retriever and so on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

import altair as alt
import numpy as np

from raypeft.analysis.choosing import criterion
from raypeft.analysis.report.figures.figure import (
    Figure,
    axis_title,
    chosen_score_title,
    described,
    in_order,
    over_rows,
    score_choice,
    short,
    shown,
    tooltip,
    value_text,
)  # fmt: skip
from raypeft.analysis.report.panels import Panel, Standing
from raypeft.analysis.report.study import Study

MOST_LINES = 12
LABEL = 0.1
"""Least distance of two labels of the horizontal axis, as a part of it."""
OPTIMA = "optima"
"""Name of the data of the optima."""
TRACK = 8
"""Height of the strip that each optimum has above the plot, in pixels."""


@dataclass(frozen=True, slots=True)
class Across:
    """A swept field that makes the horizontal axis."""

    field: str
    title: str
    is_logarithmic: bool


FIELDS = (Across("learning_rate", "learning rate", True), Across("num_shots", "number of shots", False))
"""Fields whose course people ask about. Score against shots is the kind of Figure 6 of arXiv 2308.10462."""


def lines(panel: Panel, study: Study) -> Iterator[Figure]:
    """For each of these fields in which conditions differ that are otherwise the same."""
    for across in FIELDS:
        found = _by_line(panel, across.field)
        if found:
            yield _figure(panel, across, found)


def _by_line(panel: Panel, field: str) -> dict[str, list[Standing]]:
    """The conditions by the name of their line; lines of one point are left out."""
    known = [each for each in panel.standings if each.condition.fields.get(field) is not None]
    groups: dict[str, list[Standing]] = {}
    for each in known:
        groups.setdefault(each.condition.fields["tuning_method"], []).append(each)
    found: dict[str, list[Standing]] = {}
    for inside in groups.values():
        swept = [name for name in panel.swept(inside) if name != field]
        for each in inside:
            found.setdefault(_line(each, panel, swept, len(groups) > 1), []).append(each)
    return {name: inside for name, inside in found.items() if len({_place(each, field) for each in inside}) > 1}


def _place(each: Standing, field: str) -> float:
    return each.condition.fields[field]


def _figure(panel: Panel, field: Across, found: dict[str, list[Standing]]) -> Figure:
    told = dict(list(found.items())[:MOST_LINES])
    rows = [row for name, inside in told.items() for row in _rows(name, inside, panel, field.field)]
    titles = list(dict.fromkeys(row["score"] for row in rows))
    base = over_rows().transform_filter("datum.score == shown_score")
    places = sorted({row["place"] for row in rows})
    scale = {"type": "log"} if field.is_logarithmic else {"zero": False}
    form = ".0e" if field.is_logarithmic else "d"
    across = alt.X(
        "place:Q",
        title=field.title,
        scale=alt.Scale(nice=False, padding=15, **scale),
        # Vega would leave out every second label, and as a format it takes some for ticks between decades.
        axis=alt.Axis(labelExpr=f"format(datum.value, '{form}')", labelOverlap=False,
                      values=labelled(places, field.is_logarithmic)),
    )  # fmt: skip
    up = alt.Y("value:Q", title=None, scale=alt.Scale(zero=False))
    optima = _optima(told, panel, field.field) if field.is_logarithmic else []
    # The legend stands above the bars of the optima.
    room = TRACK - min((row["above"] for row in optima), default=0)
    group = alt.Color("group:N", title=None, scale=alt.Scale(domain=in_order(list(told))),
                      legend=alt.Legend(offset=room))  # fmt: skip
    tips = tooltip(("condition:N", "condition"), ("value:Q", "mean"), ("least:Q", "lowest seed"),
                   ("most:Q", "highest seed"), ("seeds:Q", "seeds"), ("id:N", "trial"))  # fmt: skip
    line = base.mark_line().encode(x=across, y=up, color=group)
    spread = base.mark_rule(opacity=0.5).encode(x=across, y="least:Q", y2="most:Q", color=group)
    point = base.mark_point().encode(x=across, y=up, color=group, tooltip=tips)
    ring = base.transform_filter("datum.optimum").mark_point(size=220, filled=False, strokeWidth=2).encode(
        x=across, y=up, color=group, tooltip=tips)  # fmt: skip
    several_seeds = any(row["least"] is not None for row in rows)
    rings = [ring] if any(row["optimum"] for row in rows) else []
    bars = _bars(group, field) if optima else []
    layers = [line, *([spread] if several_seeds else []), point, *rings, *bars]
    chart = alt.layer(*layers).add_params(score_choice(titles))
    chart = chart.properties(title=chosen_score_title("left"))
    seeds = "Means over seeds; vertical lines: the range of the seeds. "
    caption = seeds if several_seeds else "One point a condition. "
    if rings:
        caption += f"Rings: the best {field.title} of a line on validation. "
    if optima:
        caption += (
            "Bars above the plot: where the optimum of a line lies (95 %), with a dot at the median; a bar that "
            f"reaches the lowest or the highest {field.title} of its line may go on beyond it. "
        )
    if len(found) > len(told):
        caption += f"{len(found) - len(told)} further lines are left out."
    title = f"{panel.score.title} against the {field.title}"
    return Figure(field.field, title, caption.strip(), rows, chart, {OPTIMA: optima} if optima else {})


def labelled(places: Sequence[float], is_logarithmic: bool) -> list[float]:
    """The places of an axis, in order, that have room for their labels; the last one always."""
    at = [log10(max(place, 1e-12)) if is_logarithmic else float(place) for place in places]
    kept = [len(places) - 1]
    for number in range(len(places) - 2, -1, -1):
        if at[kept[-1]] - at[number] >= LABEL * (at[-1] - at[0]):
            kept.append(number)
    return [places[number] for number in reversed(kept)]


def _bars(group: Any, field: Across) -> list[Any]:
    """Where the optimum of each line lies: bars above the plot, one below the other, so that all can be seen."""
    tips = tooltip(("group:N", "line"), ("optimum:Q", "optimum"), ("low:Q", "95 % from"), ("high:Q", "to"))
    base = alt.Chart(alt.NamedData(name=OPTIMA)).transform_filter("datum.score == shown_score")
    up = alt.Y("above:Q", scale=None, axis=None)  # pixels; the plot begins at 0
    bar = base.mark_rule(strokeWidth=4, opacity=0.6).encode(
        x=alt.X("low:Q", title=field.title), x2="high:Q", y=up, color=group, tooltip=tips)  # fmt: skip
    dot = base.mark_point(size=30, opacity=1).encode(
        x=alt.X("optimum:Q", title=field.title), y=up, color=group, tooltip=tips)  # fmt: skip
    return [bar, dot]


def _optima(lines: dict[str, list[Standing]], panel: Panel, field: str) -> list[dict[str, Any]]:
    """The optimum of each line with its 95 % interval, for each score.

    A line has none where its best value is an end, and where one seed alone ran around the best value.
    """
    from raypeft.analysis.statistics.optima import FEWEST_VALUES, curve, draws, have_seeds

    rows: list[dict[str, Any]] = []
    for score in panel.scores:
        sign = -score.scale if score.higher_is_better else score.scale
        for name, inside in lines.items():
            known = [each for each in inside if score.name in each.scores]
            places = [_place(each, field) for each in known]
            values = [[sign * row[score.name] for row in each.condition.rows] for each in known]
            if len(set(places)) < max(len(places), FEWEST_VALUES):
                continue
            made = curve(places, values)
            if not made.is_inside or not have_seeds([made]):
                continue
            # The error of interpolation can carry a draw past the values that were tried, of which nothing is known.
            found = np.clip(draws([made], seed=1)[:, 0], made.decades[0], made.decades[-1])
            low, middle, high = 10 ** np.quantile(found, [0.025, 0.5, 0.975])
            rows.append({"group": name, "score": axis_title(score), "value": abs(float(made.means.min())),
                         "optimum": float(middle), "low": float(low), "high": float(high)})  # fmt: skip
    strips = in_order([row["group"] for row in rows])
    return [{**row, "above": TRACK * (strips.index(row["group"]) - len(strips))} for row in rows]


def _line(each: Standing, panel: Panel, swept: Sequence[str], several: bool) -> str:
    """The name of a condition's line: what else it has that others have otherwise."""
    fields = each.condition.fields
    method = [fields["tuning_method"]] if several else []
    model = [fields["model"]] if len(panel.models) > 1 else []
    values = [f"{short(name)} {value_text(fields[name])}" for name in swept if fields.get(name) is not None]
    text = " ".join([*model, *method, ", ".join(values)]).strip()
    return text or fields["tuning_method"]


def _rows(name: str, found: Sequence[Standing], panel: Panel, field: str) -> list[dict[str, Any]]:
    by, sign = criterion([each.condition for each in found], panel.score)
    best = max(found, key=lambda each: sign * (each.mean(by) or 0.0)) if by else None
    return [
        {**described(each), "group": name, "place": _place(each, field),
         "score": axis_title(score), **shown(score, each.scores[score.name]), "optimum": each is best}
        for each in sorted(found, key=lambda each: _place(each, field))
        for score in panel.scores if score.name in each.scores
    ]  # fmt: skip
