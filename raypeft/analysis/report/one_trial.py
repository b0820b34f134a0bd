"""What is known of one trial, as tables for the terminal: fields, scores, cost, learning curve.

    for title, headings, lines in tables_of(study, row):
        print(title, headings, lines)

Only Parquet files and the manifest are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from raypeft.analysis.report.details import plain
from raypeft.analysis.report.study import Row, Study
from raypeft.analysis.settings import changed
from raypeft.metrics.metric import Score
from raypeft.trial.columns import tables

Lines = tuple[str, list[str], list[list[str]]]
"""Of a table: its title, its headings, its lines."""

COSTS = ("trainable_params", "total_params", "train_examples", "test_examples", "steps", "peak_memory_allocated_gb",
         "peak_memory_reserved_gb", "train_tokens_per_second", "generate_examples_per_second")  # fmt: skip
"""Columns that say what a trial did and took, besides its seconds."""
MOST_EVALUATIONS = 12
"""Lines of a curve: a longer one is told by as many, evenly spaced, and the best."""


def tables_of(study: Study, row: Row) -> Iterator[Lines]:
    """The tables that have anything to say about a trial."""
    for made in (fields(study, row), scores(study, row), cost(study, row), curve(study, row)):
        if made[2]:
            yield made


def fields(study: Study, row: Row) -> Lines:
    """The fields that are not at their defaults."""
    lines = [[name, _text(value)] for name, value in changed(row, study.declared).items()]
    return "Fields that are not at their defaults", ["field", "value"], lines


def scores(study: Study, row: Row) -> Lines:
    """The scores with their units, their intervals and their other readings."""
    lines = [
        [score.title, _unit(score),
         *(_score(score, row, reading) for reading in ("", "low", "high", "validation", "paper"))]
        for score in study.declared.scores
        if row.get(score.name) is not None
    ]  # fmt: skip
    headings = ["score", "unit", "value", "95 % from", "to", "on validation", "as the paper's code"]
    return "Scores", headings, lines


def _unit(score: Score) -> str:
    return "%" if score.unit == "fraction" else score.unit


def _score(score: Score, row: Row, reading: str) -> str:
    found = row.get(f"{score.name}_{reading}" if reading else score.name)
    return "" if found is None else score.text(found)


def cost(study: Study, row: Row) -> Lines:
    """What the trial trained and took: parameters, examples, memory, and the seconds of its stages."""
    manifest = study.home[row["id"]].manifest
    columns = (manifest.tables if manifest else tables()).get("trials", ())
    units = {column.name: column.unit for column in columns}
    names = [*COSTS, *(name for name in row if name.endswith("_seconds"))]
    lines = [[name, _text(row[name]), units.get(name, "")] for name in names if row.get(name) is not None]
    return f"Cost on {_text(row.get('device') or 'an unknown device')}", ["column", "value", "unit"], lines


def curve(study: Study, row: Row) -> Lines:
    """The evaluations during training, with a mark at the best one."""
    found = sorted(study.home[row["id"]].read("evals", row["id"]), key=lambda each: each["step"])
    lines = [
        [str(each["step"]), _number(each["epoch"]), "best" if each["step"] == row.get("best_step") else "",
         _number(each["train_loss"]), _number(each["eval_loss"])]
        for each in _some(found, row.get("best_step"))
    ]  # fmt: skip
    headings = ["step", "epoch", "", "training loss", "validation loss"]
    left_out = f", {len(lines)} of {len(found)} evaluations" if len(lines) < len(found) else ""
    return f"Learning curve, losses in nats per answer token{left_out}", headings, lines


def _some(evaluations: Sequence[Row], best: int | None) -> list[Row]:
    """As many as a table has room for: the first, the last, the best, and evenly spaced ones between."""
    last = len(evaluations) - 1
    if last < MOST_EVALUATIONS:
        return [*evaluations]
    places = {round(last * each / (MOST_EVALUATIONS - 1)) for each in range(MOST_EVALUATIONS)}
    return [each for place, each in enumerate(evaluations) if place in places or each["step"] == best]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _text(value: Any) -> str:
    """A value on one line: integers with separators, long texts cut."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(plain(value)).replace("\n", "\\n")
