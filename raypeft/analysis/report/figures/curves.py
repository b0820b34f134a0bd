"""Learning curves: validation and training loss over training, with the checkpoint that was chosen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import altair as alt

from raypeft.analysis.report.figures.figure import (
    Figure,
    chosen_score_title,
    colour,
    colour_of,
    described,
    over_rows,
    score_choice,
    tooltip,
)  # fmt: skip
from raypeft.analysis.report.panels import Panel
from raypeft.analysis.report.study import Study

MOST_TRIALS = 80
LOSSES = {"eval_loss": "validation loss, nats per token", "train_loss": "training loss, nats per token"}
WIDE_RANGE = 4.0
"""Ratio of the highest to the lowest loss from which the axis is logarithmic."""


def learning_curves(panel: Panel, study: Study) -> Iterator[Figure]:
    """For trials with two evaluations or more."""
    by_row = {row["id"]: each for each in panel.standings for row in each.condition.trials}
    known = [trial for trial in by_row if len(study.evaluations.get(trial, ())) > 1]
    known.sort(key=lambda trial: min(each["eval_loss"] or 1e9 for each in study.evaluations[trial]))
    if not known:
        return
    told = known[:MOST_TRIALS]
    named, groups = colour_of(panel, [by_row[trial] for trial in told])
    rows: list[dict[str, Any]] = []
    best_steps = {row["id"]: row.get("best_step") for row in panel.rows}
    for trial in told:
        standing = by_row[trial]
        shared = {**described(standing), "id": trial, "group": groups[standing.row["id"]]}
        for each in study.evaluations[trial]:
            for column, title in LOSSES.items():
                if each.get(column) is not None:
                    rows.append({**shared, "step": each["step"], "epoch": each["epoch"], "score": title,
                                 "value": each[column], "best": each["step"] == best_steps[trial]})  # fmt: skip
    values = [row["value"] for row in rows]
    wide = min(values) > 0 and max(values) > WIDE_RANGE * min(values)
    base = over_rows().transform_filter("datum.score == shown_score")
    across = alt.X("epoch:Q", title="epoch")
    up = alt.Y(
        "value:Q", title=None, scale=alt.Scale(type="log", nice=False, padding=8) if wide else alt.Scale(zero=False)
    )
    group = colour(named, list(groups.values()), panel.methods)
    tips = tooltip(("condition:N", "condition"), ("value:Q", "loss"), ("step:Q", "step"), ("id:N", "trial"))
    line = base.mark_line(opacity=0.7, strokeWidth=1.5).encode(x=across, y=up, color=group, detail="id:N", tooltip=tips)
    point = base.transform_filter("datum.best").mark_point(size=70).encode(x=across, y=up, color=group, tooltip=tips)
    titles = list(dict.fromkeys(row["score"] for row in rows))
    layers = [line, *([point] if any(row["best"] for row in rows) else [])]
    chart = alt.layer(*layers).add_params(score_choice(titles)).properties(title=chosen_score_title("left"))
    caption = (
        "One line a trial. Points: the checkpoint with the lowest validation loss, which is the one that is tested."
    )
    if len(known) > len(told):
        caption += f" The {len(told)} of {len(known)} trials with the lowest validation loss."
    yield Figure("learning_curves", "Learning curves", caption, rows, chart)
