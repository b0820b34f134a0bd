"""`better`: one group of trials scores better than another one, by more than a margin.

    {better: {tuning_method: lora}, than: {tuning_method: icl}, on: em_at_10, by: 0.02}

Supported: the 95 % interval of the gain lies above `by`. Refuted: it lies below. Each side is represented by its best
trial on validation. Where the second side has several trials and none can be chosen on validation, the first must be
better than each of them. The claim must hold in every block (model and dataset), or, with `across: mean`, for the mean
gain over these blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import ClassVar, Literal

from pydantic import Field

from raypeft.analysis.claims.claim import Claim, Part, Side, amount, tested, told
from raypeft.analysis.claims.contrast import Contrast, contrast, mean_contrast
from raypeft.analysis.claims.evidence import Block, Evidence, Selector, blocks, fitting, representative, rivals
from raypeft.analysis.conditions import Condition
from raypeft.metrics.metric import Score

Across = Literal["every", "mean"]
ACROSS = "every: it must hold for each model and dataset; mean: for the mean over them"


class Better(Claim):
    """One group of trials is better than another one."""

    kind: ClassVar[str] = "better"
    better: Side = Field(description="The trials that are said to be better")
    than: Side = Field(description="The trials that they are compared with")
    by: float = Field(0.0, ge=0, description="By how much at least, in the unit of the score (0.02: 2 points of EM)")
    across: Across = Field("every", description=ACROSS)

    @property
    def sides(self) -> list[Selector]:
        return [self.better, self.than]

    def must_be_chosen(self, found: Sequence[Condition]) -> list[Selector]:
        return [self.better, self.than] if self.across == "mean" else [self.better]

    def sentence(self, score: Score) -> str:
        margin = f" by more than {amount(self.by, score)}" if self.by else ""
        mean = ", in the mean over models and datasets" if self.across == "mean" else ""
        return f"{told(self.better)} is better than {told(self.than)}{margin} ({score.title}){mean}"

    def parts(self, evidence: Evidence, score: Score) -> Iterator[Part]:
        found = [(block, each) for block in blocks(evidence, self.where, self.sides, self.per)
                 for each in gains(block, self.better, self.than, score, evidence)]  # fmt: skip
        region = beyond(self.by, score)
        if self.across == "mean" and found:
            yield tested(*averaged(found), score, region)
            return
        for block, each in found:
            yield tested(block.label, each, score, region)


def beyond(margin: float, score: Score) -> tuple[float, float]:
    """Where the difference of two scores lies if the first is better by more than a margin."""
    return (margin, inf) if score.higher_is_better else (-inf, -margin)


def gains(block: Block, one: Selector, other: Selector, score: Score, evidence: Evidence) -> list[Contrast | str]:
    """The difference between both sides of a block: one, or one for each rival; or why there is none."""
    ours = representative(fitting(block.conditions, one), score)
    if ours is None:
        return [_unchosen(one)]
    theirs = [each for each in rivals(fitting(block.conditions, other), score) if each is not ours]
    return [contrast(ours, each, score, evidence) for each in theirs]


def gain(block: Block, one: Selector, other: Selector, score: Score, evidence: Evidence) -> Contrast | str:
    """The difference between the conditions that stand for both sides, or why there is none.

    Claims that something does not change need it: nobody would choose each of several rivals, and a bad one among them
    refutes nothing.
    """
    chosen = [representative(fitting(block.conditions, side), score) for side in (one, other)]
    if chosen[0] is None or chosen[1] is None:
        return _unchosen(one if chosen[0] is None else other)
    return contrast(chosen[0], chosen[1], score, evidence)


def _unchosen(side: Selector) -> str:
    return f"several trials are {told(side)}, and none can be chosen: they have no validation score"


def averaged(found: list[tuple[Block, Contrast | str]]) -> tuple[str, Contrast | str]:
    """The mean of the differences of all blocks, or why there is none."""
    lacking = [f"{block.label}: {each}" for block, each in found if isinstance(each, str)]
    if lacking:
        return "", lacking[0]
    if len({id(block) for block, _ in found}) < len(found):
        return "", "a block has several trials of the second side, and none can be chosen on validation"
    return f"mean of {len(found)}", mean_contrast([each for _, each in found if not isinstance(each, str)])
