"""Peak GPU memory of each model and method against the budget: the kind of Figure 1 of arXiv 2308.10462.

The paper shows the peak of fine-tuning on a card of 24 GB. Here the training's peak is the solid bar, and the peak of
the whole trial, decoding included, the pale one. A model and method that no trial measured has its predicted peak.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

import altair as alt

from raypeft.analysis.report.figures.figure import Figure, colour, over_rows, paper_cross, room_for_words, tooltip
from raypeft.analysis.report.panels import Panel
from raypeft.analysis.report.paper import published
from raypeft.analysis.report.study import Row, Study
from raypeft.results.declarations import tested_on

MOST = 40
"""Bars that one figure has room for."""
PEAK, TRAINING, PREDICTED = "peak_memory_allocated_gb", "train_peak_memory_allocated_gb", "predicted_peak_memory_gb"
BUDGET = "gpu_memory_gb"
FARTHEST = 8
"""A budget that is more times the longest bar has no line: the bars would be too short to compare."""
PAPER_BATCH = 8
"""Examples in a training batch of the paper's runs; peaks with other batches are not compared."""
BUDGETS = "budgets"
"""Name of the data of the vertical lines."""
MEASURED, OUT, ONLY_PREDICTED = "measured", "out of memory", "predicted"


def peak_memory(panel: Panel, study: Study) -> Iterator[Figure]:
    """Where two models or methods or more have a measured or a predicted peak, one of them measured."""
    rows = [*panel.rows, *(row for row in study.unscored if tested_on(row) == panel.dataset)]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["model"], row["tuning_method"]), []).append(row)
    bars = [bar for found in groups.values() if (bar := _bar(found)) is not None]
    if len(bars) < 2 or all(bar["state"] == ONLY_PREDICTED for bar in bars):
        return
    bars.sort(key=lambda bar: bar["peak"])
    several = len(panel.models) > 1 or len({bar["model"] for bar in bars}) > 1
    told = bars[:MOST]
    for bar in told:
        bar["bar"] = f"{bar['model']} {bar['method']}" if several else bar["method"]
    ids = {bar["id"] for bar in told}
    budgets = sorted({float(row[BUDGET]) for row in rows if row["id"] in ids and row.get(BUDGET)})
    budgets = [each for each in budgets if each <= FARTHEST * told[-1]["peak"]]
    yield Figure(
        "peak_memory", "Peak GPU memory of each model and method" if several else "Peak GPU memory of each method",
        _caption(told, len(bars), budgets), told, _chart(told, panel, budgets),
        {BUDGETS: [{"gb": each, "text": f"budget {each:g} GiB"} for each in budgets]} if budgets else {},
        is_wide=several,
    )  # fmt: skip


def _bar(rows: Sequence[Row]) -> dict[str, Any] | None:
    """The dearest trial of a model and method: measured, else out of memory, else predicted. None: nothing is known."""
    ran_out = [row for row in rows if row["status"] == "oom" and _gb(row, PEAK)]
    measured = [row for row in rows if row["status"] != "oom" and _gb(row, PEAK)]
    predicted = [row for row in rows if _gb(row, PREDICTED)]
    for state, found, column in (
        (MEASURED, measured, PEAK),
        (OUT, ran_out, PEAK),
        (ONLY_PREDICTED, predicted, PREDICTED),
    ):
        if found:
            row = max(found, key=lambda each: _gb(each, column))
            return _of_row(row, state, _gb(row, column))
    return None


def _of_row(row: Row, state: str, peak: float) -> dict[str, Any]:
    training = _gb(row, TRAINING) if state == MEASURED else 0.0
    paper = published(row, TRAINING) if row.get("per_device_train_batch_size") == PAPER_BATCH else None
    theirs = paper.value if paper else None
    words = {MEASURED: "", OUT: ", oom", ONLY_PREDICTED: " predicted"}[state]
    return {
        "bar": "", "model": row["model"], "method": row["tuning_method"], "group": row["tuning_method"], "state": state,
        "peak": peak, "training": training or None, "predicted": row.get(PREDICTED), "paper": theirs,
        "text": f"{peak:.3g}{words}", "end": max(peak, theirs or 0.0), "id": row["id"],
    }  # fmt: skip


