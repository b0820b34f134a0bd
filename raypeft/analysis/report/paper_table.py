"""The table of the paper's values beside ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from raypeft.analysis.pairing import has_enough_seeds
from raypeft.analysis.report.panels import Measured, Panel, Standing, kind_of, measure
from raypeft.analysis.report.paper import WITH_SHOTS, Published, published, source
from raypeft.analysis.report.study import Study
from raypeft.analysis.report.table import Line, Table, TableColumn, settings_of
from raypeft.metrics.metric import Score


def beside_the_paper(panel: Panel, study: Study) -> Iterator[Table]:
    """Our scores and the published ones, of the same model, method and dataset."""
    lines = []
    for each, text in zip(panel.standings, settings_of(panel, study)[1], strict=True):
        is_best = panel.best_of_shots.get(kind_of(each.condition)) is each
        for score in panel.declared.scores:
            theirs = published(each.condition.fields, score.name, best_shots=is_best)
            if theirs is None:
                continue
            as_paper = replace(score, name=f"{score.name}_paper")
            scatters = has_enough_seeds(each.condition, panel.declared)
            if ours := measure(each.condition, as_paper, scatters) or measure(each.condition, score, scatters):
                lines.append(_compared(each, text, score, ours, theirs))
    if lines:
        titles = (
            "model",
            "method",
            "settings",
            "score",
            "ours [95 %]",
            "paper",
            "difference",
            "inside",
            "where",
            "trial",
        )
        columns = tuple(TableColumn(title, title in ("ours [95 %]", "paper", "difference")) for title in titles)
        caption = (
            f"Published values: {source()}. Scores in percent, counted as the paper's code counted where the row has "
            "that reading. inside: whether the published value lies in our 95 % interval."
        )
        if any(line.values["tuning_method"] in WITH_SHOTS for line in lines):
            caption += (
                " Of ICL and RAG: the best of several numbers of shots on the test split, in the paper and here. The "
                "two numbers may differ, and both values are too high by luck."
            )
        yield Table(f"paper_{panel.dataset}", f"The paper beside us: {panel.dataset}", caption, columns, tuple(lines))


def _compared(each: Standing, text: str, score: Score, ours: Measured, paper: Published) -> Line:
    theirs, mean = paper.value, 100 * ours.mean
    low, high = (None if value is None else 100 * value for value in (ours.low, ours.high))
    inside = "" if low is None or high is None else ("yes" if low <= theirs <= high else "no")
    measured = f"{mean:.1f}" if low is None or high is None else f"{mean:.1f} [{low:.1f}, {high:.1f}]"
    fields = each.condition.fields
    cells = (fields["model"], fields["tuning_method"], text, score.title, measured, f"{theirs:.2f}",
             f"{mean - theirs:+.1f}", inside, paper.where, each.condition.ids)  # fmt: skip
    values = {"model": fields["model"], "tuning_method": fields["tuning_method"], "score": score.name, "ours": mean,
              "low": low, "high": high, "paper": theirs, "inside": inside, "where": paper.where,
              "ids": " ".join(row["id"] for row in each.condition.trials)}  # fmt: skip
    sort = (None, None, None, None, mean, theirs, mean - theirs, None, None, None)
    return Line(cells, sort, each.row["id"], (), values)
