"""Finds fields of a sweep that change no trial: an axis or an override that has no effect is a mistake, never ignored.

list(fields_without_effect(sweep))      # ["line 7, grids.0.learning_rate: has no effect: ..."]
"""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from raypeft.methods import METHODS
from raypeft.methods.method import Method
from raypeft.study.axes import fields_of, grid_points, settings_of
from raypeft.study.checking import LoadedSweep
from raypeft.study.config import Trial
from raypeft.study.datasets import tested_apart
from raypeft.study.sweepfile import Place
from raypeft.study.trials import idle_in, make_trial
from raypeft.study.values import as_axis, is_axis, is_coupled

TEST_PLACES = ("test_dataset_path", "test_dataset_revision")
ALWAYS_USED = {"model", "dataset", "tuning_method", "limit"}
"""`limit` may be given on the command line beside grids that have their own."""
WHY_IDLE = {
    "num_beams": "its trials sample, as is usual for their dataset, and beam search needs do_sample: false",
    "seed": "its trials neither train nor sample, and random shots are drawn by icl_seed",
    "icl_seed": "its trials draw no shots at random",
    "warmup_steps": "lr_scheduler_type: constant has no warm-up, but constant_with_warmup has",
    "prompt_tuning_init_text": "prompt_tuning_init: RANDOM reads no text",
}
MAY_BE_IDLE = {*Method.model_fields, *WHY_IDLE} - {"name", "num_shots"}
"""Fields whose effect depends on a trial's other fields."""
NOTHING = {"warmup_steps": 0}
"""The value of a field that asks for what happens anyway."""
OTHERWISE_IDLE = "its trials have no shots, or choose them in another way (num_shots, shot_source)"


def fields_without_effect(sweep: LoadedSweep) -> Iterator[str]:
    """For each field that changes no trial, its place and the reason.

    A field is without effect where every trial has it from a mapping on an axis, which is more specific, where no
    method of its trials takes it, or where it changes nothing beside the other fields of each trial. A default that
    every grid overrules is a mistake only on the command line.
    """
    defaults, used, reasons = sweep.config.defaults, set(ALWAYS_USED), dict[str, str]()
    for index, given in enumerate(sweep.config.grids):
        grid = fields_of(given)
        found = _reasons({**defaults, **grid}, sweep)
        used |= defaults.keys() - grid.keys() - found.keys()
        reasons = {**{key: why for key, why in found.items() if key not in grid}, **reasons}
        for key in grid:
            if key in found and key not in ALWAYS_USED:
                yield f"{sweep.document.where(('grids', index, key))}: {found[key]}"
        yield from _idle_in_mappings(sweep, ("grids", index), grid, {**defaults, **grid})
    everywhere = [key for grid in sweep.config.grids for key in grid]
    for key in [key for key in defaults if key not in used]:
        place = sweep.document.where(("defaults", key))
        if everywhere.count(key) < len(sweep.config.grids):
            yield f"{place}: {reasons[key]}"
        elif place.startswith("override"):
            yield f"{place}: has no effect: every grid sets it itself"


def _reasons(grid: dict[str, Any], sweep: LoadedSweep) -> dict[str, str]:
    """Why fields of a grid (with its defaults) change none of its trials."""
    used = _used(grid)
    found = {key: _reason(key, grid) for key in grid if key not in used}
    # The entries of such an axis set other fields too, which have an effect or are looked at themselves.
    coupled = {key for key, value in grid.items() if any(is_coupled(key, each) and len(each) > 1
                                                         for each in as_axis(key, value))}  # fmt: skip
    return found | _idle(grid, used & MAY_BE_IDLE - coupled, sweep)


def _idle(grid: dict[str, Any], names: set[str], sweep: LoadedSweep) -> dict[str, str]:
    """Why some of these fields change nothing beside the other fields of each trial of a grid.

    One value that the trials have anyway is no mistake: nobody is misled by it.
    """
    if sweep.config.search:  # what is searched may give a field its effect
        return {}
    found = {}
    points = [*tested_apart(grid_points(grid), sweep.declared)]
    try:
        idle = [idle_in(point, sweep.declared) for point in points]
        for name in names:
            own = [place for place, point in enumerate(points) if name in point and _takes(point, name)]
            if own and all(name in idle[place] or points[place][name] == NOTHING.get(name, "") for place in own):
                values = [points[place][name] for place in own]
                had = make_trial(points[own[0]], sweep.declared).fields[name]
                if any(value != had for value in values):
                    found[name] = f"has no effect: {WHY_IDLE.get(name, OTHERWISE_IDLE)}"
    except ValidationError:  # planning reports it
        return {}
    return found


def _idle_in_mappings(sweep: LoadedSweep, place: Place, grid: dict[str, Any], fields: dict[str, Any]) -> Iterator[str]:
    """The same of the fields of each mapping on an axis of a grid."""
    for key, value in grid.items():
        for index, entry in enumerate(as_axis(key, value)):
            if is_coupled(key, entry):
                at: Place = (*place, key, index) if is_axis(key, value) else (*place, key)
                for name, why in _idle({**fields, key: [entry]}, MAY_BE_IDLE & entry.keys(), sweep).items():
                    yield f"{sweep.document.where((*at, name))}: {why}"


def _takes(point: dict[str, Any], name: str) -> bool:
    return name in Trial.model_fields or name in METHODS[point["tuning_method"]].model_fields


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
