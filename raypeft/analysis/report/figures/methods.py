"""The score of each method, model by model: the kind of Figures 5 and 7 of arXiv 2308.10462.

Figure 5 compares LoRA with quantised weights (QLoRA) on models of several sizes; Figure 7 LoRA with the best ICL and
the best RAG. A method with several conditions, such as numbers of shots, shows the one that validation chose. Where
nothing can be chosen on validation it shows the best one on the test split, as the paper does, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import altair as alt

from raypeft.analysis.choosing import criterion
from raypeft.analysis.report.figures.figure import (
    Figure,
    axis_title,
    colour,
    described,
    over_bars_intervals,
    over_rows,
    paper_cross,
    room_for_words,
    shown,
    tooltip,
)  # fmt: skip
from raypeft.analysis.report.panels import Panel, Standing, kind_of
from raypeft.analysis.report.paper import WITH_SHOTS, published
from raypeft.analysis.report.study import Study
from raypeft.methods import METHODS

MOST_MODELS = 12
QUANTIZED = ("lora", "qlora_8bit", "qlora_4bit")
"""LoRA over weights in half precision, 8 and 4 bits: the bars of the paper's Figure 5."""
MOST_NARROW = 12
"""Bars up to which a figure has a place beside another."""
BAND, BAR = 18, 14
"""Height of a bar with its gap, and without, in pixels."""
ON_VALIDATION, ON_TEST = "chosen on validation", "best on test"


def methods(panel: Panel, study: Study) -> Iterator[Figure]:
    """The best of each method, then those with quantised weights; only of a score that is a share of the examples."""
    if panel.score.unit != "fraction":
        return
    best = _best(panel)
    names = list(dict.fromkeys(name for _, name in best))
    quantized = {model for model, name in best if name in QUANTIZED[1:]}
    few = {key: each for key, each in best.items() if key[0] in quantized and key[1] in QUANTIZED}
    kinds = {name for _, name in few}
    has_choice = len(panel.ranked) > len(best) or len({model for model, _ in best}) > 1
    if len(names) > 1 and has_choice and few != best:
        yield _figure("best_of_each_method", "Each method at its best", best, panel)
    if len(kinds) > 1:
        yield _figure("quantization", "LoRA over quantised weights", few, panel)


def _best(panel: Panel) -> dict[tuple[str, str], tuple[Standing, str]]:
    """(model, method) -> its condition and how it was chosen: empty where there was one only."""
    groups: dict[tuple[str, str], list[Standing]] = {}
    for each in panel.ranked:
        groups.setdefault((each.condition.fields["model"], _method(each, panel)), []).append(each)
    found = {}
    for key, inside in groups.items():
        by, sign = criterion([each.condition for each in inside], panel.score)
        if len(inside) == 1:
            found[key] = (inside[0], "")
        elif by:
            on_validation = [sign * (each.mean(by) or 0.0) for each in inside]
            found[key] = (inside[on_validation.index(max(on_validation))], ON_VALIDATION)
        else:
            found[key] = (inside[0], ON_TEST)
    return found


def _method(standing: Standing, panel: Panel) -> str:
    """The method; one that trains is another one with shots in its prompts, and trained on another dataset."""
    fields = standing.condition.fields
    name = str(fields["tuning_method"])
    trains = name in METHODS and METHODS[name].trains
    shots = " with shots" if trains and fields.get("num_shots") else ""
    return f"{name}{shots}" if fields["dataset"] == panel.dataset else f"{name}{shots}, {fields['dataset']}"


