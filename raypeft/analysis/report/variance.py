"""Which swept field matters: how much of the variance of a score each field explains, alone and with another.

    decomposition(points)      # [("lora_r", 0.62), ("lora_r × lora_alpha", 0.05), ("seeds", 0.1)]

On a complete grid with the same number of seeds in each cell, the functional ANOVA (Hutter, Hoos & Leyton-Brown 2014,
"An Efficient Approach for Assessing Hyperparameter Importance") is the classical analysis of variance: the sum of
squares of the cell means splits without rest into one part for each field and each set of fields. No forest has to be
fitted. Where cells are missing, such as those of runs that diverged, `complete_grid` finds a part that is complete.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any

Cell = Mapping[str, Any]
LEAST_KEPT = 0.5
"""Share of the cells that a part of a grid must have to stand for it."""


def complete_grid(cells: Sequence[Cell], names: Sequence[str]) -> tuple[list[tuple[str, ...]], list[int]]:
    """The fields as factors, and the places of the cells that are a complete grid of them.

    These are all cells where they are a grid. Else values of a factor are left out until the others make one, with two
    values or more of each factor and half of the cells or more. No cell is kept where there is no such part.
    """
    factors = complete_factors(cells, names)
    if len(factors) > 1:
        return factors, [*range(len(cells))]
    for factors in _joined(cells, names):
        kept = _complete_part(cells, factors)
        several = all(len({_key(cells[place], factor) for place in kept}) > 1 for factor in factors)
        if len(factors) > 1 and several and len(kept) >= LEAST_KEPT * len(cells):
            return factors, kept
    return factors, []


def complete_factors(cells: Sequence[Cell], names: Sequence[str]) -> list[tuple[str, ...]]:
    """The fields as factors that make a complete grid: each has its own factor, or shares one with another field.

    Fields that were swept together (r and alpha = 2r) become one factor of their combinations. One factor is left where
    the cells are no grid at all.
    """
    for factors in _joined(cells, names):
        if _is_complete(cells, factors):
            break
    return factors


def _joined(cells: Sequence[Cell], names: Sequence[str]) -> Iterator[list[tuple[str, ...]]]:
    """The fields as factors of their own, then with two of them joined after the other, until there is one factor."""
    factors: list[tuple[str, ...]] = [(name,) for name in names]
    yield factors
    while len(factors) > 1:
        pairs = list(combinations(range(len(factors)), 2))
        # Those two are joined whose combinations are fewest of all that there could be.
        one, other = min(pairs, key=lambda pair: _filled(cells, factors[pair[0]], factors[pair[1]]))
        joined = (*factors[one], *factors[other])
        factors = [*(each for place, each in enumerate(factors) if place not in (one, other)), joined]
        yield factors


def _complete_part(cells: Sequence[Cell], factors: Sequence[tuple[str, ...]]) -> list[int]:
    """The places of the cells that are left when, one by one, the value with most cells missing has been left out."""
    kept = [*range(len(cells))]
    while kept and not _is_complete([cells[place] for place in kept], factors):
        counts = Counter((factor, _key(cells[place], factor)) for place in kept for factor in factors)
        values = Counter(factor for factor, _ in counts)
        # A value has a cell for each combination of the other factors' values, if none is missing.
        whole = math.prod(values.values())
        worst, value = min(counts, key=lambda each: (counts[each] * values[each[0]] / whole, counts[each]))
        kept = [place for place in kept if _key(cells[place], worst) != value]
    return kept


def decomposition(
    cells: Sequence[Cell], factors: Sequence[tuple[str, ...]], values: Sequence[Sequence[float]]
) -> list[tuple[str, float]]:
    """Shares of the variance: each factor, each two of them, what is left (`more than two fields`), and `seeds`.

    `cells` and `values` are in the same order; `values` has the score of each seed of a cell. The shares sum to 1. An
    empty list: all scores are the same. Raises ValueError where cells have different numbers of seeds.
    """
    counts = {len(found) for found in values}
    if len(counts) != 1:
        raise ValueError(f"every cell must have the same number of seeds but they have {sorted(counts)}")
    seeds = counts.pop()
    means = [sum(found) / seeds for found in values]
    grand = sum(means) / len(means)
    within = sum((value - mean) ** 2 for found, mean in zip(values, means, strict=True) for value in found)
    between = seeds * sum((mean - grand) ** 2 for mean in means)
    total = within + between
    if total <= 0:
        return []
    squares: dict[tuple[int, ...], float] = {}
    for size in (1, 2):
        for chosen in combinations(range(len(factors)), size):
            names = [name for place in chosen for name in factors[place]]
            whole = seeds * _squares(cells, names, means, grand)
            squares[chosen] = whole - sum(squares[(place,)] for place in chosen if size > 1)
    shares = [
        (" × ".join(_title(factors[place]) for place in chosen), found / total) for chosen, found in squares.items()
    ]
    rest = (between - sum(squares.values())) / total
    if len(factors) > 2:
        shares.append(("more than two fields", rest))
    if seeds > 1:
        shares.append(("seeds", within / total))
    return [(name, max(0.0, share)) for name, share in shares]


def _title(factor: tuple[str, ...]) -> str:
    return " with ".join(factor)


def _key(cell: Cell, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(cell.get(name)) for name in names)


def _squares(cells: Sequence[Cell], names: Sequence[str], means: Sequence[float], grand: float) -> float:
    """The sum over cells of the squared difference between the mean of their group and the grand mean."""
    groups: dict[tuple[str, ...], list[float]] = {}
    for cell, mean in zip(cells, means, strict=True):
        groups.setdefault(_key(cell, names), []).append(mean)
    return sum(len(found) * (sum(found) / len(found) - grand) ** 2 for found in groups.values())


def _is_complete(cells: Sequence[Cell], factors: Sequence[tuple[str, ...]]) -> bool:
    found = {tuple(_key(cell, factor) for factor in factors) for cell in cells}
    sides = [{_key(cell, factor) for cell in cells} for factor in factors]
    return len(found) == len(cells) and found == set(product(*sides))


def _filled(cells: Sequence[Cell], one: tuple[str, ...], other: tuple[str, ...]) -> float:
    """The share of the combinations of two factors that there are."""
    found = {(_key(cell, one), _key(cell, other)) for cell in cells}
    return len(found) / (len({each for each, _ in found}) * len({each for _, each in found}))
