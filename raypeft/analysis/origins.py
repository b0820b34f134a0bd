"""Where a trial's model and data were loaded from, and what was loaded.

origin(row)["stop"]        # ["\\n"], of data that the sweep file declared
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raypeft.data.declared.mix import read_declared

PLACES = ("model_path", "dataset_path", "test_dataset_path", "model_revision", "dataset_revision",
          "test_dataset_revision", "declared", "test_declared")  # fmt: skip
"""Where model and data were loaded from. Two places can hold the same, which `VERSIONS` tells."""
VERSIONS = {
    "test_resolved_revision": ("test_dataset", "loaded from different versions of the data"),
    "dataset_resolved_revision": ("dataset", "loaded from different versions of the data"),
    "model_resolved_revision": ("model", "loaded from different weights"),
    "sandbox_tier": ("test_dataset", "judged in sandboxes of different tiers"),
}
"""Columns that say which data and weights were loaded and how programs were isolated: the field that they belong to,
and what trials were that differ in them."""


def origin(row: Mapping[str, Any]) -> dict[str, Any]:
    """By name: the places, each field of the declared data that makes it what it is, and the versions."""
    found = {name: row.get(name) for name in PLACES if name not in ("declared", "test_declared")}
    for name, before in (("declared", ""), ("test_declared", "test_declared")):
        if row.get(name):
            found |= _flat(_identity(row[name]), before)
    return {**found, **{name: row.get(name) for name in VERSIONS}}


def _identity(declared: Any) -> Any:
    try:
        return read_declared(declared).identity
    except ValueError:  # of another version
        return {"declared": declared}


def _flat(value: Any, name: str) -> dict[str, Any]:
    """Nested values by their path: `split.seed`."""
    inside: Sequence[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        inside = [*value.items()]
    elif isinstance(value, list | tuple) and any(isinstance(each, Mapping) for each in value):
        inside = [*enumerate(value)]
    if not inside:
        return {name: value}
    return {key: each for inner, part in inside
            for key, each in _flat(part, f"{name}.{inner}" if name else str(inner)).items()}  # fmt: skip
