"""The datasets that a sweep file declares: in its section `datasets`, or as a mapping in place of a dataset's name.

    datasets:
      reviews: {path: data.jsonl, prompt: instruction, answer: output}
    grids:
      - {dataset: reviews, ...}
      - {dataset: {path: other.csv, prompt: task, answer: code}, ...}      # its name is `other`
      - {dataset: {mix: [reviews, conala]}, ...}                           # trained on together, each tested apart

Their rows are read when a sweep is planned, wherever the files are on this machine.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from raypeft.data import DATASETS
from raypeft.data.declared.dataset import DataError, settled, with_rows_read
from raypeft.data.declared.declaration import Declaration, DeclaredData
from raypeft.data.declared.mix import PARTS, MixedData, Part
from raypeft.mistakes import described, must_be_one_of
from raypeft.study.config import Trial
from raypeft.study.sweepfile import Document, Place


def is_declaration(value: Any) -> bool:
    """Whether a value of `dataset` or `test_dataset` declares a dataset, and does not merely name one."""
    return isinstance(value, dict) and "path" in value


def is_mix(value: Any) -> bool:
    """Whether a value of `dataset` joins several."""
    return isinstance(value, dict) and "mix" in value


def collect(document: Document) -> list[str]:
    """Move the datasets that are declared on an axis into the section `datasets`, and mixes into `mixes`; put their
    names in their place.

    Returns the mistakes: two datasets of one name.
    """
    problems: list[str] = []
    if not isinstance(document.data, dict):
        return problems
    grids = document.data.get("grids")
    mappings: list[tuple[Place, Any]] = [(("defaults",), document.data.get("defaults"))]
    mappings += [(("grids", index), grid) for index, grid in enumerate(grids if isinstance(grids, list) else [])]
    for place, mapping in mappings:
        for key in ("dataset", "test_dataset"):
            if not isinstance(mapping, dict) or key not in mapping:
                continue
            at, value = (*place, key), mapping[key]
            if isinstance(value, list):
                mapping[key] = [_named(document, (*at, index), entry, problems) for index, entry in enumerate(value)]
            else:
                mapping[key] = _named(document, at, value, problems)
    return problems


def _named(document: Document, place: Place, value: Any, problems: list[str]) -> Any:
    """Declare a dataset or a mix under its name, and return the name; any other value as it is."""
    if is_declaration(value):
        name = str(value.get("name") or name_of(value["path"]))
        return _put(document, place, ("datasets", name), {**value, "name": None}, problems)
    if is_mix(value) and not isinstance(value["mix"], list):
        problems.append(f"{document.where((*place, 'mix'))}: must be a list of datasets but got "
                        f"{described(value['mix'])}")  # fmt: skip
        return "toy"  # in its place, so that nothing more is told of it
    if is_mix(value):
        parts = [_named(document, (*place, "mix", index), part, problems) for index, part in enumerate(value["mix"])]
        names = [str(part.get("name")) if isinstance(part, dict) else str(part) for part in parts]
        name = str(value.get("name") or "+".join(names))
        for other in value.keys() - {"mix", "name"}:
            problems.append(f"{document.where((*place, other))}: unknown key beside mix, which may have a name")
        return _put(document, place, ("mixes", name), parts, problems)
    return value


def _put(document: Document, place: Place, at: tuple[str, str], given: Any, problems: list[str]) -> str:
    """Write what is given into a section of the file, under its name, which is returned."""
    section, name = at
    given = {key: value for key, value in given.items() if key != "name"} if isinstance(given, dict) else given
    known = document.data.get(section)
    if not isinstance(known, dict | None):
        return name  # told with the other fields of the file
    known = document.data[section] = known or {}
    if known.get(name, given) != given:
        problems.append(f"{document.where(place)}: another dataset has the name {name}; give this one a `name`")
    known[name] = given
    document.places.setdefault(at, document.where(place).partition(",")[0])
    return name


def name_of(path: Any) -> str:
    """A name for a dataset: that of its file, folder or repository."""
    text = next(iter(path.values()), "") if isinstance(path, dict) else path
    name = str(text).rstrip("/").rpartition("/")[2].partition(".")[0]
    name = re.sub(r"[^\w.-]", "_", name).lstrip("_.-")
    return name if re.match("[A-Za-z0-9]", name) else f"data_{name}".rstrip("_")


def settle(document: Document, found: dict[str, DeclaredData | MixedData]) -> Iterator[str]:
    """Read the rows of each declared dataset into `found`, and put the mixes together there. Gives all that is wrong,
    each with its line."""
    declared = _section(document, "datasets")
    for name, given in declared.items():
        try:
            declaration = Declaration.model_validate(given)
        except ValidationError:
            continue  # told with the other fields of the file
        try:
            found[name] = settled(name, declaration, Path(document.source).parent)
        except DataError as error:
            for problem in error.problems:
                yield f"{document.where(('datasets', name))}: {problem.removeprefix(f'{name}: ')}"
    for name, given in _section(document, "mixes").items():
        try:
            parts = PARTS.validate_python(given)
        except ValidationError:
            continue  # told with the other fields of the file
        problems = [problem for part in parts for problem in _part_problems(part, declared)]
        yield from (f"{document.where(('mixes', name))}: {problem}" for problem in problems)
        unread = [part.name for part in parts if part.name in declared and part.name not in found]
        if not problems and not unread:
            settled_parts = [{**part.model_dump(), "declared": found.get(part.name)} for part in parts]
            found[name] = MixedData.model_validate({"mix": settled_parts})
    yield from _level_problems(document, found)


def read_elsewhere(document: Document, found: dict[str, DeclaredData | MixedData]) -> Iterator[str]:
    """Load the declared datasets that are not on this machine, and put what their rows say into `found`, also into its
    mixes. Gives all that is wrong, each with its line."""
    for name, data in found.items():
        if isinstance(data, DeclaredData) and data.sizes is None:
            try:
                found[name] = with_rows_read(name, data)
            except DataError as error:
                for problem in error.problems:
                    yield f"{document.where(('datasets', name))}: {problem.removeprefix(f'{name}: ')}"
    for name, data in found.items():
        if isinstance(data, MixedData):
            parts = tuple(part.model_copy(update={"declared": found.get(part.name)}) for part in data.mix)
            found[name] = data.model_copy(update={"mix": parts})
    yield from _level_problems(document, found)


def _level_problems(document: Document, found: Mapping[str, DeclaredData | MixedData]) -> Iterator[str]:
    """Levels that differ from another dataset's in capitals alone: SQL would take their columns for one."""
    spelled = {level.lower(): (level, name) for name, dataset in DATASETS.items() for level in dataset.levels}
    declared = {name: data for name, data in found.items() if isinstance(data, DeclaredData)}
    for name, data in declared.items():
        for level in data.level_names:
            first, owner = spelled.setdefault(level.lower(), (level, name))
            if first != level:
                yield (f"{document.where(('datasets', name))}: levels must be those of other datasets or differ in "
                       f"more than capitals but {data.levels} has {level!r}, and {owner} has {first!r}")  # fmt: skip


