"""A claim: a statement that a sweep tests. What all forms have in common, and how parts make a verdict.

A form is a subclass in a file of this folder. It says in `parts` what must hold, once for each block of trials that are
alike. A claim is supported if every part holds, and refuted if one part does not.

Each part has two p-values (two-sided): of what the claim says, and of its contrary. Its support is as sure as its
weakest part (the intersection-union test, Berger 1982, Technometrics 24, 295-300, needs no correction). Its refutation
is as sure as its surest contrary, corrected for the number of parts by Bonferroni.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from raypeft.analysis.claims.contrast import Contrast
from raypeft.analysis.claims.evidence import LISTS, Evidence, Selector, fits
from raypeft.analysis.conditions import Condition
from raypeft.analysis.settings import SHORT, shown
from raypeft.metrics.metric import Score


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_as_list)]
Side = Annotated[dict[str, Any], Field(min_length=1)]
"""Which trials: field -> value, or a list of values."""


@dataclass(frozen=True, slots=True)
class Part:
    """What must hold in one block."""

    block: str
    effect: str = ""
    """The measured effect with its 95 % interval, for people."""
    supports: float = 1.0
    """Two-sided p-value with which the part holds."""
    refutes: float = 1.0
    """Two-sided p-value with which the contrary holds."""
    rule: str = ""
    """How it was tested."""
    would_decide: str = ""
    """What would probably decide it."""
    lacks: str = ""
    """Why it cannot be tested; empty where it can."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The effect as numbers: `effect`, `low`, `high`, `unit`."""


class Claim(BaseModel, ABC):
    """The fields that every form has."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: ClassVar[str]
    """The key that names the form."""

    on: str = Field(description="The score, by its column: em_at_10, codebleu, pass_at_1, test_loss ...")
    where: dict[str, Any] = Field({}, description="Only trials with these values are looked at")
    per: Names = Field((), description="Further fields in which compared trials must agree, such as learning_rate. "
                       "Without it, each side is represented by its best trial on validation")  # fmt: skip
    says: str | None = Field(None, description="The claim in words. null: made from its fields")
    source: str | None = Field(None, description="Who says so, such as a paper and its section")

    @property
    def sides(self) -> list[Selector]:
        """The groups of trials that it compares; each block has trials of all of them."""
        return []

    @property
    def free(self) -> Sequence[str]:
        """Fields beside those of the sides in which the trials of a block may differ."""
        return ()

    def compares(self, condition: Condition) -> bool:
        """Whether a condition of a block is looked at."""
        return any(fits(condition, side) for side in self.sides)

    def must_be_chosen(self, found: Sequence[Condition]) -> list[Selector]:
        """Sides among these conditions, which are those of a block, that one of them has to stand for: the only one, or
        one that validation can choose."""
        return []

    @property
    def selectors(self) -> list[Selector]:
        """All that it says of trials, for checking."""
        return [*self.sides, *([self.where] if self.where else [])]

    @property
    def fields(self) -> list[str]:
        """All trial fields that it names."""
        return [*dict.fromkeys([name for selector in self.selectors for name in selector] + list(self.per))]

    def words(self, score: Score) -> str:
        """The claim as reports show it: in the user's words, or made from its fields."""
        if self.says:
            return self.says
        where = f", where {told(self.where)}" if self.where else ""
        per = f", at each {' and '.join(SHORT.get(name, name) for name in self.per)}" if self.per else ""
        return f"{self.sentence(score)}{where}{per}"

    @abstractmethod
    def sentence(self, score: Score) -> str:
        """The claim in words, from its fields."""

    @abstractmethod
    def parts(self, evidence: Evidence, score: Score) -> Iterator[Part]:
        """What must hold, with how sure it is."""

    def problems(self, fractions: bool) -> Iterator[str]:
        """What is wrong with its own fields beyond their types. `fractions`: its score is a share."""
        yield from ()


def tested(block: str, found: Contrast | str, score: Score, region: tuple[float, float], rule: str = "") -> Part:
    """The part that says that a difference lies in a region (low, high), either of which may be infinite.

    `found` is first minus second in the score's unit, or why there is none.
    """
    if isinstance(found, str):
        return Part(block, lacks=found)
    low, high = region
    distance = min(abs(found.difference - limit) for limit in region)
    least, most = found.interval
    unit = "points" if score.unit == "fraction" else score.unit
    return Part(
        block,
        f"{score.text(found.difference, '+')} [{score.text(least, '+')}, {score.text(most, '+')}]",
        max(found.p_above(low), found.p_below(high)),
        min(found.p_below(low), found.p_above(high)),
        f"{rule}{'; ' if rule else ''}chance: {found.chance} ({_amount(found)})",
        found.would_decide(distance),
        values={"effect": found.difference, "low": least, "high": most, "unit": unit},
    )


def _amount(found: Contrast) -> str:
    parts = [f"{found.seeds} seeds"] if found.chance != "test examples" else []
    return ", ".join([*parts, *([f"{found.examples} examples"] if found.examples else [])])


def told(selector: Selector) -> str:
    """A selector in words: "lora r 8"."""
    parts = []
    for name, value in selector.items():
        is_several = isinstance(value, list) and name not in LISTS
        text = " or ".join(map(shown, value)) if is_several else shown(value)
        parts.append(text if name == "tuning_method" else f"{SHORT.get(name, name)} {text}")
    return ", ".join(parts)


def amount(value: float, score: Score) -> str:
    """A margin in words: "2 points", "0.01 nats"."""
    if score.unit == "fraction":
        return f"{100 * value:g} {'point' if value == 0.01 else 'points'}"
    return f"{value:g} {score.unit}".strip()


def supports(parts: Sequence[Part]) -> float:
    """The p-value with which all parts hold."""
    return max((each.supports for each in parts), default=1.0)


def refutes(parts: Sequence[Part]) -> float:
    """The p-value with which some part does not hold, corrected for their number."""
    return min([1.0, *(len(parts) * each.refutes for each in parts)])
