"""The best condition of each method, chosen on validation and reported on test; and the optimism of choosing on test.

    title, headings, lines = best_table(rows, store, declared, "em_at_10")

The condition that is best on the test split is partly best by luck: with many conditions, its test score is too high.
So a condition is chosen by its validation score (or, without one, by its validation loss), and its test score stands
beside the highest one, with an estimate of how much that one is too high.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from raypeft.analysis.comparisons import Read, reader, values_of
from raypeft.analysis.conditions import Condition, Row, conditions, places_apart
from raypeft.analysis.ranking import BLOCK
from raypeft.analysis.settings import data_of, shown
from raypeft.analysis.statistics.optimism import optimism
from raypeft.metrics.metric import Score
from raypeft.results.declarations import Declarations
from raypeft.results.store import ResultStore

DECODING = ("num_beams", "num_return_sequences", "do_sample", "temperature", "top_p", "max_new_tokens")
"""Fields of how answers are generated. A score of ten candidates is no rival of one of a single candidate."""
ALIKE = (*dict.fromkeys((*BLOCK, *DECODING)),)
"""Fields in which conditions must agree for one to be chosen among them: they answer the same questions in the same
way, and their validation losses are defined alike."""
LOSS = "best_eval_loss"
"""The validation loss, by which a condition is chosen where it has no validation score."""
HEADINGS = ["method", "conditions", "chosen on validation", "ids", "by", "its test score", "best on test", "its score",
            "optimism of choosing on test"]  # fmt: skip


def best_table(
    rows: Sequence[Row], store: ResultStore, declared: Declarations, name: str
) -> tuple[str, list[str], list[list[str]]]:
    """One line for each method with several conditions that agree in `ALIKE`, and in the places that tell some apart.

    Raises ValueError for an unknown score.
    """
    score = declared.score(name, "--best")
    groups: dict[tuple[str, ...], list[Condition]] = {}
    every = conditions(rows, declared)
    apart = places_apart(every)
    for each in every:
        if mean_of(each, name) is not None:
            key = tuple(str(each.value(field)) for field in ("tuning_method", *ALIKE, *apart))
            groups.setdefault(key, []).append(each)
    several = [found for found in groups.values() if len(found) > 1]
    read = reader(store)
    lines = [_line(title, found, read, declared, score) for title, found in zip(_titles(several), several, strict=True)]
    title = (
        f"The best condition of each method by {score.title}. Report the score of the condition that was chosen on "
        "validation. optimism: by how much the best score on the test is too high because it was chosen there "
        "(estimated by choosing on one half of the test examples and scoring on the other)."
    )
    return title, HEADINGS, lines


def _titles(groups: Sequence[Sequence[Condition]]) -> list[str]:
    """The model, data and method of each group, and what else they have to agree in as far as the groups differ."""
    firsts = [found[0] for found in groups]
    named = ("model", "dataset", "test_dataset")
    others = [name for name in (*ALIKE, *places_apart(firsts)) if name not in named]
    varied = [name for name in others if len({str(each.value(name)) for each in firsts}) > 1]
    return [
        " ".join((str(each.fields["model"]), data_of(each.fields), str(each.fields["tuning_method"])))
        + "".join(f", {name} {shown(each.value(name))}" for name in varied)
        for each in firsts
    ]


def _line(method: str, found: Sequence[Condition], read: Read, declared: Declarations, score: Score) -> list[str]:
    by, by_sign = criterion(found, score)
    sign = 1 if score.higher_is_better else -1
    best = max(found, key=lambda each: sign * (mean_of(each, score.name) or 0.0))
    excess = _optimism(found, read, declared, score)
    shown = [best.label, _text(mean_of(best, score.name), score), _text(excess, score)]
    if not by:
        return [method, str(len(found)), "", "", "no validation score", "", *shown]
    chosen = max(found, key=lambda each: by_sign * (mean_of(each, by) or 0.0))
    return [method, str(len(found)), chosen.label, chosen.ids, by, _text(mean_of(chosen, score.name), score), *shown]


def criterion(found: Sequence[Condition], score: Score) -> tuple[str, int]:
    """The validation column by which the best of these conditions is chosen, and 1 where higher is better, else -1.

    Every condition must have it; an empty name: there is none. The loss chooses among conditions that agree in `ALIKE`
    alone: it knows nothing of decoding, and is another one with other limits or fidelity.
    """
    column, sign = f"{score.name}_validation", 1 if score.higher_is_better else -1
    if all(mean_of(each, column) is not None for each in found):
        return column, sign
    has_losses = all(mean_of(each, LOSS) is not None for each in found)
    return (LOSS, -1) if has_losses and agree(found) else ("", 1)


def agree(found: Sequence[Condition]) -> bool:
    """Whether conditions agree in `ALIKE`, and in the places that tell some apart, so that their validation losses can
    be compared."""
    return all(len({str(each.value(name)) for each in found}) == 1 for name in (*ALIKE, *places_apart(found)))


def _optimism(found: Sequence[Condition], read: Read, declared: Declarations, score: Score) -> float | None:
    """The optimism of choosing by this score on the test; None where examples have no scores."""
    tables = [_by_example(each, read, declared, score.name) for each in found]
    if any(table.keys() != tables[0].keys() for table in tables):
        return None
    sign = 1 if score.higher_is_better else -1
    return optimism([[sign * table[example] for example in tables[0]] for table in tables])


def _by_example(condition: Condition, read: Read, declared: Declarations, name: str) -> dict[str, float]:
    """The mean over seeds of each example's score; empty where a seed lacks some."""
    tables: list[Mapping[str, float]] = [values_of(read, row, declared).get(name, {}) for row in condition.rows]
    if any(table.keys() != tables[0].keys() for table in tables):
        return {}
    return {example: sum(table[example] for table in tables) / len(tables) for example in tables[0]}


def mean_of(condition: Condition, column: str) -> float | None:
    """The mean over seeds of a column; None where a seed lacks it."""
    values: list[Any] = [row.get(column) for row in condition.rows]
    return sum(values) / len(values) if all(map(is_known, values)) else None


def is_known(value: Any) -> bool:
    """Whether a measured value is one: a run that diverged may have written no number."""
    return value is not None and not (isinstance(value, float) and not isfinite(value))


def _text(value: float | None, score: Score) -> str:
    return "" if value is None else score.text(value)
