"""The published values beside ours: arXiv 2308.10462v3, where model, dataset and method are the same.

    value = published({"model": "codet5p-220m", "dataset": "conala", "tuning_method": "lora"}, "em_at_10")
    value.value, value.where       # 12.71, "Table 3"

A trial on a part of the test split is not compared: the paper's values are of all test examples. Neither is a trained
model with shots in its prompts, which the paper has not.
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


@dataclass(frozen=True, slots=True)
class Published:
    """A published value, in percent (memory in GB as printed), and its place in the paper."""

    value: float
    where: str


def source() -> str:
    """What is cited."""
    return _read()["source"]


def published(fields: Mapping[str, Any], score: str) -> Published | None:
    """The paper's value for a condition's fields and a score; None where it has none that may be compared."""
    if fields.get("limit") is not None or fields.get("test_limit") is not None:
        return None
    if fields.get("test_dataset") not in (None, fields["dataset"]):
        return None
    if fields["tuning_method"] in TRAINED and fields.get("num_shots"):
        return None
    key = (_model_name(str(fields["model"])), fields["dataset"], fields["tuning_method"], score)
    return _values().get(key)


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
