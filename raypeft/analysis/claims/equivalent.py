"""`equivalent`: values of a field differ by less than a margin.

    {equivalent: {lora_alpha: [16, 32]}, on: test_loss, within: 0.01}

Two one-sided tests (TOST, Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15, 657-680) for each two
values. Supported: the 95 % intervals of all differences lie within the margin. Refuted: one lies outside. Each value is
represented by its best trial on validation; with `per: learning_rate` they are compared at each rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import ClassVar

from pydantic import Field

from raypeft.analysis.claims.better import gain
from raypeft.analysis.claims.claim import Claim, Part, amount, tested, told
from raypeft.analysis.claims.evidence import Evidence, Selector, blocks
from raypeft.analysis.conditions import Condition
from raypeft.metrics.metric import Score


class Equivalent(Claim):
    """Values of one field give the same score."""

    kind: ClassVar[str] = "equivalent"
    equivalent: dict[str, list[object]] = Field(min_length=1, max_length=1, description="One field, and its values")
    within: float = Field(gt=0, description="The largest difference that does not matter, in the unit of the score")

    @property
    def sides(self) -> list[Selector]:
        return [{name: value} for name, values in self.equivalent.items() for value in values]

    def must_be_chosen(self, found: Sequence[Condition]) -> list[Selector]:
        return self.sides

    def sentence(self, score: Score) -> str:
        values = " and ".join(map(told, self.sides))
        return f"{values} differ by less than {amount(self.within, score)} ({score.title})"

    def parts(self, evidence: Evidence, score: Score) -> Iterator[Part]:
        pairs = list(combinations(self.sides, 2))
        for one, other in pairs:
            for block in blocks(evidence, self.where, [one, other], self.per):
                name = f"{told(one)} and {told(other)}" if len(pairs) > 1 else ""
                label = ", ".join(filter(None, (block.label, name)))
                yield tested(label, gain(block, one, other, score, evidence), score, (-self.within, self.within))

    def problems(self, fractions: bool) -> Iterator[str]:
        for name, values in self.equivalent.items():
            if len(values) < 2:
                yield f"{name} must have at least two values to compare but got {values}"
