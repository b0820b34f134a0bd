"""Several datasets to train on together, each of which is tested apart.

    dataset: {mix: [conala, {name: codealpacapy, dataset_path: copies/codealpaca}]}

Training and validation examples are those of all parts. A mix has no test split of its own: a trial that trains on it
is tested on one dataset (`test_dataset`), and a sweep that names none plans a trial for each part.
"""

import json
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from raypeft.data.declared.declaration import DeclaredData
from raypeft.records import Dataset, Example, Splits


def _as_part(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class Part(BaseModel):
    """A dataset of a mix, as a sweep file gives it: its name alone, or a mapping."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(description="Name of a built-in dataset, or of one that the sweep file declares")
    dataset_path: str | None = Field(None, description="Folder or URL to load it from, if not its usual place")
    dataset_revision: str | None = Field(None, description="Branch, tag or commit of the dataset on the hub")


def _check_different(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    names = ", ".join(part.name for part in parts)
    if len(parts) < 2:
        raise ValueError(f"must name at least two datasets but got {names or 'none'}")
    if len({part.name for part in parts}) < len(parts):
        raise ValueError(f"must name each dataset once but got {names}")
    return parts


Parts = Annotated[tuple[Annotated[Part, BeforeValidator(_as_part)], ...], AfterValidator(_check_different)]
"""A mix as a sweep file gives it."""
PARTS: TypeAdapter[tuple[Part, ...]] = TypeAdapter(Parts)


class SettledPart(Part):
    """A dataset of a mix as a trial holds it."""

    declared: DeclaredData | None = None
    """As the sweep file declares it. None: it is built in."""


class MixedData(BaseModel):
    """A mix as a trial holds it, in the place of a declaration."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    mix: Annotated[tuple[SettledPart, ...], AfterValidator(_check_different)]

    def part(self, name: str | None) -> SettledPart | None:
        """The part of this name. None: it has none."""
        return next((part for part in self.mix if part.name == name), None)

    @property
    def paths(self) -> list[str]:
        """The files, folders and URLs of its parts."""
        return [path for part in self.mix
                for path in (part.declared.paths if part.declared else filter(None, [part.dataset_path]))]  # fmt: skip

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it this mix, for a trial's id."""
        parts = []
        for part in self.mix:
            given = part.model_dump(exclude_defaults=True, exclude={"declared"})
            parts.append(given | ({"declared": part.declared.identity} if part.declared else {}))
        return {"mix": parts}

    @property
    def text(self) -> str:
        """Itself as JSON text, for its column."""
        return json.dumps(self.model_dump(exclude_defaults=True), ensure_ascii=False)


def read_declared(value: Any) -> Any:
    """A declaration or a mix as a row holds it, JSON text, as a record; a record as it is."""
    if not isinstance(value, str):
        return value
    found = json.loads(value)
    return (MixedData if "mix" in found else DeclaredData).model_validate(found)


def mixed(name: str, parts: list[tuple[Dataset, str | None, str | None]]) -> Dataset:
    """The record that trials work with, of its datasets, each with its path and revision."""
    datasets = tuple(dataset for dataset, _, _ in parts)

    def load(source: str | None = None, revision: str | None = None) -> Splits:
        splits: Splits = {"train": [], "validation": [], "test": []}
        for dataset, path, its_revision in parts:
            loaded = dataset.load(path, its_revision)
            for split in ("train", "validation"):
                splits[split] += [_of_part(example, dataset) for example in loaded[split]]
        return splits

    return Dataset(
        name=name,
        load=load,
        parts=datasets,
        max_new_tokens=None,
        longest_tokens=max(each.longest_tokens for each in datasets),
        longest_answer=max(each.longest_answer for each in datasets),
        judged_by=tuple(dict.fromkeys(judge for each in datasets for judge in each.judged_by)),
        splits=tuple(split for split in ("train", "validation") if all(split in each.splits for each in datasets)),
    )


def _of_part(example: Example, dataset: Dataset) -> Example:
    return replace(example, id=f"{dataset.name}/{example.id}")
