"""What claims are tested on: the conditions of a study, blocks of conditions that are alike, and who stands for a side.

    for block in blocks(evidence, claim.where, [claim.better, claim.than], claim.per):
        ours = representative(fitting(block.conditions, claim.better), score)

A block has the conditions that agree in model, dataset and every other field that is no method's own, and in the
places that model and data come from where these tell some apart (`model_revision: [step1000, step2000]`). So a claim
that two methods are compared by is tested once for each model and dataset. Within a block a side, such as LoRA with
five learning rates, is represented by the condition that is best on validation: the question is what a method gives
once it is tuned. `per` adds fields in which the conditions of a block must agree, such as `per: learning_rate`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raypeft.analysis.choosing import criterion, mean_of
from raypeft.analysis.conditions import SEEDS, Condition, Row, equal, places_apart
from raypeft.analysis.origins import PLACES
from raypeft.analysis.settings import SHORT, origins
from raypeft.metrics.metric import Score, Values
from raypeft.results.declarations import Declarations

HARMLESS = ("validation_limit",)
"""Fields of all trials that change no test score."""
Selector = Mapping[str, Any]
"""Field -> value, or a list of values of which one must fit."""
LISTS = ("target_modules",)
"""Fields whose value is a list: in a selector such a list is one value, and not several of which one must fit."""
BLOCK_FIELDS = ("model", "dataset", "test_dataset", "tuning_method")
"""Fields whose values name a block by themselves."""


@dataclass(frozen=True)
class Evidence:
    """The conditions that have scores, and how to read what a trial scored on single examples."""

    conditions: tuple[Condition, ...]
    declared: Declarations
    values: Callable[[Row], Values]
    """The scores of single examples of a row: score -> example -> value. Empty where they are not stored."""


@dataclass(frozen=True, slots=True)
class Block:
    """Conditions that agree in everything that a claim does not compare."""

    label: str
    """What tells it from other blocks, such as "conala, CodeLlama-7b-hf". Empty where there is one block."""
    conditions: tuple[Condition, ...]


def fits(condition: Condition, selector: Selector) -> bool:
    """Whether a condition has the values of a selector."""
    return all(_has(condition, name, value) for name, value in selector.items())


def fitting(conditions: Iterable[Condition], selector: Selector) -> list[Condition]:
    """The conditions that have the values of a selector."""
    return [each for each in conditions if fits(each, selector)]


def _has(condition: Condition, name: str, value: Any) -> bool:
    if name in LISTS and value is not None:
        return list(condition.fields.get(name) or ()) == ([value] if isinstance(value, str) else list(value))
    if isinstance(value, list):
        return any(_has(condition, name, each) for each in value)
    if name not in condition.fields and name not in PLACES:
        return value is None
    own = condition.value(name)
    if name == "lora_alpha" and (times := times_r(value)) is not None:
        rank = condition.fields.get("lora_r")
        return rank is not None and own == times * rank
    return bool(own == value) or equal(own, str(value))


def times_r(value: Any) -> float | None:
    """What an alpha such as `r` or `2r` is as a multiple of the rank; None for another value."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?|)\s*\*?\s*r", value) if isinstance(value, str) else None
    return float(found[1] or 1) if found else None


def blocks(
    evidence: Evidence,
    where: Selector,
    sides: Sequence[Selector],
    per: Sequence[str] = (),
    free: Sequence[str] = (),
) -> list[Block]:
    """The blocks with conditions of every side, in the order of the conditions.

    Fields that a side names may differ within a block, and so may those named by `free` and the fields of tuning
    methods; the tuning method itself only where a side names it. Scores on different datasets are never compared.
    """
    compared = {*free, *(name for side in sides for name in side)}
    shared = [name for name in evidence.declared.trial_fields if name not in (*SEEDS, *PLACES, *HARMLESS)]
    found = fitting(evidence.conditions, where)
    names = [*dict.fromkeys([*BLOCK_FIELDS, *shared, *per, *places_apart(found)])]
    names = [name for name in names if name not in compared or name == "test_dataset"]
    groups: dict[tuple[str, ...], list[Condition]] = {}
    for each in found:
        groups.setdefault(tuple(str(each.value(name)) for name in names), []).append(each)
    complete = [inside for inside in groups.values() if all(fitting(inside, side) for side in sides)]
    return [Block(label, tuple(inside)) for label, inside in zip(_labels(complete, names), complete, strict=True)]


def _labels(groups: Sequence[Sequence[Condition]], names: Sequence[str]) -> list[str]:
    """A name for each block: its model, data and method as far as they differ, and other fields where needed."""
    fields = [found[0].fields for found in groups]
    own = [name for name in names if name in BLOCK_FIELDS]
    if all(each["test_dataset"] == each["dataset"] for each in fields):
        own.remove("test_dataset")  # it would be a second name for the same
    others = [name for name in names if name not in (*BLOCK_FIELDS, *PLACES)]
    labels = ["" for _ in groups]
    for name in [*own, *others]:
        values = [_named(name, each.get(name)) for each in fields]
        if len(set(values)) > 1 and (name in own or len(set(labels)) < len(labels)):
            labels = _joined(labels, values)
    if len(set(labels)) < len(labels):
        labels = _joined(labels, origins([found[0].rows[0] for found in groups]))
    return labels


def _joined(labels: Sequence[str], more: Sequence[str]) -> list[str]:
    return [", ".join(filter(None, pair)) for pair in zip(labels, more, strict=True)]


def _named(name: str, value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if name == "test_dataset":
        return f"tested on {text}"
    return text if name in BLOCK_FIELDS else f"{SHORT.get(name, name)} {text}"


def representative(found: Sequence[Condition], score: Score) -> Condition | None:
    """The condition that stands for a side: the only one, or the best one on validation.

    None: there are several, and not all of them have a validation score or loss.
    """
    if len(found) == 1:
        return found[0]
    by, sign = criterion(found, score)
    return max(found, key=lambda each: sign * (mean_of(each, by) or 0.0)) if by else None


def rivals(found: Sequence[Condition], score: Score) -> list[Condition]:
    """The conditions that the other side is compared with: its representative, or, without one, each of them.

    Who is better than each of them is better than the best of them, whichever that is.
    """
    one = representative(found, score)
    return [one] if one is not None else list(found)