def _gb(row: Mapping[str, Any], column: str) -> float:
    """A peak in GiB; 0 where it is not known."""
    value = float(row.get(column) or 0.0)
    return value if isfinite(value) else 0.0


def _chart(told: Sequence[Mapping[str, Any]], panel: Panel, budgets: Sequence[float]) -> Any:
    # A line outside the axis would squeeze the whole chart, so the axis reaches every budget.
    scale = room_for_words(told, 1.05 * max(budgets, default=0.0))
    across = alt.X("peak:Q", title="peak GPU memory, GiB", scale=scale)
    down = alt.Y("bar:N", sort=[bar["bar"] for bar in told], title=None,
                 axis=alt.Axis(grid=False, ticks=False, labelPadding=8))  # fmt: skip
    group = colour("method", [bar["method"] for bar in told], panel)
    if len({bar["model"] for bar in told}) == 1:
        group = group.legend(None)  # each bar has its method's name
    tips = tooltip(("bar:N", "model and method"), ("state:N", "peak"), ("peak:Q", "whole trial, GiB"),
                   ("training:Q", "training, GiB"), ("predicted:Q", "predicted, GiB"),
                   ("paper:Q", "the paper, GB"), ("id:N", "trial"))  # fmt: skip
    known = over_rows().transform_filter(f"datum.state == '{MEASURED}'")
    unknown = over_rows().transform_filter(f"datum.state != '{MEASURED}'")
    whole = known.mark_bar(opacity=0.35, size=15).encode(x=across, y=down, color=group, tooltip=tips)
    training = known.mark_bar(size=15).encode(x="training:Q", y=down, color=group, tooltip=tips)
    outlined = unknown.mark_bar(size=14, filled=False, strokeWidth=1.5, strokeDash=[4, 3]).encode(
        x=across, y=down, color=group, tooltip=tips)  # fmt: skip
    # The words of a long hollow bar stand in it: beside it they would leave the figure.
    long = f"(datum.state != '{MEASURED}' && datum.peak > {0.5 * max(bar['end'] for bar in told)})"
    words = [
        over_rows().transform_filter(f"!{long}").mark_text(align="left", dx=9).encode(x="end:Q", y=down, text="text:N"),
        over_rows().transform_filter(long).mark_text(align="right", dx=-6).encode(x="peak:Q", y=down, text="text:N"),
    ]  # fmt: skip
    has_unknown = any(bar["state"] != MEASURED for bar in told)
    layers = [whole, training, *([outlined] if has_unknown else []), *words]
    if any(bar["paper"] is not None for bar in told):
        layers.append(paper_cross(over_rows()).encode(x="paper:Q", y=down, tooltip=tips))
    if budgets:
        base = alt.Chart(alt.NamedData(name=BUDGETS))
        layers += [
            base.mark_rule(strokeDash=[6, 3], strokeWidth=1.5).encode(x="gb:Q"),
            base.mark_text(align="right", baseline="bottom", dx=-3, dy=-2, fontSize=11).encode(
                x="gb:Q", y=alt.value(0), text="text:N"),
        ]  # fmt: skip
    return alt.layer(*layers).properties(height=24 * len(told))


def _caption(told: Sequence[Mapping[str, Any]], every: int, budgets: Sequence[float]) -> str:
    parts = ["Solid: the peak in training; pale: the peak of the whole trial, decoding included. The dearest trial of "
             "each."]  # fmt: skip
    states = {bar["state"] for bar in told}
    if ONLY_PREDICTED in states:
        parts.append("Dashed: predicted by raypeft, where no trial measured it.")
    if OUT in states:
        parts.append("oom: the peak so far when the memory ran out, so it needs more.")
    if budgets:
        parts.append("Vertical lines: the memory that a trial may use." if len(budgets) > 1 else
                     "Vertical line: the memory that a trial may use.")  # fmt: skip
    if any(bar["paper"] is not None for bar in told):
        parts.append("Crosses: the paper's peak in fine-tuning (Figure 1 of arXiv 2308.10462v3, in GB as printed; its "
                     "code pads every batch), to compare with the solid bar.")  # fmt: skip
    if len(told) < every:
        parts.append(f"The {len(told)} of {every} that need least.")
    return " ".join(parts)
