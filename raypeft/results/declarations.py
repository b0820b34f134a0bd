"""Declarations: the datasets, methods, scores and statuses of the code that made a results folder.

They are stored with the results, and reports use them instead of the current code. So the results of another version
can be read, even with datasets, methods, scores and statuses that are unknown here. `raypeft.trial.declarations` gives
the declarations of the current code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raypeft.metrics.metric import Score
from raypeft.records import Status


def tested_on(row: Mapping[str, Any]) -> str:
    """The name of the dataset whose test split a trial answered, from its row or its fields. Older rows have one
    dataset."""
    return str(row.get("test_dataset") or row["dataset"])


@dataclass(frozen=True, slots=True)
class DeclaredDataset:
    """The properties of a dataset that its scores and default values depend on."""

    judged_by: tuple[str, ...] = ("reference",)
    levels: tuple[str, ...] = ()
    decoding: Mapping[str, Any] = field(default_factory=dict)
    """Trial fields that have another default for this dataset."""
    untuned_stop: tuple[str, ...] = ()
    paper_stop: tuple[str, ...] = ()
    max_new_tokens: int | None = None
    max_length: int | None = None


@dataclass(frozen=True, slots=True)
class DeclaredMethod:
    """The fields of a tuning method's trials, and their defaults."""

    fields: tuple[str, ...] = ()
    """In the order in which reports show them."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Field -> default, without the required fields."""
    trains: bool = True


@dataclass(frozen=True, slots=True)
class Declarations:
    """All declarations that reports need."""

    scores: tuple[Score, ...] = ()
    """In the order of the table's columns."""
    statuses: Mapping[str, Status] = field(default_factory=dict)
    datasets: Mapping[str, DeclaredDataset] = field(default_factory=dict)
    methods: Mapping[str, DeclaredMethod] = field(default_factory=dict)
    trial_fields: tuple[str, ...] = ()
    """The fields that are no method's own, such as model, dataset and decoding."""

    def score(self, name: str, asked_by: str) -> Score:
        """The score of this name. Raises ValueError that names the known ones and what asked for it."""
        known = {each.name: each for each in self.scores}
        if name not in known:
            raise ValueError(f"{asked_by} must be a score ({', '.join(known)}) but got {name}")
        return known[name]

    def status(self, name: str) -> Status:
        """The status of this name. One that is not declared counts as a fault."""
        return self.statuses.get(name, Status(name))

    def dataset(self, name: str) -> DeclaredDataset:
        """The dataset of this name. One that is not declared has default properties."""
        return self.datasets.get(name, DeclaredDataset())

    def tested(self, row: Mapping[str, Any]) -> DeclaredDataset:
        """The dataset that a row's scores are of."""
        return self.dataset(tested_on(row))

    def method(self, name: str) -> DeclaredMethod:
        """The method of this name. One that is not declared has the fields of all other methods."""
        if name in self.methods:
            return self.methods[name]
        fields = dict.fromkeys(each for method in self.methods.values() for each in method.fields)
        defaults: dict[str, Any] = {}
        for method in self.methods.values():
            defaults = {**method.defaults, **defaults}
        return DeclaredMethod(tuple(fields), defaults)
