"""A figure: its data, and one definition from which come the interactive chart of the page and the files for a paper.

    Figure("scores", "EM@10 of each condition", "Points are ...", rows, chart)

A chart is drawn over data that it only names (`ROWS`), so that Altair need not check thousands of values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt

from raypeft.analysis.report.details import plain
from raypeft.analysis.report.panels import Measured, Panel, Standing
from raypeft.analysis.report.theme import LIGHT
from raypeft.analysis.settings import SHORT
from raypeft.metrics.metric import Score

ROWS = "rows"
"""Name of a chart's data."""
MOST_COLOURS = 10
Data = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a report."""

    name: str
    """Its file's name, in small letters."""
    title: str
    caption: str
    """What its marks are, and what was left out."""
    rows: Sequence[Mapping[str, Any]]
    """The values that are drawn. A row with `id` leads to the trial."""
    chart: Any
    """A chart of Altair over the data `ROWS`."""
    extra: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Further data that the chart names, such as labels of axes."""
    is_wide: bool = False
    """Whether it needs the width of the page."""

    def spec(self) -> dict[str, Any]:
        """The definition in Vega-Lite, with its data and without colours or sizes of text (`theme` has them)."""
        found = self.chart.to_dict()
        found.pop("config", None)
        found["datasets"] = plain({ROWS: [*self.rows], **self.extra})
        return found


def name_of(*parts: str) -> str:
    """A figure's name of its parts, such as its kind and its model; empty ones are left out.

    A model may be a folder or a hub id, so all that a file's name should not have becomes a hyphen.
    """
    return "_".join(re.sub(r"[^a-z0-9_.]+", "-", part.lower()).strip("-.") for part in parts if part)


def told_apart(kind: tuple[str, str], panel: Panel) -> list[str]:
    """Model and method, as far as the panel has several: what tells a figure of one of them from the others."""
    return [name for name, every in zip(kind, (panel.models, panel.methods), strict=True) if len(every) > 1]


def over_rows() -> Any:
    """A chart over the figure's rows."""
    return alt.Chart(alt.NamedData(name=ROWS))


def axis_title(score: Score) -> str:
    unit = "%" if score.unit == "fraction" else score.unit.replace("per answer token", "per token")
    return f"{score.title}, {unit}"


def shown(score: Score, measured: Measured) -> dict[str, float | None]:
    """A measured score as it is drawn: fractions in percent."""

    def scaled(value: float | None) -> float | None:
        return None if value is None else round(score.scale * value, 6)

    return {
        "value": scaled(measured.mean),
        "low": scaled(measured.low),
        "high": scaled(measured.high),
        "least": scaled(measured.least),
        "most": scaled(measured.most),
    }


def brief(panel: Panel, standing: Standing) -> str:
    """A condition's name without its method where the panel has one method only."""
    method = standing.condition.fields["tuning_method"]
    shorter = standing.condition.label.removeprefix(f"{method} ")
    return shorter if len(panel.methods) == 1 else standing.condition.label


def described(standing: Standing) -> dict[str, Any]:
    """What every figure says of a condition."""
    return {
        "condition": standing.condition.label,
        "method": standing.condition.fields["tuning_method"],
        "model": standing.condition.fields["model"],
        "seeds": len(standing.condition.rows),
        "chosen": "chosen on validation" if standing.is_chosen else "",
        "id": standing.row["id"],
    }


def short(name: str) -> str:
    """A field as papers write it: r, alpha, lr."""
    return {"tuning_method": "method", **SHORT}.get(name, name)


def value_text(value: Any) -> str:
    """A field's value for an axis."""
    return f"{value:g}" if isinstance(value, float) else str(value).replace("\n", "\\n")[:60]


