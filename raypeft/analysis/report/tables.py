"""The tables of a report, as data: results by condition, single trials, what failed, the paper beside us.

for table in tables(panel, study):
    print(table.title, len(table.lines))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from raypeft.analysis.pairing import has_enough_seeds, seeds_text
from raypeft.analysis.report.panels import Measured, Panel, Standing
from raypeft.analysis.report.paper_table import beside_the_paper
from raypeft.analysis.report.study import Row, Study
from raypeft.analysis.report.table import Line, Table, TableColumn, measured_text, settings_of
from raypeft.analysis.report.terminal import millions
from raypeft.analysis.settings import data_of, settings
from raypeft.analysis.statistics.seeds import FEWEST_SEEDS
from raypeft.metrics.metric import Score
from raypeft.results.declarations import Declarations

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


def results(panel: Panel, study: Study, most: int | None = None) -> Iterator[Table]:
    """One line a condition, best first; no more than `most` lines."""
    shared, told = settings_of(panel, study)
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
    for each, text in zip(panel.standings[:most], told[:most], strict=True):
        fields, scores = each.condition.fields, [each.scores.get(score.name) for score in panel.tabled]
        names = ", ".join(dict.fromkeys(row["folder"] for row in each.condition.trials)) if folders else ""
        before = [*([names] if folders else []), *([fields["model"]] if models else []),
                  *([fields["dataset"]] if others else []), fields["tuning_method"], text]  # fmt: skip
        count = [len(each.condition.rows)] if seeds else []
        spent = [each.mean(name) for name, _, _ in costs]
        cells = [
            *before, *(measured_text(score, one) for score, one in zip(panel.tabled, scores, strict=True)),
            *([seeds_text(each.condition, panel.declared)] if seeds else []),
            *(_cost(cost, value) for cost, value in zip(costs, spent, strict=True)),
            each.condition.ids,
        ]  # fmt: skip
        sort = [*[None] * len(before), *(one.mean if one else None for one in scores), *count, *spent, None]
        marks = _marks(each, panel)
        lines.append(Line(tuple(cells), tuple(sort), each.row["id"], tuple(marks), _record(each, panel, marks)))
    title = f"Results on {panel.dataset}"
    left_out = len(panel.standings) - len(lines)
    yield Table(f"results_{panel.dataset}", title, _caption(panel, shared), tuple(columns), tuple(lines), left_out)


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
            "marks": " ".join(marks), "ids": " ".join(row["id"] for row in each.condition.trials)}  # fmt: skip


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
    seeds = [has_enough_seeds(each.condition, panel.declared) for each in panel.standings
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
    if all(len(each.condition.trials) == 1 for each in panel.standings):
        return
    rows = [(each, row) for each in panel.standings for row in each.condition.trials]
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
        cells = [each.condition.label, _seed(row, each.condition.trials),
                 *("" if value is None else measured_text(score, Measured(value))
                   for score, value in zip(panel.tabled, scores, strict=True)), *texts, row["id"]]  # fmt: skip
        names = ("id", "status", "seed", "icl_seed", "best_step", "peak_memory_allocated_gb", "total_seconds")
        values = {"condition": each.condition.label, **{name: row.get(name) for name in names},
                  **{score.name: row.get(score.name) for score in panel.tabled}}  # fmt: skip
        lines.append(Line(tuple(cells), (None, row.get("seed"), *scores, *rest, None), row["id"], (), values))
    yield Table(f"trials_{panel.dataset}", f"Single trials on {panel.dataset}", "One line a trial, in the order of the "
                "conditions.", tuple(columns), tuple(lines))  # fmt: skip


def _seed(row: Row, others: Sequence[Row]) -> str:
    """Its seed, and that of its shots where the condition has several of them."""
    told = [str(row["seed"])] if row.get("seed") is not None else []
    if len({other.get("icl_seed") for other in others}) > 1:
        told.append(f"shots {row['icl_seed']}")
    return ", ".join(told)


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
