"""All metrics together: what they fill in a row, and the scores of one trial's answers.

answers = Answers.from_rows(store.read_rows("candidates", trial_id), store.read_rows("tests", trial_id), ...)
row |= row_scores(answers, dataset.judged_by)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from raypeft.data import DATASETS
from raypeft.metrics import METRICS
from raypeft.metrics.metric import Answers, Metric, Score, Values
from raypeft.records import Column


def declared_scores(more: Iterable[str] = ()) -> list[Score]:
    """Every score of every metric, those of the datasets' levels and of `more` levels among them."""
    levels = _levels(more)
    return [score for metric in METRICS.values() for score in metric.all_scores(levels)]


def score_columns(more: Iterable[str] = ()) -> list[Column]:
    """Every column that a metric may fill, those of the datasets' levels and of `more` levels among them."""
    levels = _levels(more)
    return [column for metric in METRICS.values() for column in metric.all_columns(levels)]


def level_columns(levels: Sequence[str]) -> list[Column]:
    """The columns that a metric may fill for these levels alone."""
    return [column for metric in METRICS.values() for score in metric.level_scores(levels) for column in score.columns]


def row_scores(answers: Answers, judged_by: Sequence[str]) -> dict[str, Any]:
    """The scores of a trial's row by column, by all metrics that apply.

    Raises ValueError where a metric fills a column that it does not declare, which the store would refuse.
    """
    row: dict[str, Any] = {}
    for metric in _applying(judged_by):
        found = metric.compute(answers)
        if unknown := found.keys() - {column.name for column in metric.all_columns(answers.levels)}:
            raise ValueError(f"metric {metric.name} must declare the columns that it fills but fills "
                             f"{', '.join(sorted(unknown))} as well")  # fmt: skip
        row |= found
    return row


def values_by_example(answers: Answers, judged_by: Sequence[str]) -> Values:
    """What two trials can be compared by, for each score that has values of single examples."""
    values: Values = {}
    for metric in _applying(judged_by):
        values |= metric.per_example(answers)
    return values


def _applying(judged_by: Sequence[str]) -> Iterator[Metric]:
    return (metric for metric in METRICS.values() if metric.needs in judged_by)


def _levels(more: Iterable[str]) -> list[str]:
    """The levels of all datasets of raypeft, and more, each once."""
    return [*dict.fromkeys([*(level for dataset in DATASETS.values() for level in dataset.levels), *more])]
