"""The tables of a report, as data: results by condition, single trials, what failed, the paper beside us.

    for table in tables(panel, study):
        print(table.title, len(table.lines))

A cell has a text for people. A line has `values`, by the name of a column, for programs (CSV).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from raypeft.analysis.report.panels import FEWEST_SEEDS, Measured, Panel, Standing, kind_of
from raypeft.analysis.report.paper import WITH_SHOTS, Published, published, source
from raypeft.analysis.report.study import Row, Study
from raypeft.analysis.report.terminal import millions
from raypeft.analysis.settings import data_of, settings, split_settings
from raypeft.metrics.metric import Score
from raypeft.results.declarations import Declarations


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A heading."""

    title: str
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Line:
    """A line: its texts, and what it is sorted by in each column (None: its text)."""

    cells: tuple[str, ...]
    sort: tuple[Any, ...] = ()
    id: str = ""
    """Id of the trial to which it leads."""
    marks: tuple[str, ...] = ()
    """Of MARKS."""
    values: dict[str, Any] = field(default_factory=dict)
    """What it says, by column of the CSV file."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table."""

    name: str
    title: str
    caption: str
    columns: tuple[TableColumn, ...]
    lines: tuple[Line, ...]


MARKS = {"best": "best", "best_on_test": "best on test", "tied": "tied", "chosen": "chosen"}
"""What a condition can be marked as, and how people read it."""
COSTS: tuple[tuple[str, str, Callable[[Row], str]], ...] = (
    ("trainable_params", "params", millions("trainable_params")),
    ("peak_memory_allocated_gb", "GiB", lambda row: f"{row['peak_memory_allocated_gb']:.2f}"),
    ("total_seconds", "seconds", lambda row: f"{row['total_seconds']:.0f}"),
)
"""Column, heading, text: means over seeds."""


def _cost(cost: tuple[str, str, Callable[[Row], str]], value: float | None) -> str:
    name, _, form = cost
    return "" if value is None else form({name: value})


def measured_text(score: Score, measured: Measured | None) -> str:
    """A score with its interval, or with the range of its seeds: `17.5 [11.3, 26.1]`."""
    if measured is None:
        return ""
    digits = 1 if score.unit == "fraction" else 3
    mean = f"{score.scale * measured.mean:.{digits}f}"
    if measured.low is None or measured.high is None:
        return mean
    return f"{mean} [{score.scale * measured.low:.{digits}f}, {score.scale * measured.high:.{digits}f}]"


def results(panel: Panel, study: Study) -> Iterator[Table]:
    """One line a condition, best first."""
    shared, told = _split_settings(panel, study)
    seeds = any(len(each.condition.rows) > 1 for each in panel.standings)
    costs = [cost for cost in COSTS if any(each.mean(cost[0]) for each in panel.standings)]
    models, folders = len(panel.models) > 1, len(study.sweeps) > 1
    others = any(row["dataset"] != panel.dataset for row in panel.rows)
    columns = [
        *([TableColumn("sweep", False)] if folders else []), *([TableColumn("model", False)] if models else []),
        *([TableColumn("trained on", False)] if others else []),
        TableColumn("method", False), TableColumn("settings", False),
        *(_score_column(score, panel.standings) for score in panel.tabled),
        *([TableColumn("seeds")] if seeds else []),
        *(TableColumn(title) for _, title, _ in costs), TableColumn("trial", False),
    ]  # fmt: skip
    lines = []
    for each, text in zip(panel.standings, told, strict=True):
        fields, scores = each.condition.fields, [each.scores.get(score.name) for score in panel.tabled]
        before = [*([each.row["folder"]] if folders else []), *([fields["model"]] if models else []),
                  *([fields["dataset"]] if others else []), fields["tuning_method"], text]  # fmt: skip
        count = [len(each.condition.rows)] if seeds else []
        spent = [each.mean(name) for name, _, _ in costs]
        cells = [
            *before, *(measured_text(score, one) for score, one in zip(panel.tabled, scores, strict=True)),
            *map(str, count), *(_cost(cost, value) for cost, value in zip(costs, spent, strict=True)),
            each.condition.ids,
        ]  # fmt: skip
        sort = [*[None] * len(before), *(one.mean if one else None for one in scores), *count, *spent, None]
        marks = _marks(each, panel)
        lines.append(Line(tuple(cells), tuple(sort), each.row["id"], tuple(marks), _record(each, panel, marks)))
    title = f"Results on {panel.dataset}"
    yield Table(f"results_{panel.dataset}", title, _caption(panel, shared), tuple(columns), tuple(lines))


