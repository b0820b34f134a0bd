"""The published values beside ours: arXiv 2308.10462v3, where model, dataset and method are the same.

    value = published({"model": "codet5p-220m", "dataset": "conala", "tuning_method": "lora"}, "em_at_10")
    value.value, value.where       # 12.71, "Table 3"

A trial on a part of the test split is not compared: the paper's values are of all test examples. Neither is a trained
model with shots in its prompts, which the paper has not. A value of ICL or RAG is the best of several numbers of shots,
and it is not known which one. So it may only stand beside our best of several (`best_shots`), never beside one number.

Peaks of memory (`published_peak`) are never compared: neither dataset nor batch is known, nor CodeLlama's variant.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from raypeft.methods import METHODS
from raypeft.models.table import family_of

TRAINED = {name for name, method in METHODS.items() if method.trains}
WITH_SHOTS = ("icl", "rag")
"""Methods of whose values the paper's best number of shots is not known."""
GB_IN_GIB = 1e9 / 2**30
"""A gigabyte of 10^9 bytes in GiB. The paper prints GB and does not say which; we read the unit as it is defined."""


@dataclass(frozen=True, slots=True)
class Published:
    """A published value, in percent, and its place in the paper."""

    value: float
    where: str


@dataclass(frozen=True, slots=True)
class PublishedPeak:
    """A published peak of GPU memory in fine-tuning."""

    name: str
    """The model as far as it is known: "CodeLlama-7B, variant not named"."""
    gib: float
    """Converted from the printed GB."""
    gb: float
    where: str


def source() -> str:
    """What is cited."""
    return _read()["source"]


def published(fields: Mapping[str, Any], score: str, best_shots: bool = False) -> Published | None:
    """The paper's value for a condition's fields and a score; None where it has none that may be compared.

    `best_shots`: the condition is the best of several numbers of shots, as the paper's ICL and RAG are.
    """
    if fields.get("limit") is not None or fields.get("test_limit") is not None:
        return None
    if fields.get("test_dataset") not in (None, fields["dataset"]):
        return None
    if fields["tuning_method"] in TRAINED and fields.get("num_shots"):
        return None
    if fields["tuning_method"] in WITH_SHOTS and not best_shots:
        return None
    key = (_model_name(str(fields["model"])), fields["dataset"], fields["tuning_method"], score)
    return _values().get(key)


def published_peak(model: str, method: str) -> PublishedPeak | None:
    """The paper's peak in fine-tuning of a model that this one may be; None where it has none."""
    return _peaks().get((_model_name(model).rpartition("/")[2], method))


@cache
def _model_name(model: str) -> str:
    """The name of a model in the table, also where it is given as a hub id. To find it may read files."""
    return family_of(model).name


@cache
def _read() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("paper.json").read_text("utf-8"))


@cache
def _values() -> dict[tuple[str, str, str, str], Published]:
    return {tuple(each[:4]): Published(each[4], each[5]) for each in _read()["values"]}


@cache
def _peaks() -> dict[tuple[str, str], PublishedPeak]:
    found: dict[tuple[str, str], PublishedPeak] = {}
    for printed, method, gb, models, where in _read()["peaks"]:
        name = f"{printed}, variant not named" if len(models) > 1 else printed
        peak = PublishedPeak(name, gb * GB_IN_GIB, gb, where)
        found |= {(model, method): peak for model in models}
    return found
