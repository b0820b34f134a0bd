"""Peak GPU memory of each model and method against the budget: the kind of Figure 1 of arXiv 2308.10462.

The paper shows the peak of fine-tuning on a card of 24 GB. Here the training's peak is the solid bar, and the peak of
the whole trial, decoding included, the pale one. Trials that ran out of memory, or were predicted not to fit, have
bars of their own. Published peaks stand on lines of their own, because what they were measured on is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

import altair as alt

from raypeft.analysis.report.figures.figure import Figure, colour, over_rows, paper_cross, room_for_words, tooltip
from raypeft.analysis.report.panels import Panel
from raypeft.analysis.report.paper import published_peak
from raypeft.analysis.report.study import Row, Study
from raypeft.analysis.settings import settings
from raypeft.results.declarations import tested_on

MOST = 40
"""Bars that one figure has room for."""
PEAK, TRAINING, PREDICTED = "peak_memory_allocated_gb", "train_peak_memory_allocated_gb", "predicted_peak_memory_gb"
BUDGET = "gpu_memory_gb"
FARTHEST = 8
"""A budget that is more times the longest bar has no line: the bars would be too short to compare."""
BUDGETS = "budgets"
"""Name of the data of the vertical lines."""
MEASURED, OUT, ONLY_PREDICTED, PUBLISHED = "measured", "out of memory", "predicted", "published"
HAS_ENDED = ("ok", "generated")
"""Statuses of trials that measured all of their peak."""
LINE = ": "
"""Where the name of a bar goes on in a new line."""
Bar = dict[str, Any]


def peak_memory(panel: Panel, study: Study) -> Iterator[Figure]:
    """That of the trials that were tested on the panel's dataset."""
    return memory_of(panel.dataset, study)


def memory_of(dataset: str, study: Study) -> Iterator[Figure]:
    """Where two models or methods have a peak, or one trial ran out of memory or was predicted not to fit.

    It needs no trial with scores, so a sweep in which every trial ran out of memory has it too.
    """
    rows = [row for row in (*study.scored, *study.unscored) if tested_on(row) == dataset]
    texts = dict(zip((row["id"] for row in rows), settings(rows, study.declared), strict=True))
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["model"], row["tuning_method"]), []).append(row)
    found = [bars for group in groups.values() if (bars := _bars(group, texts))]
    if all(bar["is_of_all"] and bar["state"] == ONLY_PREDICTED for bars in found for bar in bars):
        return
    if sum(map(len, found)) < 2 and found[0][0]["state"] == MEASURED:
        return
    found.sort(key=lambda bars: max(bar["peak"] for bar in bars))
    several = len({row["model"] for row in rows}) > 1
    every = [bar for bars in found for bar in bars]
    told = _with_published(every[:MOST], several)
    budgets = _budgets(told, rows)
    yield Figure(
        "peak_memory", "Peak GPU memory of each model and method" if several else "Peak GPU memory of each method",
        _caption(told, rows, len(every), budgets), told, _chart(told, budgets, [row["tuning_method"] for row in rows]),
        {BUDGETS: [{"gb": each, "text": f"budget {each:g} GiB"} for each in budgets]} if budgets else {},
        is_wide=several,
    )  # fmt: skip


def _bars(rows: Sequence[Row], texts: Mapping[str, str]) -> list[Bar]:
    """The dearest trial of a model and method in each way to end: measured, out of memory, predicted not to fit.

    What was not measured, and did not run out of memory, has the highest prediction.
    """
    of_state = {
        MEASURED: ([row for row in rows if row["status"] in HAS_ENDED], PEAK),
        OUT: ([row for row in rows if row["status"] == "oom"], PEAK),
        ONLY_PREDICTED: ([row for row in rows if row["status"] == "infeasible"], PREDICTED),
    }
    bars = []
    for state, (inside, column) in of_state.items():
        known = [row for row in inside if _gb(row, column)]
        if known:
            bars.append(_of_row(max(known, key=lambda each: _gb(each, column)), state, column, texts))
    known = [row for row in rows if _gb(row, PREDICTED)]
    if not bars and known:
        row = max(known, key=lambda each: _gb(each, PREDICTED))
        bars.append({**_of_row(row, ONLY_PREDICTED, PREDICTED, texts), "is_of_all": True})
    return bars


