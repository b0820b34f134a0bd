"""Conditions: the trials that differ in nothing but their seeds.

for condition in conditions(rows, declared):
    print(condition.label, len(condition.rows))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raypeft.analysis.origins import PLACES, VERSIONS
from raypeft.analysis.settings import labels
from raypeft.analysis.statistics.matching import largest_matching
from raypeft.analysis.statistics.seeds import FEWEST_SEEDS
from raypeft.results.declarations import Declarations, tested_on

Row = Mapping[str, Any]
ALWAYS = ("model", "dataset", "tuning_method")
SEEDS = ("seed", "icl_seed")


@dataclass(frozen=True, slots=True)
class Condition:
    """Trials that differ in nothing but their seeds."""

    rows: tuple[Row, ...]
    """At least one, in the order of the folder; one a seed that matters (`seeds_that_matter`)."""
    label: str
    """A name for people, such as "lora lr 0.002, r 16"."""
    fields: Mapping[str, Any]
    """The fields of its trials, without seeds; places only where they alone tell it from another condition."""
    repeats: tuple[Row, ...] = ()
    """Trials that say no more of chance: they gave the answers of one of `rows` again, since their seeds differ in
    nothing that matters, or they share a training or a draw of shots with one."""

    @property
    def trials(self) -> tuple[Row, ...]:
        """All its trials."""
        return (*self.rows, *self.repeats)

    @property
    def ids(self) -> str:
        """The trials' ids: the first, and how many more."""
        more = f" +{len(self.trials) - 1}" if len(self.trials) > 1 else ""
        return f"{self.rows[0]['id']}{more}"

    def value(self, name: str) -> Any:
        """The value of a field, also of a place that does not tell it from another condition. None: it has none, or its
        trials come from several places."""
        if name in self.fields or name not in PLACES:
            return self.fields.get(name)
        values = [row.get(name) for row in self.rows]
        return values[0] if all(each == values[0] for each in values) else None


def places_apart(found: Sequence[Condition]) -> list[str]:
    """The places that tell some of these conditions from others, such as `model_revision`."""
    return [name for name in PLACES if any(name in each.fields for each in found)]


def conditions(rows: Sequence[Row], declared: Declarations) -> list[Condition]:
    """The conditions of these rows: by model, dataset and method as they first come, then by the values of fields."""
    groups = _grouped(rows, declared)
    without_seeds = [{**group[0], **dict.fromkeys(SEEDS)} for _, group in groups]
    names = labels(without_seeds, declared)
    found = [_condition(fields, group, name, declared) for (fields, group), name in zip(groups, names, strict=True)]
    order = {name: list(dict.fromkeys(row[name] for row in rows)) for name in ALWAYS}
    # Of thousands of conditions, most fields are alike.
    varied = _varied([each.fields for each in found]) - order.keys()

    def place(condition: Condition) -> list[Any]:
        first = [values.index(condition.fields[name]) for name, values in order.items()]
        return [*first, *(sortable(value) for name, value in condition.fields.items() if name in varied)]

    return sorted(found, key=place)


def _condition(fields: dict[str, Any], group: Sequence[Row], name: str, declared: Declarations) -> Condition:
    """The condition of these rows, the repeats apart."""
    names = seeds_that_matter(fields, declared)
    first: dict[tuple[Any, ...], Row] = {}
    for row in group:
        first.setdefault(_seeds_of(row, names), row)
    found = independent([*first.values()], chances(fields, declared))
    # Where they are too few, there is no interval over seeds, and none is left out.
    kept = {row["id"] for row in (found if len(found) >= FEWEST_SEEDS else first.values())}
    rows, repeats = ([row for row in group if (row["id"] in kept) == wanted] for wanted in (True, False))
    return Condition(tuple(rows), name, fields, tuple(repeats))


