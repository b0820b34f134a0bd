"""Score against cost, with the Pareto front: what cannot be had better without paying more.

Costs are peak memory, trained parameters, time, and hours of a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import methodcaller

import altair as alt

from raypeft.analysis.choosing import is_known
from raypeft.analysis.conditions import Row
from raypeft.analysis.report.figures.figure import (
    Figure,
    axis_title,
    colour,
    colour_of,
    described,
    over_rows,
    shown,
    tooltip,
)  # fmt: skip
from raypeft.analysis.report.panels import Panel, Standing
from raypeft.analysis.report.study import Study


@dataclass(frozen=True, slots=True)
class Cost:
    """What a trial cost, from its row."""

    of: Callable[[Row], float | None]
    name: str
    title: str
    logarithmic: bool = False

    def mean(self, standing: Standing) -> float | None:
        """The mean over seeds; None where the cost of a seed is not known, or is nothing."""
        spent = [self.of(row) for row in standing.condition.rows]
        known = [each for each in spent if each is not None and is_known(each) and each > 0]
        return sum(known) / len(known) if len(known) == len(spent) else None


def gpu_hours(row: Row) -> float | None:
    """The time of a trial by its share of a GPU; None for a row that is not from a GPU.

    Without Ray, and before trials could share a GPU, a trial had a whole one.
    """
    if row.get("device_memory_gb") is None or row.get("total_seconds") is None:
        return None
    return float(row["total_seconds"] * (row.get("gpu_share") or 1.0) / 3600)


SPREAD = 1.1
"""The dearest condition must cost so many times the cheapest: less is noise."""
MOST_INTERVALS = 20
"""Conditions up to which their intervals are drawn."""
COSTS = (
    Cost(methodcaller("get", "peak_memory_allocated_gb"), "memory", "peak GPU memory of tensors, GiB"),
    Cost(methodcaller("get", "trainable_params"), "parameters", "trained parameters", logarithmic=True),
    Cost(methodcaller("get", "total_seconds"), "seconds", "seconds of a trial", logarithmic=True),
    Cost(gpu_hours, "gpu_hours", "GPU hours of a trial", logarithmic=True),
)


def score_against_cost(panel: Panel, study: Study) -> Iterator[Figure]:
    """For each cost that three conditions or more have and that differs between them by a tenth or more."""
    for cost in COSTS:
        known = {place: spent for place, each in enumerate(panel.ranked) if (spent := cost.mean(each)) is not None}
        if len(known) > 2 and max(known.values()) > SPREAD * min(known.values()):
            yield _figure(panel, cost, [panel.ranked[place] for place in known], [*known.values()])


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The places of the points (cost, score) that no other one beats: less or equal cost and a higher score.

    In the order of cost.
    """
    order = sorted(range(len(points)), key=lambda place: (points[place][0], -points[place][1]))
    front: list[int] = []
    for place in order:
        if not front or points[place][1] > points[front[-1]][1]:
            front.append(place)
    return front


def _figure(panel: Panel, cost: Cost, known: Sequence[Standing], spent: Sequence[float]) -> Figure:
    score, sign = panel.score, 1 if panel.score.higher_is_better else -1
    values = [sign * each.scores[score.name].mean for each in known]
    front = set(pareto_front([*zip(spent, values, strict=True)]))
    named, groups = colour_of(panel, known)
    rows = [
        {**described(each), **shown(score, each.scores[score.name]), "cost": spent[place],
         "group": groups[each.row["id"]], "front": place in front}
        for place, each in enumerate(known)
    ]  # fmt: skip
    scale = alt.Scale(type="log", nice=False, padding=20) if cost.logarithmic else alt.Scale(zero=False, padding=20)
    axis = alt.Axis(format="~s", tickCount=6, grid=False) if cost.logarithmic else alt.Axis(tickCount=6)
    across = alt.X("cost:Q", title=cost.title, scale=scale, axis=axis)
    up = alt.Y("value:Q", title=axis_title(score), scale=alt.Scale(zero=False))
    line = over_rows().transform_filter("datum.front").mark_line(
        interpolate="step-after", strokeDash=[4, 3], strokeWidth=1.5, opacity=0.8).encode(
        x=across, y=up, order="cost:Q", color=alt.value("#888888"))  # fmt: skip
    interval = over_rows().mark_rule(opacity=0.35).encode(
        x=across, y="low:Q", y2="high:Q", color=colour(named, list(groups.values()), panel.methods))  # fmt: skip
    point = over_rows().mark_point(opacity=1).encode(
        x=across, y=up, color=colour(named, list(groups.values()), panel.methods),
        size=alt.condition("datum.front", alt.value(130), alt.value(60)),
        tooltip=tooltip(("condition:N", "condition"), ("value:Q", score.title), ("low:Q", "low"), ("high:Q", "high"),
                        ("cost:Q", cost.title), ("id:N", "trial")),
    )  # fmt: skip
    has_intervals = len(known) <= MOST_INTERVALS and any(row["low"] is not None for row in rows)
    layers = [line, *([interval] if has_intervals else []), point]
    caption = (
        "Dashed line and large points: the Pareto front, conditions that no cheaper one equals or beats. "
        "The front is made of measured scores, so chance decides between neighbours."
    )
    return Figure(f"score_by_{cost.name}", f"{score.title} against {cost.title.partition(',')[0]}", caption, rows,
                  alt.layer(*layers))  # fmt: skip