def _of_row(row: Row, state: str, column: str, texts: Mapping[str, str]) -> Bar:
    peak = _gb(row, column)
    words = {MEASURED: f"{peak:.3g}", OUT: f"ran out at {peak:.3g}", ONLY_PREDICTED: f"{peak:.3g} predicted"}[state]
    return {
        "bar": "", "model": row["model"], "method": row["tuning_method"], "group": row["tuning_method"], "state": state,
        "peak": peak, "training": (_gb(row, TRAINING) if state == MEASURED else 0.0) or None,
        "predicted": row.get(PREDICTED), "paper": None, "paper_gb": None, "text": words, "end": peak,
        "batch": row.get("per_device_train_batch_size"), "settings": texts[row["id"]], "id": row["id"],
        "is_of_all": False,
    }  # fmt: skip


def _with_published(bars: Sequence[Bar], several: bool) -> list[Bar]:
    """The bars with their names, and each published peak after the last bar that may be of its model and method."""
    is_mixed = len({bar["state"] for bar in bars}) > 1
    published = [published_peak(bar["model"], bar["method"]) for bar in bars]
    last = {(each.name, bar["method"]): place for place, (bar, each) in enumerate(zip(bars, published, strict=True))
            if each}  # fmt: skip
    told: list[Bar] = []
    for place, (bar, theirs) in enumerate(zip(bars, published, strict=True)):
        name = f"{bar['model']}: {bar['method']}" if several else bar["method"]
        words = {MEASURED: "", OUT: ", ran out", ONLY_PREDICTED: ", predicted"}[bar["state"]] if is_mixed else ""
        told.append({**{key: value for key, value in bar.items() if key != "is_of_all"}, "bar": f"{name}{words}"})
        if theirs and last[theirs.name, bar["method"]] == place:
            told.append({
                **dict.fromkeys(told[-1]), "bar": LINE.join([*theirs.name.split(", "), f"{bar['method']}, the paper"]),
                "model": theirs.name, "method": bar["method"], "group": bar["method"], "state": PUBLISHED,
                "paper": round(theirs.gib, 4), "paper_gb": theirs.gb, "text": f"{theirs.gib:.3g} published",
                "end": theirs.gib,
            })  # fmt: skip
    return told


def _budgets(told: Sequence[Bar], rows: Sequence[Row]) -> list[float]:
    """The budgets of the trials that are shown, without those so far away that no bar could be read."""
    ids = {bar["id"] for bar in told}
    found = sorted({float(row[BUDGET]) for row in rows if row["id"] in ids and row.get(BUDGET)})
    return [each for each in found if each <= FARTHEST * max(bar["end"] for bar in told)]


def _gb(row: Mapping[str, Any], column: str) -> float:
    """A peak in GiB; 0 where it is not known."""
    value = float(row.get(column) or 0.0)
    return value if isfinite(value) else 0.0