def independent(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """As many of these rows as there are of which no two have one of these seeds (of `SEEDS`) in common.

    Of three trainings with each of three draws of shots these are three. A choice row by row may find fewer where some
    trials are missing.
    """
    ordered = sorted(rows, key=lambda row: [sortable(seed_of(row, name)) for name in names])
    if not names:
        return ordered
    first: dict[tuple[Any, ...], Row] = {}
    for row in ordered:
        first.setdefault(_seeds_of(row, names), row)
    return [*first.values()] if len(names) == 1 else [first[pair] for pair in largest_matching([*first])]


def seeds_that_matter(fields: Mapping[str, Any], declared: Declarations) -> list[str]:
    """The seeds that can change an answer: `seed` where something is trained or sampled, `icl_seed` where shots are
    drawn at random."""
    trains = declared.method(fields["tuning_method"]).trains
    draws = fields.get("num_shots") and fields.get("shot_source") in (None, "random")
    return [name for name, matters in (("seed", trains or fields.get("do_sample")), ("icl_seed", draws)) if matters]


def chances(fields: Mapping[str, Any], declared: Declarations) -> list[str]:
    """The seeds with which all examples could have other scores."""
    trains = declared.method(fields["tuning_method"]).trains
    is_shared = {"seed": trains, "icl_seed": fields.get("icl_sampling") in (None, "fixed")}
    return [name for name in seeds_that_matter(fields, declared) if is_shared[name]]


def _seeds_of(row: Row, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(seed_of(row, name) for name in names)


def seed_of(row: Row, name: str) -> Any:
    """A seed of a row. Where its version of raypeft stored none, it counts as one of its own."""
    return row["id"] if row.get(name) is None else row[name]


def _varied(fields: Sequence[Mapping[str, Any]]) -> set[str]:
    """The names of the fields that have more than one value."""
    values: dict[str, list[Any]] = {}
    for each in fields:
        for name, value in each.items():
            values.setdefault(name, []).append(value)
    return {name for name, found in values.items() if found.count(found[0]) < len(found)}


def _grouped(rows: Sequence[Row], declared: Declarations) -> list[tuple[dict[str, Any], list[Row]]]:
    """The rows of each condition, and its fields.

    Most rows have, as they stand, the values of one before them. Their fields need not be worked out again, which for
    thousands of rows takes longer than all else.
    """
    groups: dict[tuple[str, ...], tuple[dict[str, Any], list[Row]]] = {}
    seen: dict[Any, list[Row]] = {}
    methods = dict.fromkeys(row["tuning_method"] for row in rows)
    names = {method: _names(method, declared) for method in methods}
    for row in rows:
        own = names[row["tuning_method"]]
        stated = tuple(map(row.get, own))
        key: Any = stated
        try:
            group = seen.get(key)
        except TypeError:  # a value is a list
            key = repr(stated)
            group = seen.get(key)
        if group is None:
            fields = _fields(dict(zip(own, stated, strict=True)), declared)
            told = tuple(f"{name}={value}" for name, value in fields.items())
            group = seen[key] = groups.setdefault(told, (fields, []))[1]
        group.append(row)
    return [part for fields, group in groups.values() for part in _by_origin(fields, group, declared)]


def _by_origin(
    fields: dict[str, Any], rows: list[Row], declared: Declarations
) -> list[tuple[dict[str, Any], list[Row]]]:
    """The condition; or, where it has a seed twice, one for each place and version: they loaded something else."""
    names = seeds_that_matter(fields, declared)
    if len({_seeds_of(row, names) for row in rows}) == len(rows):
        return [(fields, rows)]
    parts: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        parts.setdefault(tuple(map(row.get, (*PLACES, *VERSIONS))), []).append(row)
    apart = [name for number, name in enumerate(PLACES) if len({place[number] for place in parts}) > 1]
    return [({**fields, **{name: part[0].get(name) for name in apart}}, part) for part in parts.values()]


def sortable(value: Any) -> tuple[int, float, str]:
    """Numbers by value, before texts; nothing first."""
    if value is None or isinstance(value, bool | int | float):
        return (value is not None, float(value or 0), "")
    return (2, 0.0, str(value))


def _names(method: str, declared: Declarations) -> list[str]:
    """The fields by which conditions of a method are kept apart."""
    own = (name for name in declared.method(method).fields if name not in (*SEEDS, *PLACES))
    return list(dict.fromkeys([*ALWAYS, *own, "test_dataset"]))


def _fields(stated: Mapping[str, Any], declared: Declarations) -> dict[str, Any]:
    """The fields of a trial; one that its version of raypeft lacked has its default.

    `test_dataset` is always the name of the dataset that it was tested on, by which conditions are kept apart.
    """
    usual = {**declared.method(stated["tuning_method"]).defaults, **declared.tested(stated).decoding}
    fields = {name: usual.get(name) if value is None else value for name, value in stated.items()}
    return {**fields, "test_dataset": tested_on(stated)}


def equal(value: Any, text: str) -> bool:
    """Whether a field has a value that is given as text."""
    if str(value) == text or (value is None and text in ("null", "none")):
        return True
    if isinstance(value, bool):
        return str(value).lower() == text.lower()
    try:
        return isinstance(value, int | float) and float(text) == value
    except ValueError:
        return False
