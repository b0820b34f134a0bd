"""`optimum_of`: where the best value of a field lies does not depend on another field, or has a given ratio.

    {optimum_of: learning_rate, independent_of: lora_r, on: test_loss, within_decades: 0.25}
    {optimum_of: learning_rate, for: {tuning_method: lora}, times: 10, that_of: {tuning_method: full}, on: test_loss,
     within_decades: 0.3}

The optimum is interpolated between the values that were tried, on their logarithm; its interval comes from drawing
seeds and test examples anew (`raypeft.analysis.statistics.optima`). Supported: the 95 % intervals of all differences
between optima lie within the margin. Refuted: one lies outside. Where the best value is at an end of the grid, the
optimum may lie beyond it, and the claim stays undecided.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from raypeft.analysis.choosing import mean_of
from raypeft.analysis.claims.claim import Claim, Part, Side, told
from raypeft.analysis.claims.evidence import Block, Evidence, Selector, blocks, fitting, representative
from raypeft.analysis.conditions import Condition, sortable
from raypeft.analysis.settings import SHORT, shown
from raypeft.analysis.statistics.optima import FEWEST_VALUES, Curve, curve, draws, draws_for, have_seeds
from raypeft.metrics.metric import Score


class Optimum(Claim):
    """Where the best value of a field lies."""

    kind: ClassVar[str] = "optimum_of"
    optimum_of: str = Field(description="A field with numbers above 0, such as learning_rate")
    independent_of: str | None = Field(None, description="The field on which the optimum is said not to depend")
    one: Side | None = Field(None, alias="for", description="Instead of independent_of: the first group of trials")
    times: float = Field(1.0, gt=0, description="The optimum of the first group is so many times that of the second")
    that_of: Side | None = Field(None, description="The second group of trials")
    within_decades: float = Field(gt=0, description="The largest difference that does not matter, in powers of ten "
                                  "(0.3: a factor of two)")  # fmt: skip

    @model_validator(mode="after")
    def _compares(self) -> Optimum:
        if (self.independent_of is None) == (self.one is None) or (self.one is None) != (self.that_of is None):
            raise ValueError("must have either independent_of, or for and that_of")
        return self

    @property
    def sides(self) -> list[Selector]:
        return [self.one, self.that_of] if self.one and self.that_of else []

    @property
    def free(self) -> Sequence[str]:
        return [self.optimum_of, *filter(None, [self.independent_of])]

    def must_be_chosen(self, found: Sequence[Condition]) -> list[Selector]:
        return [{**group, self.optimum_of: value} for group in self._groups(found)
                for value in _values(fitting(found, group), self.optimum_of)]  # fmt: skip

    def compares(self, condition: Condition) -> bool:
        return condition.fields.keys() >= {*self.free} and (not self.sides or super().compares(condition))

    @property
    def fields(self) -> list[str]:
        return [*dict.fromkeys([*self.free, *super().fields])]

    def sentence(self, score: Score) -> str:
        name = f"the best {SHORT.get(self.optimum_of, self.optimum_of)}"
        margin = f"within a factor of {10**self.within_decades:.2g}, by {score.title}"
        if self.independent_of:
            return f"{name} does not depend on {SHORT.get(self.independent_of, self.independent_of)} ({margin})"
        assert self.one and self.that_of
        return f"{name} of {told(self.one)} is {self.times:g} times that of {told(self.that_of)} ({margin})"

    def _groups(self, found: Sequence[Condition]) -> list[Selector]:
        """The groups of trials of a block that have an optimum each."""
        if self.independent_of is None:
            return self.sides
        compared = [each for each in found if self.compares(each)]
        return [{self.independent_of: value} for value in _values(compared, self.independent_of)]

    def parts(self, evidence: Evidence, score: Score) -> Iterator[Part]:
        every = blocks(evidence, self.where, self.sides, self.per, self.free)
        compared = [(block, groups) for block in every if len(groups := self._groups(block.conditions)) > 1]
        count = draws_for(sum(math.comb(len(groups), 2) for _, groups in compared))
        for block, groups in compared:
            curves = [self._curve(fitting(block.conditions, group), score, evidence) for group in groups]
            lacks = [f"{told(group)}: {found}" for group, found in zip(groups, curves, strict=True)
                     if isinstance(found, str)]  # fmt: skip
            made = [each for each in curves if isinstance(each, Curve)]
            if lacks or not have_seeds(made):
                yield Part(block.label, lacks="; ".join(lacks) or self._lacks_seeds())
                continue
            found = draws(made, count)
            for first, second in combinations(range(len(groups)), 2):
                yield self._part(block, (groups[first], groups[second]), found[:, first] - found[:, second])

    def unfit(self, found: Sequence[Condition]) -> str:
        """Which value of the field has no logarithm, on which the optimum is looked for; empty where each has one."""
        values = _values(found, self.optimum_of)
        odd = [each for each in values if isinstance(each, bool) or not isinstance(each, int | float) or each <= 0]
        if not odd:
            return ""
        return (f"the values of {self.optimum_of} must be numbers above 0 but one is {shown(odd[0])}: the optimum is "
                "looked for on their logarithm; name the others in where")  # fmt: skip

    def _lacks_seeds(self) -> str:
        name = SHORT.get(self.optimum_of, self.optimum_of)
        return f"the best {name} and those next to it ran with one seed; two or more are needed at one of them"

    def _curve(self, found: Sequence[Condition], score: Score, evidence: Evidence) -> Curve | str:
        """The score over the values of the field, lower is better; or why there is no optimum."""
        values = _values(found, self.optimum_of)
        if unfit := self.unfit(found):
            return unfit
        if len(values) < FEWEST_VALUES:
            return f"{len(values)} values of {self.optimum_of}; {FEWEST_VALUES} or more are needed"
        chosen = [representative(fitting(found, {self.optimum_of: value}), score) for value in values]
        cells = [each for each in chosen if each is not None and mean_of(each, score.name) is not None]
        if len(cells) < len(values):
            return "a value has no score, or has several trials of which validation chooses none"
        sign = -1 if score.higher_is_better else 1
        made = curve(values, [[sign * row[score.name] for row in each.rows] for each in cells],
                     _examples(cells, score, evidence, sign))  # fmt: skip
        if not made.is_inside:
            end = "lowest" if made.best == 0 else "highest"
            name = SHORT.get(self.optimum_of, self.optimum_of)
            return f"the best {name} ({values[made.best]:g}) is the {end} that was tried: extend the grid"
        return made

    def _part(self, block: Block, groups: tuple[Selector, Selector], found: Any) -> Part:
        shift, within, count = math.log10(self.times), self.within_decades, len(found)
        moved = found - shift

        def share(outcomes: Any) -> float:
            return min(1.0, 2 * (float(outcomes.sum()) + 1) / (count + 1))

        low, middle, high = (float(each) for each in np.quantile(found, [0.025, 0.5, 0.975]))
        supports = max(share(moved >= within), share(moved <= -within))
        refutes = min(share(moved <= within), share(moved >= -within))
        name = f"{told(groups[0])} against {told(groups[1])}"
        best = f"the best {SHORT.get(self.optimum_of, self.optimum_of)}"
        text = f"{best} is {10**middle:.2f} times as large [{10**low:.2f}, {10**high:.2f}]"
        times = math.ceil(((high - low) / within) ** 2)
        needs = f"about {times} times as many seeds, or a finer grid" if high - low > 2 * within else ""
        return Part(", ".join(filter(None, (block.label, name))), text, supports, refutes,
                    "vertex of a parabola; chance: seeds, and test examples where their scores are stored", needs,
                    values={"effect": 10**middle, "low": 10**low, "high": 10**high, "unit": "times"})  # fmt: skip

    def problems(self, fractions: bool) -> Iterator[str]:
        if self.times != 1 and self.independent_of:
            yield "times must be left out beside independent_of"


def _values(found: Sequence[Condition], name: str) -> list[Any]:
    """The values that a field has among conditions, in order. A value may be a list."""
    values = {str(value): value for each in found if (value := each.fields.get(name)) is not None}
    return sorted(values.values(), key=sortable)


def _examples(cells: Sequence[Condition], score: Score, evidence: Evidence, sign: int) -> Any:
    """(values, examples): the mean over seeds of each example's score; None where they are not stored alike."""
    tables = [[evidence.values(row).get(score.name, {}) for row in each.rows] for each in cells]
    names = sorted(tables[0][0])
    if not names or any(table.keys() != tables[0][0].keys() for side in tables for table in side):
        return None
    return np.array([[sign * np.mean([table[name] for table in side]) for name in names] for side in tables])
