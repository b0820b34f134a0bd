"""`ranked`: groups of trials in an order, the best one first.

    {ranked: [{tuning_method: lora}, {tuning_method: rag}, {tuning_method: icl}], on: em_at_10}

Each group must be better than the next one, by more than `by`. This is `better` for each two neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

from pydantic import Field

from raypeft.analysis.claims.better import ACROSS, Across, Better
from raypeft.analysis.claims.claim import Claim, Part, Side, amount, told
from raypeft.analysis.claims.evidence import Evidence, Selector
from raypeft.analysis.conditions import Condition
from raypeft.metrics.metric import Score


class Ranked(Claim):
    """Groups of trials, each better than the next."""

    kind: ClassVar[str] = "ranked"
    ranked: list[Side] = Field(min_length=2, description="Groups of trials, the best first")
    by: float = Field(0.0, ge=0, description="By how much each is better than the next, in the unit of the score")
    across: Across = Field("every", description=ACROSS)

    @property
    def sides(self) -> list[Selector]:
        return list(self.ranked)

    def must_be_chosen(self, found: Sequence[Condition]) -> list[Selector]:
        return list(self.ranked if self.across == "mean" else self.ranked[:-1])

    def sentence(self, score: Score) -> str:
        margin = f", each by more than {amount(self.by, score)}" if self.by else ""
        mean = ", in the mean over models and datasets" if self.across == "mean" else ""
        return f"{' > '.join(map(told, self.ranked))}{margin} ({score.title}){mean}"

    def parts(self, evidence: Evidence, score: Score) -> Iterator[Part]:
        for one, other in pairwise(self.ranked):
            step = Better(better=one, than=other, by=self.by, on=self.on, where=self.where, per=self.per,
                          across=self.across)  # fmt: skip
            for part in step.parts(evidence, score):
                yield replace(part, block=", ".join(filter(None, (part.block, f"{told(one)} > {told(other)}"))))
