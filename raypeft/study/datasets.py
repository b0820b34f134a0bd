"""The datasets that a sweep file declares: in its section `datasets`, or as a mapping in place of a dataset's name.

    datasets:
      reviews: {path: data.jsonl, prompt: instruction, answer: output}
    grids:
      - {dataset: reviews, ...}
      - {dataset: {path: other.csv, prompt: task, answer: code}, ...}      # its name is `other`

Their rows are read when a sweep is planned, wherever the files are on this machine.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from raypeft.data.declared.dataset import DataError, settled
from raypeft.data.declared.declaration import Declaration, DeclaredData
from raypeft.study.config import Trial
from raypeft.study.sweepfile import Document, Place


def is_declaration(value: Any) -> bool:
    """Whether a value of `dataset` or `test_dataset` declares a dataset, and does not merely name one."""
    return isinstance(value, dict) and "path" in value


def collect(document: Document) -> list[str]:
    """Move the datasets that are declared on an axis into the section `datasets`, and put their names in their place.

    Returns the mistakes: two datasets of one name.
    """
    problems: list[str] = []
    if not isinstance(document.data, dict):
        return problems
    grids = document.data.get("grids")
    mappings: list[tuple[Place, Any]] = [(("defaults",), document.data.get("defaults"))]
    mappings += [(("grids", index), grid) for index, grid in enumerate(grids if isinstance(grids, list) else [])]
    for place, mapping in mappings:
        for key in ("dataset", "test_dataset") if isinstance(mapping, dict) else ():
            at, value = (*place, key), mapping.get(key)
            if is_declaration(value):
                mapping[key] = _named(document, at, value, problems)
            elif isinstance(value, list):
                for index, entry in enumerate(value):
                    if is_declaration(entry):
                        value[index] = _named(document, (*at, index), entry, problems)
    return problems


def _named(document: Document, place: Place, declaration: dict[str, Any], problems: list[str]) -> str:
    """Declare a dataset under its name; returns the name."""
    name = str(declaration.get("name") or name_of(declaration["path"]))
    given = {key: value for key, value in declaration.items() if key != "name"}
    known = document.data.get("datasets")
    if not isinstance(known, dict | None):
        return name  # told with the other fields of the file
    known = document.data["datasets"] = known or {}
    if known.get(name, given) != given:
        problems.append(f"{document.where(place)}: another dataset has the name {name}; give this one a `name`")
    known[name] = given
    document.places.setdefault(("datasets", name), document.where(place).partition(",")[0])
    return name


def name_of(path: Any) -> str:
    """A name for a dataset: that of its file, folder or repository."""
    text = next(iter(path.values()), "") if isinstance(path, dict) else path
    name = str(text).rstrip("/").rpartition("/")[2].partition(".")[0]
    return re.sub(r"[^\w.-]", "_", name).lstrip("_.-") or "data"


def settle(document: Document, found: dict[str, DeclaredData]) -> Iterator[str]:
    """Read the rows of each declared dataset into `found`. Gives all that is wrong, each with its line."""
    declared = document.data.get("datasets") if isinstance(document.data, dict) else None
    for name, given in (declared if isinstance(declared, dict) else {}).items():
        try:
            declaration = Declaration.model_validate(given)
        except ValidationError:
            continue  # told with the other fields of the file
        try:
            found[name] = settled(name, declaration, Path(document.source).parent)
        except DataError as error:
            for problem in error.problems:
                yield f"{document.where(('datasets', name))}: {problem.removeprefix(f'{name}: ')}"


def misfits(trial: Trial) -> Iterator[str]:
    """What a trial asks of its datasets that these have not."""
    needed = ["train", "validation"] if trial.method.trains else ["train"] if trial.method.num_shots else []
    if trial.validation_limit and trial.test_dataset:
        needed.append("validation")
    for split in dict.fromkeys(needed):
        if split not in trial.data.splits:
            yield f"{trial.dataset} must have {split} examples for {trial.tuning_method} but has none"
    if trial.test_dataset and trial.fidelity == "paper":
        yield (f"test_dataset must be left out under fidelity: paper, whose code tested on the dataset that it trained "
               f"on, but got {trial.test_dataset}")  # fmt: skip
    if trial.declared is not None:
        yield from _of_declared(trial, "dataset")
        if trial.method.trains and "reference" not in trial.declared.judged_by:
            method = trial.tuning_method
            yield f"{trial.dataset} must have an answer (or messages) for {method}, which trains on answers"
    if trial.test_declared is not None:
        yield from _of_declared(trial, "test_dataset")
    tested = trial.test_declared if trial.test_dataset else trial.declared
    if tested and "reference" not in tested.judged_by and trial.max_new_tokens is None:
        name = trial.test_data.name
        yield f"max_new_tokens must be given for {name}, which has no reference answers to derive it from"


def _of_declared(trial: Trial, field: str) -> Iterator[str]:
    """Fields that a trial must not have beside a declared dataset, which `field` names."""
    if trial.fidelity == "paper":
        yield "fidelity must be corrected for a declared dataset, which the paper's code never read, but got paper"
    for name in (f"{field}_path", f"{field}_revision"):
        if getattr(trial, name) is not None:
            yield f"{name} must be left out for a declared dataset, whose declaration says where it is"