def colour_of(panel: Panel, standings: Sequence[Standing]) -> tuple[str, dict[str, str]]:
    """What colours tell apart, and its value for each condition by the id of its first trial.

    The method where there are several, else LoRA's rank or another swept field with few values.
    """
    methods = {each.condition.fields["tuning_method"] for each in standings}
    if len(methods) > 1:
        return "method", {each.row["id"]: each.condition.fields["tuning_method"] for each in standings}
    if len(panel.models) > 1:
        return "model", {each.row["id"]: each.condition.fields["model"] for each in standings}
    few = []
    for name in panel.swept(standings):
        count = len({str(each.condition.fields.get(name)) for each in standings})
        if 1 < count <= MOST_COLOURS:
            few.append(name)
    few.sort(key=lambda name: (name != "lora_r", name == "learning_rate"))
    if not few:
        return "method", {each.row["id"]: each.condition.fields["tuning_method"] for each in standings}
    values = {each.row["id"]: value_text(each.condition.fields.get(few[0])) for each in standings}
    return short(few[0]), values


def in_order(values: Sequence[str]) -> list[str]:
    """Texts as they first come, those that differ in their numbers alone together and by these numbers."""
    words: dict[str, int] = {}
    number = re.compile(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?")

    def place(text: str) -> tuple[int, list[float]]:
        return words.setdefault(number.sub("#", text), len(words)), [float(each) for each in number.findall(text)]

    return sorted(dict.fromkeys(values), key=place)


def colour(title: str, values: Sequence[str], methods: Sequence[str]) -> Any:
    """The colours of the column `group`. A method has the same colour in every figure: they go by its place in
    `methods`, those of the whole panel.
    """
    domain = list(dict.fromkeys([*methods, *values])) if title == "method" else in_order(values)
    return alt.Color("group:N", title=title, scale=alt.Scale(domain=domain), legend=_legend(domain, values))


def _legend(domain: Sequence[str], values: Sequence[str]) -> Any:
    """A legend of those that are there; none where all are alike."""
    present = [each for each in domain if each in values]
    return alt.Legend(values=present, symbolOpacity=1) if len(present) > 1 else None


def tooltip(*columns: tuple[str, str]) -> list[Any]:
    """Columns (with their type, "value:Q") and their titles, shown where the pointer is."""
    return [
        alt.Tooltip(column, title=title, format=".4~g") if column.endswith(":Q") else alt.Tooltip(column, title=title)
        for column, title in columns
    ]


def score_choice(titles: Sequence[str]) -> Any:
    """A menu of scores. The chart shows rows whose `score` is the chosen one, the first at the beginning."""
    binding = alt.binding_select(options=[*titles], name="score ")
    return alt.param(name="shown_score", value=titles[0], bind=binding)


def chosen_score_title(orient: str = "bottom") -> Any:
    """The name of the chosen score where the title of an axis would be."""
    angle = {"angle": 270} if orient == "left" else {}
    return alt.TitleParams(text=alt.ExprRef("shown_score"), orient=orient, anchor="middle", fontWeight="normal",
                           fontSize=12, offset=4, **angle)  # fmt: skip


def paper_cross(base: Any) -> Any:
    """The mark of a published value, which can be seen on bars and beside them, in both themes."""
    return base.mark_point(shape="cross", filled=True, fill=LIGHT["paper"], stroke=LIGHT["ink"], size=90,
                           strokeWidth=1.2, opacity=1)  # fmt: skip


def room_for_words(rows: Sequence[Mapping[str, Any]], least: float = 0.0) -> Any:
    """A scale from 0 that leaves room for words behind the longest bar; `end` is where a bar and its marks end.

    It reaches `least` in any case.
    """
    return alt.Scale(domain=[0, max(1.2 * max(row["end"] for row in rows), least) or 1.0], nice=False)


def over_bars_intervals(**places: Any) -> list[Any]:
    """Intervals that can be seen on bars and beside them: dark lines with a light edge. `places` is encoded."""
    return [
        over_rows().mark_rule(strokeWidth=width, color=LIGHT[tone], opacity=1).encode(**places)
        for tone, width in (("paper", 3.5), ("ink", 1.5))
    ]  # fmt: skip
