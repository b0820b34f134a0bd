"""A heat map of any two swept fields, such as LoRA's r and alpha with the diagonals alpha = r and alpha = 2r."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import altair as alt

from raypeft.analysis.choosing import criterion
from raypeft.analysis.report.figures.figure import (
    Figure,
    described,
    name_of,
    over_rows,
    short,
    shown,
    told_apart,
    tooltip,
    value_text,
)  # fmt: skip
from raypeft.analysis.report.panels import Panel, Standing, by_method, values_of_field
from raypeft.analysis.report.study import Study
from raypeft.metrics.metric import Score

MOST_MAPS = 4
SMALLEST_MAP = 4
"""Cells of two fields with two values each."""
GAPS = alt.Scale(paddingInner=0.08)
FIRST = ("lora_r", "lora_alpha", "learning_rate", "num_shots", "num_train_epochs")
"""Fields that studies ask about most: the maps of these come first."""


def heat_maps(panel: Panel, study: Study) -> Iterator[Figure]:
    """For each model and method, and each two of its swept fields that make four cells or more."""
    made = 0
    for key, found in by_method(panel).items():
        for pair in _pairs(panel.swept(found)):
            if made < MOST_MAPS and _is_grid(pair, found):
                made += 1
                yield _map(pair, found, panel, told_apart(key, panel))


def _pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    order = sorted(names, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    return list(combinations(order, 2))


def _is_grid(pair: tuple[str, str], found: Sequence[Standing]) -> bool:
    cells = {tuple(str(each.condition.fields.get(name)) for name in pair) for each in found}
    sides = [len(values_of_field(found, name)) for name in pair]
    return len(cells) >= SMALLEST_MAP and min(sides) > 1 and 2 * len(cells) >= sides[0] * sides[1]


def _map(pair: tuple[str, str], found: Sequence[Standing], panel: Panel, key: Sequence[str]) -> Figure:
    score = panel.score
    by, sign = criterion([each.condition for each in found], score)
    cells: dict[tuple[str, str], list[Standing]] = {}
    for each in found:
        place = tuple(value_text(each.condition.fields.get(name)) for name in pair)
        cells.setdefault((place[0], place[1]), []).append(each)
    rows = []
    for (one, other), inside in cells.items():
        best = max(inside, key=lambda each: sign * (each.mean(by) or 0.0)) if by else inside[0]
        measured = shown(score, best.scores[score.name])
        rows.append({**described(best), "one": one, "other": other, **measured, "trials": len(inside),
                     "interval": _interval(measured, score), "diagonal": _diagonal(pair, best)})  # fmt: skip
    _add_shade(rows, score.higher_is_better)
    alone = all(row["trials"] == 1 for row in rows)
    name = name_of("map", *key, *pair)
    title = f"{score.title} by {short(pair[0])} and {short(pair[1])}" + (f": {' '.join(key)}" if key else "")
    return Figure(name, title, _caption(rows, by, alone), rows, _chart(rows, pair, found, panel))


def _add_shade(rows: Sequence[dict[str, Any]], higher: bool) -> None:
    """`shade`: 0 for the worst cell and 1 for the best, by rank, so that one diverged cell does not hide the others."""
    values = sorted({row["value"] for row in rows}, reverse=not higher)
    for row in rows:
        row["shade"] = values.index(row["value"]) / max(1, len(values) - 1)


def _chart(rows: Sequence[dict[str, Any]], pair: tuple[str, str], found: Sequence[Standing], panel: Panel) -> Any:
    sides = [[value_text(value) for value in values_of_field(found, name)] for name in pair]
    score = panel.score
    across = alt.X("one:N", sort=sides[0], title=short(pair[0]), axis=alt.Axis(labelAngle=0, ticks=False), scale=GAPS)
    up = alt.Y("other:N", sort=sides[1][::-1], title=short(pair[1]), axis=alt.Axis(ticks=False), scale=GAPS)
    tips = tooltip(("condition:N", "shown trial"), ("value:Q", score.title), ("low:Q", "low"), ("high:Q", "high"),
                   ("least:Q", "lowest seed"), ("most:Q", "highest seed"), ("trials:Q", "conditions in this cell"),
                   ("diagonal:N", "scale"), ("id:N", "trial"))  # fmt: skip
    cell = over_rows().mark_rect(stroke=None, cornerRadius=3).encode(
        x=across, y=up, tooltip=tips,
        color=alt.Color("shade:Q", scale=alt.Scale(scheme="viridis", domain=[0, 1]), legend=None),
    )  # fmt: skip
    ink = alt.condition("datum.shade > 0.55", alt.value("#111111"), alt.value("#ffffff"))
    form, has_intervals = _form(score), any(row["interval"] for row in rows)
    text = over_rows().mark_text(fontSize=12, fontWeight=500, dy=-6 if has_intervals else 0).encode(
        x=across, y=up, text=alt.Text("value:Q", format=form), color=ink)  # fmt: skip
    interval = over_rows().mark_text(fontSize=9, dy=8).encode(x=across, y=up, text="interval:N", color=ink)
    edges = [
        over_rows().transform_filter(f"datum.diagonal == '{name}'").mark_rect(
            filled=False, stroke="#ff6a3d", strokeWidth=2.5, strokeDash=dash, cornerRadius=3).encode(x=across, y=up)
        for name, dash in (("alpha = r", [1, 0]), ("alpha = 2r", [5, 4]))
        if any(row["diagonal"] == name for row in rows)
    ]  # fmt: skip
    layers = [cell, *edges, text, *([interval] if has_intervals else [])]
    return alt.layer(*layers).properties(width=alt.Step(76 if has_intervals else 64), height=alt.Step(44))


def _form(score: Score) -> str:
    return ".1f" if score.unit == "fraction" else ".3f"


def _interval(row: Mapping[str, Any], score: Score) -> str:
    """The bounds of a cell's interval as its second line; empty where it has none."""
    form = _form(score)
    return "" if row["low"] is None or row["high"] is None else f"[{row['low']:{form}}, {row['high']:{form}}]"


def _diagonal(pair: tuple[str, str], each: Standing) -> str:
    """Which convention a cell of r and alpha follows."""
    if set(pair) != {"lora_r", "lora_alpha"}:
        return ""
    rank, alpha = (each.condition.fields[name] for name in ("lora_r", "lora_alpha"))
    return {1.0: "alpha = r", 2.0: "alpha = 2r"}.get(alpha / rank, "") if rank and alpha else ""


def _caption(rows: Sequence[dict[str, Any]], by: str, alone: bool) -> str:
    parts = ["Colours go by the order of the cells, from the worst (dark) to the best (bright)."]
    if any(row["interval"] for row in rows):
        parts.append("In brackets: 95 % intervals, over seeds with three seeds or more, else over test examples.")
    if not alone:
        how = f"with the best validation ({by})" if by else "with the best test score, which is too high by luck,"
        parts.append(f"A cell shows the condition {how} among those that differ in other fields.")
    if any(row["diagonal"] for row in rows):
        parts.append("Outlined: alpha = r; dashed: alpha = 2r.")
    return " ".join(parts)