def _section(document: Document, name: str) -> dict[str, Any]:
    found = document.data.get(name) if isinstance(document.data, dict) else None
    return found if isinstance(found, dict) else {}


def _part_problems(part: Part, declared: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a dataset of a mix."""
    if part.name not in declared and part.name not in DATASETS:
        yield must_be_one_of([*DATASETS, *declared], part.name)
    for field in ("dataset_path", "dataset_revision"):
        if part.name in declared and getattr(part, field) is not None:
            yield f"{field} must be left out for {part.name}, whose declaration says where it is"
    path = part.dataset_path
    if path and part.name not in declared and "://" not in path and not Path(path).expanduser().exists():
        yield f"dataset_path must be a URL or a folder that exists but got {path!r}"


def tested_apart(points: Iterable[dict[str, Any]], mixes: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The points of a grid; one that trains on a mix and names no test_dataset, once for each dataset of the mix."""
    for point in points:
        mix = mixes.get(point["dataset"])
        if point.get("test_dataset") is not None or not isinstance(mix, MixedData):
            yield point
        else:
            yield from ({**point, "test_dataset": part.name} for part in mix.mix)


def misfits(trial: Trial) -> Iterator[str]:
    """What a trial asks of its datasets that these have not."""
    needed = ["train", "validation"] if trial.method.trains else ["train"] if trial.method.num_shots else []
    if trial.validation_limit and trial.test_dataset:
        needed.append("validation")
    for split in dict.fromkeys(needed):
        for part in trial.data.joined:
            if split not in part.splits:
                yield f"{part.name} must have {split} examples for {trial.tuning_method} but has none"
    if trial.data.parts:
        yield from _of_mix(trial)
    if trial.declared is not None:
        yield from _of_declared(trial, "dataset")
    for name, declared in _declarations(trial):
        if (trial.method.trains or trial.method.num_shots) and "reference" not in declared.judged_by:
            why = "which trains on answers" if trial.method.trains else "whose shots are examples with their answers"
            yield f"{name} must have an answer (or messages) for {trial.tuning_method}, {why}"
    yield from _of_tested(trial)


def _of_mix(trial: Trial) -> Iterator[str]:
    """What a trial that trains on a mix asks of it."""
    names = ", ".join(part.name for part in trial.data.parts)
    if trial.validation_limit and trial.validated_data.parts:
        yield (f"validation_limit must be left out unless test_dataset is a dataset of the mix ({names}) but got "
               f"{trial.test_dataset}")  # fmt: skip


def _of_tested(trial: Trial) -> Iterator[str]:
    """What a trial asks of the dataset that it is tested on."""
    if trial.test_data.parts:
        yield f"test_dataset must be one dataset but got {trial.test_data.name}, a mix, of which each is tested apart"
    elif "test" not in trial.test_data.splits:
        yield (f"{trial.test_data.name} must have test examples but has none; give it a test file or a share in split, "
               f"or the trial a test_dataset")  # fmt: skip
    if trial.test_dataset and trial.fidelity == "paper":
        yield (f"test_dataset must be left out under fidelity: paper, whose code tested on the dataset that it trained "
               f"on, but got {trial.test_dataset}")  # fmt: skip
    if trial.test_declared is not None:
        yield from _of_declared(trial, "test_dataset")
    tested = trial.test_declared if trial.test_dataset else trial.declared
    has_references = not isinstance(tested, DeclaredData) or "reference" in tested.judged_by
    if not has_references and trial.max_new_tokens is None:
        name = trial.test_data.name
        yield f"max_new_tokens must be given for {name}, which has no reference answers to derive it from"


def _declarations(trial: Trial) -> Iterator[tuple[str, DeclaredData]]:
    """The declared datasets that a trial trains on, with their names."""
    if isinstance(trial.declared, MixedData):
        yield from ((part.name, part.declared) for part in trial.declared.mix if part.declared)
    elif trial.declared:
        yield trial.dataset, trial.declared


def _of_declared(trial: Trial, field: str) -> Iterator[str]:
    """Fields that a trial must not have beside a declared dataset, or a mix, which `field` names."""
    is_mix = field == "dataset" and isinstance(trial.declared, MixedData)
    what = "a mix" if is_mix else "a declared dataset"
    if trial.fidelity == "paper":
        yield f"fidelity must be corrected for {what}, which the paper's code never read, but got paper"
    for name in (f"{field}_path", f"{field}_revision"):
        if getattr(trial, name) is not None:
            where = "whose datasets have paths of their own" if is_mix else "whose declaration says where it is"
            yield f"{name} must be left out for {what}, {where}"
