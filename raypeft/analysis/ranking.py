"""Methods ranked over blocks: each model and dataset on which all of them ran.

title, headings, lines = ranks_table(rows, declared, "em_at_10")
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from raypeft.analysis.conditions import Condition, Row, conditions
from raypeft.analysis.settings import data_of
from raypeft.mistakes import some
from raypeft.results.declarations import Declarations

BLOCK = ("model", "dataset", "test_dataset", "fidelity", "limit", "test_limit")
"""Trials that agree in these fields answer the same questions with the same base model."""
MOST_NAMES = 6
"""Treatments that are not ranked, of which the names are told."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """What is ranked: the treatments that are in the most blocks, and the blocks that have all of them."""

    values: dict[str, list[float]]
    """Treatment -> its mean over seeds in every block."""
    others: int
    """How many further blocks lack a treatment."""
    left_out: list[str]
    """The treatments that are in fewer blocks."""
    own_settings: list[str]
    """The treatments that are methods with settings of their own in each block."""


def blocks_of(rows: Sequence[Row], declared: Declarations, score: str) -> Blocks:
    """The treatments and their blocks.

    A treatment is a condition's name without model and dataset, such as "lora r 16"; or a method that has one condition
    in each block, such as LoRA with a learning rate of its own for each model.
    """
    found: dict[str, list[tuple[Condition, float]]] = {}
    for condition in conditions(rows, declared):
        values = [row[score] for row in condition.rows if row.get(score) is not None]
        if values:
            block = " ".join(str(condition.fields[name]) for name in BLOCK if condition.fields.get(name) is not None)
            found.setdefault(block, []).append((condition, sum(values) / len(values)))
    own = _with_own_settings([[condition for condition, _ in inside] for inside in found.values()])
    table = [{_treatment(condition, own): mean for condition, mean in inside} for inside in found.values()]
    counts = Counter(name for line in table for name in line)
    kept = [name for name, count in counts.items() if count == max(counts.values())]
    whole = [line for line in table if all(name in line for name in kept)]
    return Blocks(
        values={name: [line[name] for line in whole] for name in kept},
        others=len(table) - len(whole),
        left_out=[name for name in counts if name not in kept],
        own_settings=[name for name in kept if name in own],
    )


def _with_own_settings(blocks: Sequence[Sequence[Condition]]) -> set[str]:
    """The methods with one condition in each block, whose name is not the same in all blocks."""
    names: dict[str, set[str]] = {}
    several: set[str] = set()
    for inside in blocks:
        counts = Counter(each.fields["tuning_method"] for each in inside)
        several |= {method for method, count in counts.items() if count > 1}
        for each in inside:
            names.setdefault(each.fields["tuning_method"], set()).add(_treatment(each))
    return {method for method, found in names.items() if len(found) > 1} - several


def ranks_table(rows: Sequence[Row], declared: Declarations, score: str) -> tuple[str, list[str], list[list[str]]]:
    """The mean rank of each treatment over the blocks, and whether it is tied with the best.

    Raises ValueError for an unknown score, and where fewer than 3 treatments or 2 blocks are complete.
    """
    from raypeft.analysis.statistics.ranks import friedman

    ranked = declared.score(score, "--ranks")
    found = blocks_of(rows, declared, score)
    ranks = friedman(found.values, ranked.higher_is_better)
    tied = ranks.tied_with_best()
    title = (
        f"Mean ranks by {ranked.title} over {ranks.blocks} blocks of model and dataset (1 is the best). "
        f"Friedman: p {ranks.p_value:.2g}. Two methods are told apart if their ranks differ by more than "
        f"{ranks.critical_difference:.2f} (Nemenyi, 5 %)."
        + (f" {found.others} blocks lack a method and do not count." if found.others else "")
        + (f" Settings differ between blocks: {', '.join(found.own_settings)}." if found.own_settings else "")
        + (f" In fewer blocks, and not ranked: {some(found.left_out, MOST_NAMES)}." if found.left_out else "")
    )
    lines = [[name, f"{rank:.2f}", "yes" if name in tied else "no"] for name, rank in ranks.mean_ranks.items()]
    return title, ["trial", "mean rank", "tied with the best"], lines


def _treatment(condition: Condition, own_settings: Collection[str] = ()) -> str:
    """What is ranked: the condition's name without what its block has in common, or its method alone."""
    if condition.fields["tuning_method"] in own_settings:
        return str(condition.fields["tuning_method"])
    shared = {str(condition.fields["model"]), data_of(condition.fields)}
    words = condition.label.split(" ")
    while words and words[0] in shared:
        words = words[1:]
    method, _, told = " ".join(words).partition(" ")
    settings = [each for each in told.split(", ") if each.partition(" ")[0] not in BLOCK]
    return " ".join(filter(None, (method, ", ".join(settings))))
