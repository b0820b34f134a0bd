"""Every condition's score with its interval, best first: the figure that most sweeps are run for."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt

from raypeft.analysis.report.figures.figure import (
    Figure,
    axis_title,
    brief,
    chosen_score_title,
    colour,
    colour_of,
    described,
    over_rows,
    paper_cross,
    score_choice,
    shown,
    tooltip,
)  # fmt: skip
from raypeft.analysis.report.panels import Panel, Standing
from raypeft.analysis.report.paper import published
from raypeft.analysis.report.study import Study

MOST = 40
"""Conditions that one figure has room for."""


def scores(panel: Panel, study: Study) -> Iterator[Figure]:
    """Where two conditions or more have a score."""
    told = panel.ranked[:MOST]
    if len(told) < 2:
        return
    named, groups = colour_of(panel, told)
    rows = []
    for each in told:
        for score in panel.scores:
            if score.name not in each.scores:
                continue
            paper = published(each.condition.fields, score.name)
            rows.append({
                **described(each), "condition": brief(panel, each), "score": axis_title(score),
                **shown(score, each.scores[score.name]),
                "group": groups[each.row["id"]], "paper": paper.value if paper else None,
            })  # fmt: skip
    titles = list(dict.fromkeys(row["score"] for row in rows))
    order = [brief(panel, each) for each in told]
    base = over_rows().transform_filter("datum.score == shown_score")
    across = alt.Y("condition:N", sort=order, title=None, axis=alt.Axis(grid=False, ticks=False, labelPadding=8))
    shape = alt.Shape("chosen:N", legend=None, scale=alt.Scale(
        domain=["", "chosen on validation"], range=["circle", "diamond"]))  # fmt: skip
    point = base.mark_point(size=90, opacity=1).encode(
        x=alt.X("value:Q", title=None, scale=alt.Scale(zero=False)), y=across, shape=shape,
        color=colour(named, list(groups.values()), panel.methods),
        tooltip=tooltip(("condition:N", "condition"), ("value:Q", "score"), ("low:Q", "low"), ("high:Q", "high"),
                        ("seeds:Q", "seeds"), ("chosen:N", "mark"), ("id:N", "trial")),
    )  # fmt: skip
    interval = base.mark_rule(strokeWidth=2, opacity=0.6).encode(
        x="low:Q", x2="high:Q", y=across, color=colour(named, list(groups.values()), panel.methods))  # fmt: skip
    spread = base.mark_tick(thickness=2, size=9, opacity=0.9).encode(
        x="least:Q", y=across, color=colour(named, list(groups.values()), panel.methods))  # fmt: skip
    layers = [
        *([interval] if any(row["low"] is not None for row in rows) else []),
        *([spread, spread.encode(x="most:Q")] if any(row["least"] is not None for row in rows) else []), point,
    ]  # fmt: skip
    if any(row["paper"] is not None for row in rows):
        tips = tooltip(("condition:N", "condition"), ("paper:Q", "the paper"))
        layers.append(paper_cross(base).encode(x="paper:Q", y=across, tooltip=tips))
    chart = alt.layer(*layers).add_params(score_choice(titles)).properties(
        height=22 * len(told), title=chosen_score_title())  # fmt: skip
    yield Figure("scores", f"{panel.score.title} of each condition", _caption(panel, len(told), rows), rows, chart,
                 is_wide=True)  # fmt: skip


def _caption(panel: Panel, told: int, rows: list[dict[str, object]]) -> str:
    parts = [f"Ordered by {panel.score.title}, best first."]
    if any(row["low"] is not None for row in rows):
        parts.append("Lines: 95 % intervals, over seeds with three seeds or more, else over test examples.")
    if any(row["least"] is not None for row in rows):
        parts.append("Ticks: the lowest and the highest seed.")
    if any(row["chosen"] for row in rows):
        parts.append("Diamonds: chosen on validation among the conditions of their method.")
    if any(row["paper"] is not None for row in rows):
        parts.append("Crosses: published values (arXiv 2308.10462v3, same model, method and dataset).")
    if any(_is_at_best_shots(each, panel) for each in panel.ranked[:told]):
        parts.append("ICL and RAG have no cross: the published values are at the paper's best number of shots, which "
                     "need not be that of a line.")  # fmt: skip
    if told < len(panel.ranked):
        parts.append(f"The best {told} of {len(panel.ranked)} conditions.")
    return " ".join(parts)


def _is_at_best_shots(each: Standing, panel: Panel) -> bool:
    """Whether the paper has a value of this method, but not of a known number of shots."""
    fields, name = each.condition.fields, panel.score.name
    return published(fields, name) is None and published(fields, name, best_shots=True) is not None