def _score_column(score: Score, standings: Sequence[Standing]) -> TableColumn:
    known = any((found := each.scores.get(score.name)) and found.low is not None for each in standings)
    return TableColumn(f"{score.title} [95 %]" if known else score.title)


def _marks(each: Standing, panel: Panel) -> list[str]:
    is_top = len(panel.ranked) > 1 and each is panel.ranked[0]
    found = {
        "best": each is panel.best,
        "best_on_test": is_top and each is not panel.best,
        "tied": each.is_tied and not is_top,
        "chosen": each.is_chosen,
    }
    return [name for name in MARKS if found[name]]


def _record(each: Standing, panel: Panel, marks: Sequence[str]) -> dict[str, Any]:
    swept = {name: each.condition.fields.get(name) for name in panel.all_swept}
    scores = {
        f"{score.name}{end}": getattr(one, part)
        for score in panel.tabled if (one := each.scores.get(score.name))
        for part, end in (("mean", ""), ("low", "_low"), ("high", "_high"))
    }  # fmt: skip
    fields = each.condition.fields
    return {"model": fields["model"], "dataset": fields["dataset"], "test_dataset": fields["test_dataset"],
            "tuning_method": fields["tuning_method"], **swept,
            "seeds": len(each.condition.rows), **scores, **{name: each.mean(name) for name, _, _ in COSTS},
            "marks": " ".join(marks), "ids": " ".join(row["id"] for row in each.condition.rows)}  # fmt: skip


def _split_settings(panel: Panel, study: Study) -> tuple[list[str], list[str]]:
    """The settings that all conditions have, and each condition's others."""
    rows = [{**each.row, "seed": None, "icl_seed": None} for each in panel.standings]
    return split_settings(rows, panel.declared)


def _caption(panel: Panel, shared: Sequence[str]) -> str:
    row = panel.rows[0]
    model = [f"Model {row['model']}"] if len(panel.models) == 1 else []
    counts = {each.get("test_examples") for each in panel.rows} - {None}
    examples = [f"{counts.pop()} test examples"] if len(counts) == 1 else []
    parts = [", ".join([*model, f"dataset {panel.dataset}", *examples, *shared]) + "."]
    if any(score.unit == "fraction" for score in panel.tabled):
        parts.append("Scores in percent.")
    parts += [f"{score.note}." for score in panel.tabled if score.note]
    lower = [score.title for score in panel.tabled if not score.higher_is_better]
    if lower:
        parts.append(f"Lower is better for {' and '.join(lower)}.")
    parts += [*_intervals(panel), *_legend(panel)]
    return " ".join(parts)


def _intervals(panel: Panel) -> Iterator[str]:
    """What the intervals count as chance, where some are known."""
    seeds = [len(each.condition.rows) >= FEWEST_SEEDS for each in panel.standings
             if any(one.low is not None for one in each.scores.values())]  # fmt: skip
    if seeds and all(seeds):
        yield "[95 %]: over seeds."
    elif seeds:
        over = f"over seeds where there are {FEWEST_SEEDS} or more, else " if any(seeds) else ""
        yield f"[95 %]: {over}over test examples."


def _legend(panel: Panel) -> Iterator[str]:
    """What the marks mean that a panel has."""
    if len(panel.ranked) < 2:
        return
    if panel.best is None:
        yield "Nothing was chosen on validation."
    elif panel.best_by:
        yield f"best: of all, validation chose it (by {by_text(panel.best_by, panel.declared)})."
    else:
        yield f"best: of those that validation chose, the best by {panel.score.title} on test."
    if panel.best is not panel.ranked[0]:
        yield "best on test: optimistic, since the test itself chose it."
    if panel.tie_rule:
        yield f"tied: cannot be told apart from the best on test by {panel.score.title} ({panel.tie_rule})."
    if by := sorted({by_text(each.by, panel.declared) for each in panel.standings if each.is_chosen}):
        yield f"chosen: the best of its model and method on validation (by {', '.join(by)})."


def by_text(column: str, declared: Declarations) -> str:
    """A column of validation in words: `validation loss`, `EM@10 on validation`."""
    name = column.removesuffix("_validation")
    title = next((score.title for score in declared.scores if score.name == name), name)
    return title if name == column else f"{title} on validation"