def _figure(name: str, title: str, best: Mapping[tuple[str, str], tuple[Standing, str]], panel: Panel) -> Figure:
    every = [model for model in panel.models if any(model == each for each, _ in best)]
    models = every[:MOST_MODELS]
    order = _in_order(dict.fromkeys(method for _, method in best), panel)
    rows: list[dict[str, Any]] = []
    labels: dict[int, str] = {}
    place = 0
    for model in models:
        found = [(method, *best[model, method]) for method in order if (model, method) in best]
        if len(models) > 1:
            labels[place + (len(found) - 1) // 2] = model
        else:
            labels = {number: method for number, (method, *_) in enumerate(found)}
        rows += [_row(place + number, *each, panel) for number, each in enumerate(found)]
        place += len(found) + 1
    chart = _chart(rows, labels, [method for method in order if any(row["group"] == method for row in rows)], panel)
    return Figure(name, f"{title}: {panel.score.title}", _caption(rows, len(every) - len(models)), rows, chart,
                  is_wide=len(rows) > MOST_NARROW)  # fmt: skip


def _row(place: int, method: str, standing: Standing, how: str, panel: Panel) -> dict[str, Any]:
    several_shots = kind_of(standing.condition) in panel.best_of_shots
    paper = published(standing.condition.fields, panel.score.name, best_shots=several_shots)
    measured = shown(panel.score, standing.scores[panel.score.name])
    theirs = paper.value if paper else None
    value = measured["value"]
    assert value is not None
    return {
        **described(standing), "place": place, "group": method, "chosen": how, **measured, "paper": theirs,
        "text": f"{value:.1f}", "end": max(each for each in (value, measured["high"], theirs) if each is not None),
    }  # fmt: skip


def _in_order(found: Collection[str], panel: Panel) -> list[str]:
    """Methods in the order of the rows, each one with shots after the same without; QLoRA after LoRA."""
    own = dict.fromkeys(name for each in panel.methods for name in (each, f"{each} with shots"))
    names = [*(name for name in own if name in found), *(name for name in found if name not in own)]
    quantized = [name for name in QUANTIZED if name in names]
    first = next((place for place, name in enumerate(names) if name in quantized), 0)
    others = [name for name in names if name not in quantized]
    return [*others[:first], *quantized, *others[first:]]


def _chart(rows: Sequence[Mapping[str, Any]], labels: Mapping[int, str], order: Sequence[str], panel: Panel) -> Any:
    """Bars one below the other with a gap after each model, whose name stands at its middle bar.

    With one model each bar has the name of its method.
    """
    across = alt.X("value:Q", title=axis_title(panel.score), scale=room_for_words(rows))
    places = range(rows[-1]["place"] + 1)
    named = f"({json.dumps(labels)})[datum.value]"
    down = alt.Y("place:O", title=None, scale=alt.Scale(domain=[*places]),
                 axis=alt.Axis(grid=False, ticks=False, labelPadding=8, labelExpr=named, values=[*labels]))  # fmt: skip
    group = colour("method", order, panel.methods)
    if len({row["model"] for row in rows}) == 1:
        group = group.legend(None)  # each bar has its method's name
    tips = tooltip(("condition:N", "condition"), ("value:Q", panel.score.title), ("low:Q", "low"), ("high:Q", "high"),
                   ("paper:Q", "the paper"), ("seeds:Q", "seeds"), ("chosen:N", "why this one"),
                   ("id:N", "trial"))  # fmt: skip
    bar = over_rows().mark_bar(size=BAR).encode(x=across, y=down, color=group, tooltip=tips)
    words = over_rows().mark_text(align="left", dx=9).encode(x="end:Q", y=down, text="text:N")
    layers = [bar, words]
    if any(row["low"] is not None for row in rows):
        layers += over_bars_intervals(x="low:Q", x2="high:Q", y=down)
    if any(row["paper"] is not None for row in rows):
        layers.append(paper_cross(over_rows()).encode(x="paper:Q", y=down, tooltip=tips))
    return alt.layer(*layers).properties(height=BAND * len(places))


def _caption(rows: Sequence[Mapping[str, Any]], left: int) -> str:
    parts = []
    chosen = list(dict.fromkeys(row["group"] for row in rows if row["chosen"] == ON_VALIDATION))
    on_test = list(dict.fromkeys(row["group"] for row in rows if row["chosen"] == ON_TEST))
    if chosen:
        parts.append(f"Of several conditions, the one that validation chose ({', '.join(chosen)}).")
    if on_test:
        parts.append(f"Without validation, the best one on the test split, which is too high ({', '.join(on_test)}).")
    if any(row["low"] is not None for row in rows):
        parts.append("Lines: 95 % intervals, over seeds with three seeds or more, else over test examples.")
    if any(row["paper"] is not None for row in rows):
        parts.append("Crosses: published values (arXiv 2308.10462v3, same model, method and dataset).")
    if any(row["paper"] is not None and row["group"] in WITH_SHOTS for row in rows):
        parts.append("Of ICL and RAG the paper gives the best number of shots on the test split, which may be another "
                     "number than ours.")  # fmt: skip
    if left > 0:
        parts.append(f"{left} further models are left out.")
    return " ".join(parts) or "One condition of each method."
