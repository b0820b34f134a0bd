"""The points of a sweep at which it searches, and the trials of a random search, which planning knows.

    for point in search_points(sweep):
        point.where, point.drawn(16)

Every point of the grids is a search of its own with `num_samples` trials, so that two methods or two models are tuned
at equal cost. Where a point's method does not take a parameter, the parameter is left out there; a point that takes
none of them is an ordinary trial.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from raypeft.data import data_name
from raypeft.data.declared.declaration import DeclaredData
from raypeft.data.declared.mix import MixedData
from raypeft.methods import METHODS
from raypeft.study.axes import fields_of, grid_points
from raypeft.study.checking import LoadedSweep
from raypeft.study.config import Trial
from raypeft.study.datasets import tested_apart
from raypeft.study.parameters import Parameter
from raypeft.study.search_checks import parameters_in
from raypeft.study.trials import make_trial
from raypeft.study.values import stored

TRIES = 50
"""Draws for each trial that is asked for, until a search counts as exhausted."""


@dataclass(frozen=True)
class SearchPoint:
    """One point of the grids, and the parameters that are searched there."""

    where: str
    """Its place in the sweep file, for messages."""
    fixed: Mapping[str, Any]
    """The fields that all its trials have."""
    parameters: Mapping[str, Parameter]
    num_samples: int
    seed: int
    datasets: Mapping[str, DeclaredData | MixedData]
    apart: tuple[str, ...] = ()
    """The fields that tell it from the sweep's other searches, for people."""

    def trial(self, values: Mapping[str, Any]) -> Trial:
        """The trial with these values of the parameters. Raises ValidationError for an impossible combination."""
        return make_trial({**self.fixed, **values}, self.datasets)

    def draw(self, index: int) -> dict[str, Any]:
        """The values of one random draw.

        They depend on the seed, the field and the index alone: points that share a parameter try the same values, and
        more trials, or another parameter, leave the earlier draws as they are.
        """
        return {name: parameter.draw(random.Random(f"{self.seed}/{name}/{index}"))
                for name, parameter in self.parameters.items()}  # fmt: skip

    def draws(self) -> Iterator[dict[str, Any]]:
        """Random draws, each configuration once, until there seem to be no others."""
        tried: set[str] = set()
        seen: set[str] = set()
        for index in range(TRIES * self.num_samples):
            if len(tried) == self.combinations:
                return
            values = self.draw(index)
            key = json.dumps(values, sort_keys=True, default=str)
            if key in tried:
                continue
            tried.add(key)
            with suppress(ValidationError):  # planning reports it
                key = self.trial(values).id  # a parameter may be without effect beside the others
            if key not in seen:
                seen.add(key)
                yield values

    @property
    def combinations(self) -> float:
        """How many combinations of values there are, with those that make the same trial and impossible ones."""
        return math.prod(parameter.count for parameter in self.parameters.values())

    @cached_property
    def most(self) -> int:
        """How many trials the search comes to: `num_samples`, or all configurations if there are fewer."""
        if math.isinf(self.combinations):
            return self.num_samples
        return sum(1 for _ in itertools.islice(self.trials(), self.num_samples))

    def trials(self) -> Iterator[Trial]:
        """The trials of random draws; what is impossible is passed over."""
        for values in self.draws():
            with suppress(ValidationError):
                yield self.trial(values)

    def drawn(self) -> list[dict[str, Any]]:
        """The configurations of a random search: `num_samples`, or all if there are fewer."""
        return list(itertools.islice(self.draws(), self.num_samples))

    def known(self, plan: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Trial id -> the parameters' values, of those trials of a stored plan that this search may run."""
        found = {}
        for trial_id, fields in plan.items():
            given = {name: listed.get(json.dumps(fields[name]), fields[name])
                     for name, listed in self._listed.items() if name in fields}  # fmt: skip
            # A field without effect beside the others has its default, which need not be one that is searched: any
            # value will do there, and the id tells.
            values = {**self.draw(0), **{name: value for name, value in given.items()
                                         if self.parameters[name].holds(value)}}  # fmt: skip
            with suppress(ValidationError):
                if self.trial(values).id == trial_id:
                    found[trial_id] = values
        return found

    @cached_property
    def _listed(self) -> dict[str, dict[str, Any]]:
        """Parameter -> its listed values, by what a plan stores of them: a prompt template as text, a word for
        target_modules as a list."""
        kinds = {**Trial.model_fields, **METHODS[self.fixed["tuning_method"]].model_fields}
        return {name: {json.dumps(stored(kinds[name], name, value)): value for value in parameter.values or ()}
                for name, parameter in self.parameters.items()}  # fmt: skip

    def examples(self) -> list[dict[str, Any]]:
        """Some configurations that a search may come to: the smallest values, the largest, and random ones."""
        ends = [{name: parameter.ends[side] for name, parameter in self.parameters.items()} for side in (0, 1)]
        return [*ends, *itertools.islice(self.draws(), 8)]

    @property
    def key(self) -> str:
        """Tells the search from the sweep's others."""
        return search_key(self.fixed, self.parameters)

    @property
    def label(self) -> str:
        """For people: model, data and method, and what tells the search from others of the same."""
        fixed = self.fixed
        name = f"{fixed['model']} {data_name(fixed['dataset'], fixed.get('test_dataset'))} {fixed['tuning_method']}"
        return " ".join([name, *(f"{field} {fixed[field]}" for field in self.apart if field in fixed)])


def grid_searches(sweep: LoadedSweep) -> Iterator[tuple[str, dict[str, Any], dict[str, Parameter]]]:
    """Every point of the grids: its place, its fields, and the parameters that are searched there (often none)."""
    for index, grid in enumerate(sweep.config.grids):
        fields = {**sweep.config.defaults, **fields_of(grid)}
        parameters = {**sweep.config.parameters, **parameters_in(grid)} if sweep.config.search else {}
        for point in tested_apart(grid_points(fields), sweep.declared):
            known = {*Trial.model_fields, *METHODS[point["tuning_method"]].model_fields, "tuning_method"}
            taken = {name: each for name, each in parameters.items() if name not in point and name in known}
            # Two points that differ in a field of other methods are one search.
            own = {name: value for name, value in point.items() if name in known}
            yield f"{sweep.document.where(('grids', index))}: {point['tuning_method']}", own, taken


def search_points(sweep: LoadedSweep) -> list[SearchPoint]:
    """The points at which the sweep searches, each once."""
    config = sweep.config
    found: dict[str, SearchPoint] = {}
    for where, point, parameters in grid_searches(sweep) if config.search else ():
        if parameters:
            search = SearchPoint(where, point, parameters, config.num_samples or 1, config.search_seed, sweep.declared)
            found.setdefault(search.key, search)
    return [replace(search, apart=_apart(search, list(found.values()))) for search in found.values()]


def _apart(search: SearchPoint, searches: Sequence[SearchPoint]) -> tuple[str, ...]:
    """The fields in which a search differs from another of the same model, data and method."""
    name = replace(search, apart=()).label
    alike = [other.fixed for other in searches if replace(other, apart=()).label == name]
    names = dict.fromkeys(field for fixed in alike for field in fixed)
    return tuple(field for field in names if len({repr(fixed.get(field)) for fixed in alike}) > 1)


def search_key(point: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> str:
    """Tells one search of a sweep from the others, also from one of other ranges at the same point."""
    ranges = {name: parameter.model_dump(exclude_none=True) for name, parameter in parameters.items()}
    return json.dumps([point, ranges], sort_keys=True, default=str)
