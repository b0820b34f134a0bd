"""Agreement of two methods on single examples: both right, one of them, neither."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import altair as alt

from raypeft.analysis.report.examples import hits_of
from raypeft.analysis.report.figures.figure import Figure, over_rows, tooltip
from raypeft.analysis.report.panels import Panel
from raypeft.analysis.report.study import Study

MOST_METHODS = 5
OUTCOMES = ("both right", "only the first", "only the second", "neither")


def agreement(panel: Panel, study: Study) -> Iterator[Figure]:
    """For each two methods whose answers to the same examples are stored, by their chosen conditions."""
    known = [(each, found) for each in panel.representatives if (found := hits_of(study, each.row))][:MOST_METHODS]
    rows: list[dict[str, Any]] = []
    for (one, ours), (other, theirs) in combinations(known, 2):
        if ours.keys() == theirs.keys():
            names = [_name(each.condition.fields, panel) for each in (one, other)]
            rows += _pair(names, ours, theirs, (one.row["id"], other.row["id"]))
    if not rows:
        return
    up = alt.Y("pair:N", sort=list(dict.fromkeys(row["pair"] for row in rows)), title=None,
               axis=alt.Axis(grid=False, ticks=False, labelPadding=8))  # fmt: skip
    bar = over_rows().mark_bar(height={"band": 0.62}).encode(
        x=alt.X("examples:Q", title="test examples", stack="zero"), y=up, order="place:O",
        color=alt.Color("outcome:N", title=None, sort=list(OUTCOMES), scale=alt.Scale(
            domain=list(OUTCOMES), range=["#1b7f5c", "#2f7fc1", "#d9822b", "#b9bfca"])),
        tooltip=tooltip(("pair:N", "methods"), ("outcome:N", "outcome"), ("examples:Q", "examples"),
                        ("against:N", "trials")),
    )  # fmt: skip
    caption = (
        "First and second: the methods before and after the bar |, each with the condition that validation chose, else "
        "its best one, and with its first seed. An example counts as right where one of the stored candidates is "
        "right. Choose a bar to read the examples."
    )
    chart = bar.properties(height=28 * len({row["pair"] for row in rows}))
    yield Figure("agreement", "Which examples two methods get right", caption, rows, chart)


def _name(fields: Any, panel: Panel) -> str:
    return " ".join([*([fields["model"]] if len(panel.models) > 1 else []), fields["tuning_method"]])


def _pair(
    names: Sequence[str], ours: dict[str, bool], theirs: dict[str, bool], ids: tuple[str, str]
) -> Iterator[dict[str, Any]]:
    counts = dict.fromkeys(OUTCOMES, 0)
    for example, hit in ours.items():
        counts[OUTCOMES[(0 if theirs[example] else 1) if hit else (2 if theirs[example] else 3)]] += 1
    for place, outcome in enumerate(OUTCOMES):
        yield {"pair": f"{names[0]} | {names[1]}", "outcome": outcome, "examples": counts[outcome], "place": place,
               "id": ids[0], "other_id": ids[1], "against": f"{ids[0]}, {ids[1]}"}  # fmt: skip
