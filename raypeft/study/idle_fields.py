"""Finds fields of a sweep that change no trial: an axis or an override that has no effect is a mistake, never ignored.

list(fields_without_effect(sweep))      # ["line 7, grids.0.learning_rate: has no effect: ..."]
"""

from collections.abc import Iterator
from typing import Any

from raypeft.methods import METHODS
from raypeft.study.axes import settings_of
from raypeft.study.checking import LoadedSweep
from raypeft.study.config import Trial

TEST_PLACES = ("test_dataset_path", "test_dataset_revision")
ALWAYS_USED = {"model", "dataset", "tuning_method", "limit"}
"""`limit` may be given on the command line beside grids that have their own."""


def fields_without_effect(sweep: LoadedSweep) -> Iterator[str]:
    """For each field that changes no trial, its place and the reason.

    A field is without effect where every trial has it from a mapping on an axis, which is more specific, or where no
    method of its trials takes it. A default that every grid overrules is a mistake only on the command line.
    """
    defaults, unused = sweep.config.defaults, set(sweep.config.defaults)
    for index, given in enumerate(sweep.config.grids):
        grid = {key: value for key, value in given.items() if key != "parameters"}
        used = _used({**defaults, **grid})
        unused -= used - set(grid)
        for key in grid:
            if key not in used | ALWAYS_USED:
                yield f"{sweep.document.where(('grids', index, key))}: {_reason(key, {**defaults, **grid})}"
    everywhere = [key for grid in sweep.config.grids for key in grid]
    for key in defaults:
        if key in unused - ALWAYS_USED:
            place = sweep.document.where(("defaults", key))
            if everywhere.count(key) < len(sweep.config.grids):
                yield f"{place}: {_reason(key, defaults)}"
            elif place.startswith("override"):
                yield f"{place}: has no effect: every grid sets it itself"


def _lacks_test_dataset(key: str, grid: dict[str, Any]) -> bool:
    """Whether a field says where another dataset for testing is, and no trial of the grid names one."""
    settings = [setting for other, value in grid.items() for setting in settings_of(other, value)]
    return key in TEST_PLACES and not any(setting.get("test_dataset") for setting in settings)


def _used(grid: dict[str, Any]) -> set[str]:
    """The fields of a grid (with its defaults) that reach some trial."""
    mappings = {key: settings_of(key, value) for key, value in grid.items()}
    used = set()
    for key in grid:
        if _lacks_test_dataset(key, grid):
            continue
        others = [settings for other, settings in mappings.items() if other != key]
        # Some combination leaves the field to its plain value, and its method takes it.
        if all(any(key not in setting for setting in settings) for settings in others):
            methods = {setting["tuning_method"] for setting in mappings.get("tuning_method", []) if key not in setting}
            if key in Trial.model_fields or any(key in METHODS[method].model_fields for method in methods):
                used.add(key)
    return used


def _reason(key: str, grid: dict[str, Any]) -> str:
    takers = [setting for setting in settings_of("tuning_method", grid.get("tuning_method", []))
              if key in Trial.model_fields or key in METHODS[setting["tuning_method"]].model_fields]  # fmt: skip
    if _lacks_test_dataset(key, grid):
        return "has no effect without test_dataset"
    named = ", ".join(dict.fromkeys(setting["tuning_method"] for setting in takers if key in setting))
    if named:
        return f"has no effect: {named} has a {key} of its own in its mapping, and no other method takes it"
    return "has no effect: a mapping on another axis always sets it"