def _chart(told: Sequence[Bar], budgets: Sequence[float], methods: Sequence[str]) -> Any:
    # A line outside the axis would squeeze the whole chart, so the axis reaches every budget.
    scale = room_for_words(told, 1.05 * max(budgets, default=0.0))
    across = alt.X("peak:Q", title="peak GPU memory, GiB", scale=scale)
    down = alt.Y("bar:N", sort=[bar["bar"] for bar in told], title=None,
                 axis=alt.Axis(grid=False, ticks=False, labelPadding=8, labelLineHeight=12,
                               labelOffset=-6 if any(LINE in bar["bar"] for bar in told) else 0,
                               labelExpr=f"split(datum.value, '{LINE}')"))  # fmt: skip
    ours = [bar for bar in told if bar["state"] != PUBLISHED]
    group = colour("method", [bar["method"] for bar in ours], methods)
    if len({bar["model"] for bar in ours}) == 1:
        group = group.legend(None)  # each bar has its method's name
    tips = tooltip(("bar:N", "bar"), ("state:N", "peak"), ("peak:Q", "whole trial, GiB"),
                   ("training:Q", "training, GiB"), ("predicted:Q", "predicted, GiB"), ("settings:N", "settings"),
                   ("batch:Q", "examples in a batch"), ("id:N", "trial"))  # fmt: skip
    known = over_rows().transform_filter(f"datum.state == '{MEASURED}'")
    unknown = over_rows().transform_filter(f"datum.state == '{OUT}' || datum.state == '{ONLY_PREDICTED}'")
    whole = known.mark_bar(opacity=0.35, size=15).encode(x=across, y=down, color=group, tooltip=tips)
    training = known.mark_bar(size=15).encode(x="training:Q", y=down, color=group, tooltip=tips)
    outlined = unknown.mark_bar(size=14, filled=False, strokeWidth=1.5, strokeDash=[4, 3]).encode(
        x=across, y=down, color=group, tooltip=tips)  # fmt: skip
    # The words of a long hollow bar stand in it: beside it they would leave the figure.
    hollow = f"(datum.state == '{OUT}' || datum.state == '{ONLY_PREDICTED}')"
    long = f"({hollow} && datum.peak > {0.5 * max(bar['end'] for bar in told)})"
    # The edge keeps them readable where the line of a budget runs through them.
    words = [
        over_rows().transform_filter(where).mark_text(align=side, dx=gap, **style).encode(x=x, y=down, text="text:N")
        for style in ({"style": "halo"}, {})
        for where, side, gap, x in ((f"!{long}", "left", 9, "end:Q"), (long, "right", -6, "peak:Q"))
    ]  # fmt: skip
    states = {bar["state"] for bar in told}
    layers = [*([whole, training] if MEASURED in states else []),
              *([outlined] if states & {OUT, ONLY_PREDICTED} else [])]  # fmt: skip
    if PUBLISHED in states:
        theirs = tooltip(("bar:N", "published"), ("paper_gb:Q", "as printed, GB"), ("paper:Q", "GiB"))
        layers.append(paper_cross(over_rows()).encode(x="paper:Q", y=down, tooltip=theirs))
    if budgets:
        base = alt.Chart(alt.NamedData(name=BUDGETS))
        layers += [
            base.mark_rule(strokeDash=[6, 3], strokeWidth=1.5).encode(x="gb:Q"),
            base.mark_text(align="right", baseline="bottom", dx=-3, dy=-2, fontSize=11).encode(
                x="gb:Q", y=alt.value(0), text="text:N"),
        ]  # fmt: skip
    step = 12 * max(len(bar["bar"].split(LINE)) for bar in told) + 9
    return alt.layer(*layers, *words).properties(height=step * len(told))


def _caption(told: Sequence[Bar], rows: Sequence[Row], every: int, budgets: Sequence[float]) -> str:
    states = {bar["state"] for bar in told}
    parts = []
    if MEASURED in states:
        parts.append("Solid: the peak in training; pale: the peak of the whole trial, decoding included. Of several "
                     "trials of a model and method, the one with the highest peak is shown.")  # fmt: skip
    if OUT in states:
        parts.append("Dashed, ran out: a trial that ran out of memory, at the peak so far; it needs more.")
    if ONLY_PREDICTED in states:
        parts.append("Dashed, predicted: raypeft's prediction, where no trial measured a peak or it was predicted not "
                     "to fit.")  # fmt: skip
    unknown = sum(row["status"] == "oom" and not _gb(row, PEAK) for row in rows)
    if unknown:
        parts.append(f"{unknown} trial{'s' if unknown > 1 else ''} ran out of memory and noted no peak.")
    if budgets:
        parts.append("Vertical lines: the memory that a trial may use." if len(budgets) > 1 else
                     "Vertical line: the memory that a trial may use.")  # fmt: skip
    if PUBLISHED in states:
        unnamed = any("CodeLlama" in bar["model"] for bar in told if bar["state"] == PUBLISHED)
        variant = ", nor which variant of CodeLlama it was" if unnamed else ""
        parts.append("Crosses, on lines of their own: the peak in fine-tuning that the paper prints (Figure 1 of arXiv "
                     "2308.10462v3), converted from GB (10^9 bytes) to GiB (2^30)."
                     "  Do not read it as a comparison: the dataset and "
                     f"the batch that it was measured with are not known{variant}.")  # fmt: skip
    if every > MOST:
        parts.append(f"The {MOST} of {every} bars that need least.")
    return " ".join(parts)
