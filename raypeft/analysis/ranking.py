"""Methods ranked over blocks: each model and dataset on which all of them ran.

title, headings, lines = ranks_table(rows, declared, "em_at_10")
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raypeft.analysis.conditions import SEEDS, Condition, Row, conditions
from raypeft.analysis.origins import PLACES
from raypeft.analysis.settings import changed, labels_in_blocks
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
    """The treatments whose settings are not the same in all these blocks."""


def blocks_of(rows: Sequence[Row], declared: Declarations, score: str) -> Blocks:
    """The treatments and their blocks.

    A treatment is a method with what tells its conditions apart in a block, such as "lora r 16"; or a method that has
    one condition in each block, such as LoRA with a learning rate of its own for each model.
    """
    found: dict[tuple[Any, ...], list[tuple[Condition, float]]] = {}
    for condition in conditions(rows, declared):
        values = [row[score] for row in condition.rows if row.get(score) is not None]
        if values:
            block = tuple(condition.fields.get(name) for name in BLOCK)
            found.setdefault(block, []).append((condition, sum(values) / len(values)))
    names = _treatments([[condition for condition, _ in inside] for inside in found.values()], declared)
    table = [dict(zip(told, inside, strict=True)) for told, inside in zip(names, found.values(), strict=True)]
    counts = Counter(name for line in table for name in line)
    kept = [name for name, count in counts.items() if count == max(counts.values())]
    whole = [line for line in table if all(name in line for name in kept)]
    return Blocks(
        values={name: [line[name][1] for line in whole] for name in kept},
        others=len(table) - len(whole),
        left_out=[name for name in counts if name not in kept],
        own_settings=[name for name in kept if _differ([line[name][0] for line in whole], declared)],
    )


def _treatments(blocks: Sequence[Sequence[Condition]], declared: Declarations) -> list[list[str]]:
    """The name of each condition of each block."""
    methods: dict[str, list[Condition]] = {}
    several: set[str] = set()
    for inside in blocks:
        counts = Counter(each.fields["tuning_method"] for each in inside)
        several |= {method for method, count in counts.items() if count > 1}
        for each in inside:
            methods.setdefault(each.fields["tuning_method"], []).append(each)
    alone = {method for method, found in methods.items() if method not in several and _differ(found, declared)}
    names = labels_in_blocks([[*map(_as_row, inside)] for inside in blocks], declared)
    return [
        [method if (method := each.fields["tuning_method"]) in alone else name
         for each, name in zip(inside, told, strict=True)]
        for inside, told in zip(blocks, names, strict=True)
    ]  # fmt: skip


def _as_row(condition: Condition) -> Mapping[str, Any]:
    """Its first row without what its rows need not have in common."""
    return {**condition.rows[0], **dict.fromkeys((*SEEDS, *PLACES)), **condition.fields}


def _differ(found: Sequence[Condition], declared: Declarations) -> bool:
    """Whether these conditions of one method, each of another block, have other settings."""
    settings = [changed(each.fields, declared) for each in found]
    own = [{name: value for name, value in each.items() if name not in BLOCK} for each in settings]
    return any(each != own[0] for each in own)


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