def trials(panel: Panel, study: Study) -> Iterator[Table]:
    """One line a trial, where a condition has several."""
    if all(len(each.condition.rows) == 1 for each in panel.standings):
        return
    rows = [(each, row) for each in panel.standings for row in each.condition.rows]
    columns = [
        TableColumn("condition", False), TableColumn("seed"), *(TableColumn(score.title) for score in panel.tabled),
        TableColumn("best step"), TableColumn("GiB"), TableColumn("seconds"), TableColumn("trial", False),
    ]  # fmt: skip
    lines = []
    for each, row in rows:
        scores = [row.get(score.name) for score in panel.tabled]
        rest = [row.get(name) for name in ("best_step", "peak_memory_allocated_gb", "total_seconds")]
        texts = [
            f"{value:{form}}" if value is not None else ""
            for value, form in zip(rest, ("d", ".2f", ".0f"), strict=True)
        ]
        cells = [each.condition.label, _seed(row),
                 *("" if value is None else measured_text(score, Measured(value))
                   for score, value in zip(panel.tabled, scores, strict=True)), *texts, row["id"]]  # fmt: skip
        names = ("id", "status", "seed", "icl_seed", "best_step", "peak_memory_allocated_gb", "total_seconds")
        values = {"condition": each.condition.label, **{name: row.get(name) for name in names},
                  **{score.name: row.get(score.name) for score in panel.tabled}}  # fmt: skip
        lines.append(Line(tuple(cells), (None, row.get("seed"), *scores, *rest, None), row["id"], (), values))
    yield Table(f"trials_{panel.dataset}", f"Single trials on {panel.dataset}", "One line a seed, in the order of the "
                "conditions.", tuple(columns), tuple(lines))  # fmt: skip


def _seed(row: Row) -> str:
    return str(row["seed"]) if row.get("seed") is not None else ""


def beside_the_paper(panel: Panel, study: Study) -> Iterator[Table]:
    """Our scores and the published ones, of the same model, method and dataset."""
    lines = []
    for each, text in zip(panel.standings, _split_settings(panel, study)[1], strict=True):
        is_best = panel.best_of_shots.get(kind_of(each.condition)) is each
        for score in panel.declared.scores:
            theirs = published(each.condition.fields, score.name, best_shots=is_best)
            name = f"{score.name}_paper" if each.mean(f"{score.name}_paper") is not None else score.name
            ours = each.mean(name)
            if theirs is None or ours is None:
                continue
            low, high = each.mean(f"{name}_low"), each.mean(f"{name}_high")
            lines.append(_compared(each, text, score, (ours, low, high), theirs))
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


def _compared(
    each: Standing, text: str, score: Score, ours: tuple[float, float | None, float | None], paper: Published
) -> Line:
    theirs = paper.value
    mean, low, high = (None if value is None else 100 * value for value in ours)
    assert mean is not None
    inside = "" if low is None or high is None else ("yes" if low <= theirs <= high else "no")
    measured = f"{mean:.1f}" if low is None or high is None else f"{mean:.1f} [{low:.1f}, {high:.1f}]"
    fields = each.condition.fields
    cells = (fields["model"], fields["tuning_method"], text, score.title, measured, f"{theirs:.2f}",
             f"{mean - theirs:+.1f}", inside, paper.where, each.condition.ids)  # fmt: skip
    values = {"model": fields["model"], "tuning_method": fields["tuning_method"], "score": score.name, "ours": mean,
              "low": low, "high": high, "paper": theirs, "inside": inside, "where": paper.where,
              "ids": " ".join(row["id"] for row in each.condition.rows)}  # fmt: skip
    sort = (None, None, None, None, mean, theirs, mean - theirs, None, None, None)
    return Line(cells, sort, each.row["id"], (), values)


def unscored(study: Study) -> Table | None:
    """The trials without scores, and why."""
    if not study.unscored:
        return None
    texts = settings(study.unscored, study.declared)
    lines = []
    for row, text in zip(study.unscored, texts, strict=True):
        why = row.get("error") or study.declared.status(row["status"]).description
        cells = (row["status"], row["model"], data_of(row), row["tuning_method"], text, str(why), row["id"])
        values = {name: row.get(name) for name in ("id", "status", "model", "dataset", "tuning_method", "error")}
        lines.append(Line(cells, (), row["id"], (), {**values, "settings": text}))
    titles = ("status", "model", "dataset", "method", "settings", "reason", "trial")
    return Table("unscored", "Trials without scores", "They are in no other table.",
                 tuple(TableColumn(title, False) for title in titles), tuple(lines))  # fmt: skip


TABLES: tuple[Callable[[Panel, Study], Iterator[Table]], ...] = (results, beside_the_paper, trials)
"""The tables of a panel, in the order in which they are shown. A new one is its function and its name here."""


def tables(panel: Panel, study: Study) -> list[Table]:
    """All tables of a panel."""
    return [table for make in TABLES for table in make(panel, study)]
