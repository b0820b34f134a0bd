"""`saves`: one group of trials needs less of something than another one, and scores as well.

    {saves: peak_memory_allocated_gb, better: {tuning_method: qlora_4bit}, than: {tuning_method: lora}, factor: 2,
     keeping: em_at_10, within: 0.01}

Two things must hold in each block: the cost falls by `factor` or more, and the score falls by less than `within` (a
test of non-inferiority). With three seeds or more on each side the ratio of costs is tested on logarithms (Welch's t).
With fewer, memory and counts are taken as they were measured, since they hardly vary; times are not, so that such a
claim stays undecided.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from pydantic import Field

from raypeft.analysis.choosing import is_known
from raypeft.analysis.claims.claim import Claim, Part, Side, amount, tested, told
from raypeft.analysis.claims.contrast import SEEDS_ALONE, Contrast, contrast, unpaired
from raypeft.analysis.claims.evidence import Evidence, Selector, blocks, fitting, representative
from raypeft.analysis.conditions import Condition, chances, independent
from raypeft.analysis.statistics.seeds import FEWEST_SEEDS
from raypeft.metrics.metric import Score
from raypeft.results.declarations import Declarations


class Saves(Claim):
    """One group of trials costs less than another one and scores as well."""

    kind: ClassVar[str] = "saves"
    saves: str = Field(description="A column that is a cost: peak_memory_allocated_gb, train_seconds, trainable_params")
    better: Side = Field(description="The trials that are said to cost less")
    than: Side = Field(description="The trials that they are compared with")
    factor: float = Field(gt=1, description="By which factor at least")
    on: str = Field(alias="keeping", description="The score that must not fall")
    within: float = Field(gt=0, description="The largest loss of the score that does not matter, in its unit")

    @property
    def sides(self) -> list[Selector]:
        return [self.better, self.than]

    def must_be_chosen(self, found: Sequence[Condition]) -> list[Selector]:
        return self.sides

    def sentence(self, score: Score) -> str:
        return (f"{told(self.better)} needs {self.factor:g} times less {self.saves} than {told(self.than)}, and loses "
                f"less than {amount(self.within, score)} ({score.title})")  # fmt: skip

    def parts(self, evidence: Evidence, score: Score) -> Iterator[Part]:
        region = (-self.within, math.inf) if score.higher_is_better else (-math.inf, self.within)
        for block in blocks(evidence, self.where, self.sides, self.per):
            ours, theirs = (representative(fitting(block.conditions, side), score) for side in self.sides)
            if ours is None or theirs is None:
                yield Part(block.label, lacks="several trials fit a side, and none can be chosen on validation")
                continue
            named = (", ".join(filter(None, (block.label, what))) for what in ("cost", score.title))
            yield self._cost(next(named), (ours, theirs), evidence.declared)
            yield tested(next(named), contrast(ours, theirs, score, evidence), score, region, "no worse")

    def _cost(self, block: str, both: tuple[Condition, Condition], declared: Declarations) -> Part:
        # Trials that share a training have its time, which was measured once.
        measured = [independent(side.trials, chances(side.fields, declared)) for side in both]
        sides: list[list[Any]] = [[row.get(self.saves) for row in rows] for rows in measured]
        if not all(is_known(value) and value > 0 for side in sides for value in side):
            return Part(block, lacks=f"{self.saves} is not known for all trials, or is 0")
        found = _log_ratio(sides[1], sides[0])
        limit = math.log(self.factor)
        if found is None and self.saves.endswith("seconds"):
            return Part(
                block,
                lacks=f"{self.saves} of fewer than {FEWEST_SEEDS} seeds a side; {FEWEST_SEEDS} or more are needed",
            )
        if found is None:
            ratio = _mean(sides[1]) / _mean(sides[0])
            holds = ratio >= self.factor
            return Part(block, f"{ratio:.2f} times", float(not holds), float(holds), "as measured, no interval",
                        values={"effect": ratio, "unit": "times"})  # fmt: skip
        low, high = map(math.exp, found.interval)
        ratio = math.exp(found.difference)
        needs = found.would_decide(found.difference - limit)
        return Part(block, f"{ratio:.2f} times [{low:.2f}, {high:.2f}]", found.p_above(limit), found.p_below(limit),
                    f"ratio of costs; chance: {SEEDS_ALONE} ({found.seeds})", needs,
                    values={"effect": ratio, "low": low, "high": high, "unit": "times"})  # fmt: skip


def _mean(values: list[Any]) -> float:
    return float(sum(values) / len(values))


def _log_ratio(more: list[Any], less: list[Any]) -> Contrast | None:
    """The logarithm of how many times the first is the second; None for fewer than three seeds a side."""
    if min(len(more), len(less)) < FEWEST_SEEDS:
        return None
    return unpaired([math.log(each) for each in more], [math.log(each) for each in less], min(len(more), len(less)))
