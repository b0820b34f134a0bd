"""Methods ranked over blocks: each model and dataset on which all of them ran.

title, headings, lines = ranks_table(rows, declared, "em_at_10")
"""

from __future__ import annotations

from collections.abc import Sequence

from raypeft.analysis.conditions import Condition, Row, conditions
from raypeft.analysis.settings import data_of
from raypeft.results.declarations import Declarations

BLOCK = ("model", "dataset", "test_dataset", "fidelity", "limit", "test_limit")
"""Trials that agree in these fields answer the same questions with the same base model."""


def blocks_of(rows: Sequence[Row], declared: Declarations, score: str) -> tuple[dict[str, list[float]], int]:
    """Treatment -> its mean over seeds in every block; and how many further blocks lack a treatment.

    A treatment is a condition's name without model and dataset: "lora r 16". Those that are in the most blocks count.
    """
    table: dict[str, dict[str, float]] = {}
    for condition in conditions(rows, declared):
        values = [row[score] for row in condition.rows if row.get(score) is not None]
        if values:
            block = " ".join(str(condition.fields[name]) for name in BLOCK if condition.fields.get(name) is not None)
            table.setdefault(block, {})[_treatment(condition)] = sum(values) / len(values)
    counts: dict[str, int] = {}
    for line in table.values():
        for name in line:
            counts[name] = counts.get(name, 0) + 1
    kept = [name for name, count in counts.items() if count == max(counts.values())]
    whole = {block: line for block, line in table.items() if all(name in line for name in kept)}
    return {name: [line[name] for line in whole.values()] for name in kept}, len(table) - len(whole)


def ranks_table(rows: Sequence[Row], declared: Declarations, score: str) -> tuple[str, list[str], list[list[str]]]:
    """The mean rank of each treatment over the blocks, and whether it is tied with the best.

    Raises ValueError for an unknown score, and where fewer than 3 treatments or 2 blocks are complete.
    """
    from raypeft.analysis.statistics.ranks import friedman

    ranked = declared.score(score, "--ranks")
    values, others = blocks_of(rows, declared, score)
    ranks = friedman(values, ranked.higher_is_better)
    tied = ranks.tied_with_best()
    title = (
        f"Mean ranks by {ranked.title} over {ranks.blocks} blocks of model and dataset (1 is the best). "
        f"Friedman: p {ranks.p_value:.2g}. Two methods are told apart if their ranks differ by more than "
        f"{ranks.critical_difference:.2f} (Nemenyi, 5 %)."
        + (f" {others} blocks lack a method and do not count." if others else "")
    )
    lines = [[name, f"{rank:.2f}", "yes" if name in tied else "no"] for name, rank in ranks.mean_ranks.items()]
    return title, ["trial", "mean rank", "tied with the best"], lines


def _treatment(condition: Condition) -> str:
    shared = {str(condition.fields["model"]), data_of(condition.fields)}
    words = condition.label.split(" ")
    while words and words[0] in shared:
        words = words[1:]
    return " ".join(words)
