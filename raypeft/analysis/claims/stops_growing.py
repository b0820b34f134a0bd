"""`stops_growing`: from a value of a field on, larger values no longer help.

    {stops_growing: num_shots, after: 8, on: em_at_10, within: 0.01}

Supported: the gain of each larger value over `after` is smaller than `within` (the 95 % interval lies below it).
Refuted: the gain of one of them is larger. Whether the score grows up to `after` is another claim (`better`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import Any, ClassVar

from pydantic import Field

from raypeft.analysis.claims.better import gain
from raypeft.analysis.claims.claim import Claim, Part, amount, tested, told
from raypeft.analysis.claims.evidence import Evidence, Selector, blocks
from raypeft.analysis.conditions import Condition
from raypeft.metrics.metric import Score

USUAL = 0.01
"""The margin of scores that are fractions: one point."""


class StopsGrowing(Claim):
    """Larger values than one of a field do not help."""

    kind: ClassVar[str] = "stops_growing"
    stops_growing: str = Field(description="A numeric field, such as num_shots")
    after: float = Field(description="The value from which on larger ones do not help")
    within: float | None = Field(None, gt=0, description="The largest gain that does not matter, in the unit of the "
                                 "score. null: one point of a score in percent")  # fmt: skip

    @property
    def sides(self) -> list[Selector]:
        return [{self.stops_growing: self._plain(self.after)}]

    def must_be_chosen(self, found: Sequence[Condition]) -> list[Selector]:
        return [*self.sides, *({self.stops_growing: value} for value in self._larger(found))]

    def compares(self, condition: Condition) -> bool:
        value = condition.fields.get(self.stops_growing)
        return isinstance(value, int | float) and value >= self.after

    @property
    def margin(self) -> float:
        return USUAL if self.within is None else self.within

    def sentence(self, score: Score) -> str:
        largest = told(self.sides[0])
        return f"more than {largest} adds less than {amount(self.margin, score)} ({score.title})"

    def parts(self, evidence: Evidence, score: Score) -> Iterator[Part]:
        base = self.sides[0]
        region = (-inf, self.margin) if score.higher_is_better else (-self.margin, inf)
        for block in blocks(evidence, self.where, [base], self.per):
            for value in self._larger(block.conditions):
                side = {self.stops_growing: value}
                label = ", ".join(filter(None, (block.label, told(side))))
                yield tested(label, gain(block, side, base, score, evidence), score, region)

    def _larger(self, found: Sequence[Condition]) -> list[Any]:
        values = {each.fields.get(self.stops_growing) for each in found}
        return sorted(each for each in values if isinstance(each, int | float) and each > self.after)

    @staticmethod
    def _plain(value: float) -> float | int:
        return int(value) if value == int(value) else value

    def problems(self, fractions: bool) -> Iterator[str]:
        if self.within is None and not fractions:
            yield f"within must be given for {self.on}, which is no score in percent"
