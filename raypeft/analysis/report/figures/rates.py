"""Score or loss against the learning rate, one line for each rank (or whatever else is swept)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

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
from raypeft.analysis.report.panels import Panel, Standing, criterion
from raypeft.analysis.report.study import Study

MOST_LINES = 12


def learning_rates(panel: Panel, study: Study) -> Iterator[Figure]:
    """For conditions that differ in their learning rate; lines of one point are left out."""
    rated = [each for each in panel.standings if each.condition.fields.get("learning_rate") is not None]
    lines: dict[str, list[Standing]] = {}
    swept = [name for name in panel.swept(rated) if name != "learning_rate"]
    several = len({each.condition.fields["tuning_method"] for each in rated}) > 1
    for each in rated:
        lines.setdefault(_line(each, panel, swept, several), []).append(each)
    lines = {name: found for name, found in lines.items() if len(_rates(found)) > 1}
    if not lines:
        return
    left_out = max(0, len(lines) - MOST_LINES)
    told = dict(list(lines.items())[:MOST_LINES])
    rows = [row for name, found in told.items() for row in _rows(name, found, panel)]
    titles = list(dict.fromkeys(row["score"] for row in rows))
    base = over_rows().transform_filter("datum.score == shown_score")
    across = alt.X(
        "rate:Q",
        title="learning rate",
        scale=alt.Scale(type="log", nice=False, padding=15),
        axis=alt.Axis(format=".0e", values=sorted({row["rate"] for row in rows}), labelOverlap=True),
    )
    up = alt.Y("value:Q", title=None, scale=alt.Scale(zero=False))
    group = alt.Color("group:N", title=None, scale=alt.Scale(domain=in_order(list(told))))
    tips = tooltip(("condition:N", "condition"), ("value:Q", "mean"), ("least:Q", "lowest seed"),
                   ("most:Q", "highest seed"), ("seeds:Q", "seeds"), ("id:N", "trial"))  # fmt: skip
    line = base.mark_line().encode(x=across, y=up, color=group)
    spread = base.mark_rule(opacity=0.5).encode(x=across, y="least:Q", y2="most:Q", color=group)
    point = base.mark_point().encode(x=across, y=up, color=group, tooltip=tips)
    ring = base.transform_filter("datum.optimum").mark_point(size=220, filled=False, strokeWidth=2).encode(
        x=across, y=up, color=group, tooltip=tips)  # fmt: skip
    several_seeds = any(row["least"] is not None for row in rows)
    chart = alt.layer(line, *([spread] if several_seeds else []), point, ring).add_params(score_choice(titles))
    chart = chart.properties(title=chosen_score_title("left"))
    caption = "Means over seeds; vertical lines: the range of the seeds. " if several_seeds else ""
    caption += "Rings: the best rate of a line on validation."
    if left_out:
        caption += f" {left_out} further lines are left out."
    yield Figure("learning_rate", f"{panel.score.title} against the learning rate", caption, rows, chart)


def _line(each: Standing, panel: Panel, swept: Sequence[str], several: bool) -> str:
    """The name of a condition's line: what else it has that others have otherwise."""
    fields = each.condition.fields
    method = [fields["tuning_method"]] if several else []
    model = [fields["model"]] if len(panel.models) > 1 else []
    values = [f"{short(name)} {value_text(fields[name])}" for name in swept if fields.get(name) is not None]
    text = " ".join([*model, *method, ", ".join(values)]).strip()
    return text or fields["tuning_method"]


def _rates(found: Sequence[Standing]) -> set[float]:
    return {each.condition.fields["learning_rate"] for each in found}


def _rows(name: str, found: Sequence[Standing], panel: Panel) -> list[dict[str, Any]]:
    by, sign = criterion([each.condition for each in found], panel.score)
    best = max(found, key=lambda each: sign * (each.mean(by) or 0.0)) if by else None
    return [
        {**described(each), "group": name, "rate": each.condition.fields["learning_rate"],
         "score": axis_title(score), **shown(score, each.scores[score.name]), "optimum": each is best}
        for each in sorted(found, key=lambda each: each.condition.fields["learning_rate"])
        for score in panel.scores if score.name in each.scores
    ]  # fmt: skip
