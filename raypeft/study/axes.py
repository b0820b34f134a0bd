"""The axes of a grid, and the points that they make.

grid_points({"tuning_method": ["full", {"name": "lora", "lora_r": [4, 8]}], "seed": [1, 2]})      # 6 points
"""

from collections.abc import Iterator, Mapping
from itertools import combinations, product
from typing import Any

from raypeft.study.values import as_axis, is_coupled


def fields_of(grid: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a grid sets: all but the parameters that are searched there."""
    return {key: value for key, value in grid.items() if key != "parameters"}


def grid_points(grid: dict[str, Any]) -> list[dict[str, Any]]:
    """All combinations of a grid's axes, as mappings from field to value. An axis entry may set several fields."""
    axes = [settings_of(key, value) for key, value in grid.items()]
    points = []
    for settings in product(*axes):
        # A mapping in an axis is more specific than a plain value, so its fields override plain ones.
        points.append({key: value for setting in sorted(settings, key=len) for key, value in setting.items()})
    return points


def rival_settings(grid: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The fields that mappings on two axes set differently, after the names of both axes. No point can have them:
    neither mapping is more specific than the other.
    """
    coupled = {key: [setting for setting in settings_of(key, value) if len(setting) > 1] for key, value in grid.items()}
    for one, other in combinations(coupled, 2):
        for ours, theirs in product(coupled[one], coupled[other]):
            yield from ((one, other, field) for field in ours if field in theirs and ours[field] != theirs[field])


def settings_of(key: str, value: Any) -> list[dict[str, Any]]:
    """The fields that each entry of an axis sets."""
    return [settings for entry in as_axis(key, value) for settings in _settings(key, entry)]


def _settings(key: str, entry: Any) -> list[dict[str, Any]]:
    """The fields that one entry of an axis sets, such as `full` or `{name: ia3, learning_rate: 3e-3}`.

    A list in a mapping is an axis of that mapping alone: `{name: lora, lora_r: [4, 8]}` is two entries.
    """
    if not is_coupled(key, entry):
        return [{key: entry}]
    fields = {key: entry["name"], **{other: value for other, value in entry.items() if other != "name"}}
    values = product(*(as_axis(other, value) for other, value in fields.items()))
    return [dict(zip(fields, each, strict=True)) for each in values]
