"""How the seeds of two conditions stand to each other: pairs of the same seeds, or independent draws.

    found = over_seeds_and_examples((lora, icl), (ours, theirs), declared, floor)      # None: too few seeds

No seed is dropped, and no trial with chance in it stands for seeds that did not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raypeft.analysis.conditions import SEEDS, Condition, Row, chances, independent, seed_of
from raypeft.analysis.statistics.paired import floor_variance
from raypeft.analysis.statistics.seeds import FEWEST_SEEDS, TwoLevel, two_level
from raypeft.metrics.metric import Score
from raypeft.results.declarations import Declarations


def has_chance(condition: Condition, declared: Declarations) -> bool:
    """Whether another seed could give another score on all examples: it trains, or asks all with the same random shots.

    Sampling, and shots drawn anew for each query, are chance as well, but of single examples: the variance between
    examples has it.
    """
    return bool(chances(condition.fields, declared))


def fewest_seeds(condition: Condition, declared: Declarations) -> tuple[str, int]:
    """How many independent values the seeds have that are chance here, and the name of the seed that has so few. A
    training with random shots has two seeds, and neither stands for the other: two trainings, each with the same two
    draws of shots, are two.
    """
    names = chances(condition.fields, declared)
    counts = {name: len({seed_of(row, name) for row in condition.rows}) for name in names}
    name = min(counts, key=lambda each: counts[each], default="seed")
    return name, len(independent(condition.rows, names))


def has_enough_seeds(condition: Condition, declared: Declarations) -> bool:
    """Whether a condition ran with enough values of each seed that is chance to tell how far seeds scatter."""
    return fewest_seeds(condition, declared)[1] >= FEWEST_SEEDS


def seeds_text(condition: Condition, declared: Declarations) -> str:
    """How many seeds a condition ran with: `5`, or `5 (seed: 1)` where five draws of shots share one training."""
    count, (name, fewest) = len(condition.rows), fewest_seeds(condition, declared)
    return f"{count} ({name}: {fewest})" if fewest < min(count, FEWEST_SEEDS) else str(count)


def lacking_seeds(sides: Sequence[Condition], declared: Declarations) -> list[Condition]:
    """The conditions with chance in them that ran with too few seeds to tell how far seeds scatter."""
    return [each for each in sides if has_chance(each, declared) and not has_enough_seeds(each, declared)]


def floor_of(score: Score, examples: int) -> float:
    """The variance that a difference by a score has at least: fractions of few examples can agree by chance."""
    return floor_variance(examples) if score.unit == "fraction" else 0.0


def same_seeds(ours: Sequence[Row], theirs: Sequence[Row]) -> list[int] | None:
    """For each of our rows the place of theirs with the same seeds; None where the two sides ran other seeds."""
    keys = [[tuple(row.get(name) for name in SEEDS) for row in side] for side in (ours, theirs)]
    if len(keys[0]) != len(keys[1]) or len(set(keys[0])) < len(keys[0]) or set(keys[0]) != set(keys[1]):
        return None
    return [keys[1].index(key) for key in keys[0]]


@dataclass(frozen=True, slots=True)
class Drawn:
    """Values of independent draws of seeds."""

    sides: tuple[Condition, ...]
    """Whose seeds they are: of one condition, or of two that ran the same. The values are in the order of its rows."""
    values: Any
    """(seeds, examples): what each seed adds to the difference."""


def drawn_seeds(sides: tuple[Condition, Condition], values: tuple[Any, Any], declared: Declarations) -> list[Drawn]:
    """The first condition's values minus the second's, as one table of paired seeds, or one for each side with chance.

    `values` are (seeds, examples) of each, in the order of the conditions' rows. Seeds are paired where both sides ran
    the same ones. A condition without chance stands with its mean for every seed of the other. Empty: a side with
    chance has too few seeds, or no side has chance and only the examples are left.
    """
    (one, other), (ours, theirs) = sides, values
    if lacking_seeds(sides, declared):
        return []
    order = same_seeds(one.rows, other.rows)
    if order is not None and len(ours) >= FEWEST_SEEDS:
        return [Drawn(sides, ours - theirs[order])]
    first, second = (has_chance(each, declared) for each in sides)
    if first and second:
        return [Drawn((one,), ours), Drawn((other,), -theirs)]
    if first:
        return [Drawn((one,), ours - theirs.mean(axis=0))]
    return [Drawn((other,), ours.mean(axis=0) - theirs)] if second else []


def over_seeds_and_examples(
    sides: tuple[Condition, Condition], values: tuple[Any, Any], declared: Declarations, floor: float = 0.0
) -> TwoLevel | None:
    """The mean of the first condition minus the second's, with seeds and examples as chance.

    `values` as `drawn_seeds` takes them. None: a side with chance has too few seeds, or there is no chance of seeds.
    """
    return of_drawn(drawn_seeds(sides, values, declared), floor)


def of_drawn(drawn: Sequence[Drawn], floor: float = 0.0) -> TwoLevel | None:
    """The same from what `drawn_seeds` found."""
    if not drawn:
        return None
    return two_level(drawn[0].values, -drawn[1].values if len(drawn) > 1 else None, floor)
