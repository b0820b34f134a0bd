"""What a results folder says of the code that made it, as far as its tables are read by it.

A reader goes by these and not by its own registries, so that it reads the results of other versions, with datasets,
methods, scores and statuses that it does not know. `raypeft.trial.declarations` has those of this version.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raypeft.metrics.metric import Score
from raypeft.records import Status


@dataclass(frozen=True, slots=True)
class DeclaredDataset:
    """Of a dataset, what its scores and its trials' fields mean."""

    judged_by: tuple[str, ...] = ("reference",)
    levels: tuple[str, ...] = ()
    decoding: Mapping[str, Any] = field(default_factory=dict)
    """Fields that have another default for this dataset."""
    untuned_stop: tuple[str, ...] = ()
    paper_stop: tuple[str, ...] = ()
    max_new_tokens: int | None = None
    max_length: int | None = None


@dataclass(frozen=True, slots=True)
class DeclaredMethod:
    """Of a tuning method, the fields of its trials and what they are where nobody sets them."""

    fields: tuple[str, ...] = ()
    """In the order in which people read them."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Of the fields that have one."""
    trains: bool = True


@dataclass(frozen=True, slots=True)
class Declarations:
    """Everything that a table of scores is made by."""

    scores: tuple[Score, ...] = ()
    """In the order of the table."""
    statuses: Mapping[str, Status] = field(default_factory=dict)
    datasets: Mapping[str, DeclaredDataset] = field(default_factory=dict)
    methods: Mapping[str, DeclaredMethod] = field(default_factory=dict)

    def status(self, name: str) -> Status:
        """A status, known or not: one that nobody declares is a fault."""
        return self.statuses.get(name, Status(name))

    def dataset(self, name: str) -> DeclaredDataset:
        """A dataset, known or not."""
        return self.datasets.get(name, DeclaredDataset())

    def method(self, name: str) -> DeclaredMethod:
        """A method; of an unknown one the fields that other methods have."""
        if name in self.methods:
            return self.methods[name]
        fields = dict.fromkeys(each for method in self.methods.values() for each in method.fields)
        defaults: dict[str, Any] = {}
        for method in self.methods.values():
            defaults = {**method.defaults, **defaults}
        return DeclaredMethod(tuple(fields), defaults)
