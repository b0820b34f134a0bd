"""Reads and checks a sweep file. Reports all mistakes together, each with its line, before anything runs.

    sweep = load_config(Path("sweeps/quickstart.yaml"), ["defaults.limit=20"])
    sweep.config.name, sweep.document.where(("grids", 0))

In a grid each key is a trial field. A list is an axis: each entry makes trials of its own. An entry that is a mapping
sets several fields together. `raypeft.study.plan` makes the trials.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from raypeft.data.declared.declaration import Declaration, DeclaredData, Split
from raypeft.data.declared.mix import MixedData, Part
from raypeft.methods import METHODS
from raypeft.mistakes import described, nearest
from raypeft.study.axes import fields_of
from raypeft.study.config import SweepConfig, Trial, trial_fields
from raypeft.study.datasets import collect, read_elsewhere, settle
from raypeft.study.options import Resources, SandboxOptions
from raypeft.study.other_styles import other_style
from raypeft.study.parameters import Asha, Goal, Parameter
from raypeft.study.search_checks import search_problems
from raypeft.study.sweepfile import ConfigError, Document, Place, apply_override, read_sweep_file
from raypeft.study.trackers import missing_packages, read_report_to
from raypeft.study.values import as_axis, explain, is_axis, is_coupled, value_problems


@dataclass(frozen=True, slots=True)
class LoadedSweep:
    """A checked sweep, and the document it was read from, which knows the line of each value."""

    config: SweepConfig
    document: Document
    declared: dict[str, DeclaredData | MixedData] = field(default_factory=dict)
    """The datasets of the user's own, as their files have been read, and the mixes."""

    @property
    def has_unread_data(self) -> bool:
        """Whether a declared dataset is not on this machine, so that planning did not read it."""
        return any(isinstance(each, DeclaredData) and each.sizes is None for each in self.declared.values())


def load_config(path: Path, overrides: Iterable[str] = (), limit: int | None = None) -> LoadedSweep:
    """Read and check a sweep file. Raises ConfigError with all its mistakes.

    `limit` is set in the defaults, and in every grid and every mapping on an axis that sets one itself, since that one
    overrides the defaults.
    """
    if limit is None:
        return check(read_sweep_file(path, overrides))
    sweep = check(read_sweep_file(path, [*overrides, f"defaults.limit={limit}"]))
    own = [*_own_limits(sweep.config)]
    for place in own:
        apply_override(f"{place}={limit}", sweep.document)
    return check(sweep.document) if own else sweep


def _own_limits(config: SweepConfig) -> Iterator[str]:
    """The places of all limits that override the one of the defaults."""
    for place, fields in (
        ("defaults", config.defaults),
        *((f"grids.{at}", grid) for at, grid in enumerate(config.grids)),
    ):
        if "limit" in fields and place != "defaults":
            yield f"{place}.limit"
        for key, value in fields.items():
            for index, entry in enumerate(as_axis(key, value)):
                if key != "limit" and is_coupled(key, entry) and "limit" in entry:
                    yield f"{place}.{key}.{index}.limit" if is_axis(key, value) else f"{place}.{key}.limit"


def check(document: Document) -> LoadedSweep:
    """Check a document that was read before. Raises ConfigError with all its mistakes."""
    declared: dict[str, DeclaredData | MixedData] = {}
    problems = [*collect(document), *_problems(document), *settle(document, declared)]
    if problems:
        raise ConfigError(document.source, sorted(problems, key=_line))
    return LoadedSweep(SweepConfig.model_validate(document.data), document, declared)


def with_all_data(sweep: LoadedSweep) -> LoadedSweep:
    """The sweep with what the rows of data on the hub or at a URL say as well, which are loaded for it.

    The ids of its trials stay as they were. Raises ConfigError with all that is wrong with such data.
    """
    declared = dict(sweep.declared)
    if problems := [*read_elsewhere(sweep.document, declared)]:
        raise ConfigError(sweep.document.source, sorted(problems, key=_line))
    return replace(sweep, declared=declared)


def _line(problem: str) -> int:
    """The line number in a problem's text. Problems of overrides have none and come first."""
    found = re.match(r"line (\d+)", problem)
    return int(found[1]) if found else 0


