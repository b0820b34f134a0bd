"""Which condition the others are compared with.

    baseline = parse_baseline(["tuning_method=icl"], rows, declared)
    baseline_of(condition, baseline, conditions(rows, declared), declared)

A comparison asks one question only if trial and baseline agree in everything else. `baseline_of` holds that rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from raypeft.analysis.conditions import SEEDS, Condition, Row, conditions, equal
from raypeft.analysis.origins import PLACES, VERSIONS
from raypeft.mistakes import nearest
from raypeft.results.declarations import Declarations, tested_on


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the others are compared with."""

    pairs: Mapping[str, str] = field(default_factory=dict)
    """Field -> value, as text. Trials may differ from the baseline in these fields, and agree in the others."""
    id: str | None = None
    """Id of a trial. Other trials may differ from it in every field of their method."""

    def fits(self, condition: Condition) -> bool:
        """Whether a condition is a baseline."""
        if self.id is not None:
            return any(row["id"] == self.id for row in condition.trials)
        return all(equal(condition.fields.get(name), text) for name, text in self.pairs.items())

    def __str__(self) -> str:
        return self.id or " ".join(f"{name}={text}" for name, text in self.pairs.items())


def parse_baseline(words: Sequence[str], rows: Sequence[Row], declared: Declarations) -> Baseline:
    """The baseline that `--baseline` names: the id of a trial, a tuning method, or field=value pairs.

    Without words it is the untuned model (zero_shot) where there is one, else the first trial. Raises ValueError for
    what no trial is.
    """
    methods = list(dict.fromkeys(row["tuning_method"] for row in rows))
    if not words:
        return Baseline({"tuning_method": "zero_shot"}) if "zero_shot" in methods else Baseline(id=rows[0]["id"])
    if len(words) == 1 and any(row["id"] == words[0] for row in rows):
        return Baseline(id=words[0])
    pairs = dict(word.partition("=")[::2] if "=" in word else ("tuning_method", word) for word in words)
    found = conditions(rows, declared)
    for name, text in pairs.items():
        fields = sorted({each for condition in found for each in condition.fields})
        if name not in fields:
            raise ValueError(f"--baseline must name fields of the trials but got {name}{nearest(name, fields)}")
        values = list(dict.fromkeys(str(each.fields[name]) for each in found if name in each.fields))
        if not any(equal(each.fields.get(name), text) for each in found):
            what = "the id of a trial, or its method" if name == "tuning_method" else f"a {name} of these trials"
            raise ValueError(f"--baseline must be {what} ({', '.join(values)}) but got {text}")
    baseline = Baseline(pairs)
    if not any(map(baseline.fits, found)):
        raise ValueError(f"--baseline must be some trial but none has {baseline}")
    if all(map(baseline.fits, found)):
        raise ValueError(f"--baseline must leave trials to compare with it but all have {baseline}; "
                         f"{_what_varies(found)}")  # fmt: skip
    return baseline


def baseline_of(
    condition: Condition, baseline: Baseline, every: Sequence[Condition], declared: Declarations
) -> Condition | str:
    """The one condition that `condition` is compared with, or why there is none.

    They agree in each field that is not named by the baseline, the tuning method among them. Fields of the method count
    where both have the same one. Where the methods differ, a field counts if the baselines differ in it: RAG with 4
    shots is compared with ICL with 4 shots.
    """
    found = [each for each in every if baseline.fits(each) and each is not condition]
    shared = _shared_fields(declared)
    named = [*baseline.pairs, *(["tuning_method"] if baseline.id is not None else [])]
    strict = [name for name in [*shared, "tuning_method"] if name not in named]
    found = [each for each in found if all(each.fields.get(name) == condition.fields.get(name) for name in strict)]
    if not found:
        return f"no trial with {baseline} agrees in {_first_difference(condition, baseline, every, strict)}"
    if baseline.id is None:
        method = condition.fields["tuning_method"]
        free = {*baseline.pairs, *shared, "tuning_method"}
        for name in [name for name in condition.fields if name not in free]:
            values = {str(each.fields.get(name)) for each in found if name in each.fields}
            if len(values) > 1 or (values and any(each.fields["tuning_method"] == method for each in found)):
                found = [each for each in found if each.fields.get(name) == condition.fields[name]]
            if not found and name in PLACES:
                return f"no trial with {baseline} has the same {name}"
            if not found:
                return f"no trial with {baseline} has {name} {condition.fields[name]}; name {name} as well"
    if len(found) > 1:
        return f"{len(found)} trials are {baseline} ({', '.join(each.label for each in found[:3])}); name one of them"
    return other_versions(condition, found[0]) or found[0]


def other_versions(condition: Condition, other: Condition) -> str:
    """Why two conditions cannot be compared although their fields agree; empty where they can."""
    names = [tested_on(each.fields) for each in (condition, other)]
    if names[0] != names[1]:
        return f"they were tested on different datasets, {names[0]} and {names[1]}"
    for column, (field_, what) in VERSIONS.items():
        ours, theirs = ({row.get(column) for row in each.rows} - {None} for each in (condition, other))
        if ours and theirs and ours != theirs and condition.fields[field_] == other.fields[field_]:
            return f"their {column} differs: they were {what}"
    return ""


def _shared_fields(declared: Declarations) -> list[str]:
    names = dict.fromkeys([*declared.trial_fields, "test_dataset"])
    return [name for name in names if name not in (*SEEDS, *PLACES)]


def _first_difference(
    condition: Condition, baseline: Baseline, every: Sequence[Condition], strict: Sequence[str]
) -> str:
    fits = [each for each in every if baseline.fits(each) and each is not condition]
    for name in strict:
        if all(each.fields.get(name) != condition.fields.get(name) for each in fits):
            return f"{name} ({condition.fields.get(name)})"
    return "all other fields"


def _what_varies(found: Sequence[Condition]) -> str:
    """The fields in which these conditions differ, with their values, for a message."""
    names = dict.fromkeys(name for each in found for name in each.fields)
    varied = {name: list(dict.fromkeys(str(each.fields.get(name)) for each in found)) for name in names}
    told = [f"{name} ({', '.join(values[:6])})" for name, values in varied.items() if len(values) > 1]
    return f"name a value of {', '.join(told[:4])}" if told else "the trials differ in no field"