def _problems(document: Document) -> Iterator[str]:
    if not isinstance(document.data, dict):
        yield "line 1: a sweep must be a mapping with name, defaults and grids but got " + described(document.data)
        return
    if foreign := other_style(document.data):
        yield foreign
        return
    try:
        SweepConfig.model_validate(document.data)
    except ValidationError as error:
        for problem in error.errors():
            yield explain(document, tuple(problem["loc"]), problem, _known_beside(problem["loc"]))
    listed = document.data.get("grids")
    grids = {
        index: fields_of(grid)  # `search_problems` looks at the rest
        for index, grid in enumerate(listed if isinstance(listed, list) else [])
        if isinstance(grid, dict)
    }
    defaults = document.data.get("defaults")
    defaults = defaults if isinstance(defaults, dict) else {}
    yield from _field_problems(document, ("defaults",), defaults)
    everywhere: list[Any] = []
    for index, grid in grids.items():
        chosen = _chosen_methods({**defaults, **grid})
        everywhere += chosen
        yield from _field_problems(document, ("grids", index), grid)
        yield from _missing_problems(document, index, {**defaults, **grid})
        yield from _untaken_problems(document, ("grids", index), grid, chosen)
    yield from _untaken_problems(document, ("defaults",), defaults, everywhere)
    yield from search_problems(document)
    named = read_report_to(document.data.get("report_to"))
    for lacking in missing_packages(named if isinstance(named, (list, tuple)) else ()):
        yield f"{document.where(('report_to',))}: {lacking}"


def _known_beside(place: tuple[Any, ...]) -> Iterable[str]:
    sections: dict[str, type[BaseModel]] = {"resources": Resources, "sandbox": SandboxOptions, "parameters": Parameter,
                                            "metric": Goal, "scheduler": Asha, "mixes": Part}  # fmt: skip
    if place[0] == "datasets":
        return (Split if "split" in place else Declaration).model_fields
    return sections[place[0]].model_fields if place[0] in sections else SweepConfig.model_fields


def _field_problems(document: Document, place: Place, grid: dict[str, Any]) -> Iterator[str]:
    """Unknown keys, empty axes and values of the wrong type. Each entry of an axis is checked by itself."""
    known = trial_fields() | {"tuning_method": None}
    for key, value in grid.items():
        if key not in known:
            yield f"{document.where((*place, key))}: unknown key{nearest(key, known)}"
            continue
        yield from _empty_problems(document, (*place, key), value)
        for at, entry in _entries((*place, key), value):
            if is_coupled(key, entry):
                yield from _coupled_problems(document, at, key, entry)
            else:
                yield from value_problems(document, at, key, entry)


def _empty_problems(document: Document, place: Place, value: Any) -> Iterator[str]:
    if value == []:
        yield f"{document.where(place)}: must have at least one value but got an empty list"


def _entries(place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
    """The values of the field at the end of `place`, each with its own place; a single value is its own entry."""
    if not is_axis(str(place[-1]), value):
        yield place, value
    else:
        yield from (((*place, index), entry) for index, entry in enumerate(value))


def _coupled_problems(document: Document, place: Place, key: str, entry: dict[str, Any]) -> Iterator[str]:
    if "name" not in entry:
        yield f"{document.where(place)}: a mapping on an axis must give {key} as name"
    rest = {other: value for other, value in entry.items() if other != "name"}
    if "name" in entry:
        yield from value_problems(document, (*place, "name"), key, entry["name"])
    method = METHODS.get(str(entry.get("name"))) if key == "tuning_method" else None
    for other, value in rest.items():
        if other not in trial_fields():
            yield f"{document.where((*place, other))}: unknown key{nearest(other, trial_fields())}"
        elif method and other not in method.model_fields and other not in Trial.model_fields:
            yield f"{document.where((*place, other))}: {entry['name']} does not take {other}"
        else:
            yield from _empty_problems(document, (*place, other), value)
            for at, each in _entries((*place, other), value):
                yield from value_problems(document, at, other, each)


def _missing_problems(document: Document, index: int, grid: dict[str, Any]) -> Iterator[str]:
    for key in ("model", "dataset", "tuning_method"):
        if key not in grid:
            yield f"{document.where(('grids', index))}: needs {key}, here or in defaults"


def _untaken_problems(document: Document, place: Place, fields: dict[str, Any], chosen: list[Any]) -> Iterator[str]:
    """Fields that none of the chosen methods has. Reports nothing if one of the methods is unknown."""
    if not chosen or not all(isinstance(method, str) and method in METHODS for method in chosen):
        return
    taken = {name for method in chosen for name in METHODS[method].model_fields}
    for key in fields:
        if key in trial_fields() and key not in Trial.model_fields and key not in taken:
            methods = ", ".join(dict.fromkeys(chosen))
            yield f"{document.where((*place, key))}: none of the chosen methods ({methods}) takes {key}"


def _chosen_methods(grid: dict[str, Any]) -> list[Any]:
    """The names that a grid gives as tuning methods, known or not."""
    entries = as_axis("tuning_method", grid["tuning_method"]) if "tuning_method" in grid else []
    return [entry.get("name") if is_coupled("tuning_method", entry) else entry for entry in entries]
