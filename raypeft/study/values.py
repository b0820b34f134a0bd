"""What a single value of a sweep file must be, and how it is told where it is not; and which values are axes.

for problem in value_problems(document, ("grids", 0, "lora_r"), "lora_r", "eight"): ...
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from raypeft.data import DATASETS
from raypeft.methods import METHODS
from raypeft.mistakes import described, must_be_one_of, nearest
from raypeft.models.table import MODELS, folder_problem, is_known
from raypeft.prompting.templates import as_text
from raypeft.study.config import Trial, trial_fields
from raypeft.study.sweepfile import Document, Place


def explain(document: Document, place: Place, problem: Any, known: Iterable[str]) -> str:
    """One pydantic error as `line 7, grids.0.seed: must be ... but got ...`."""
    if problem["type"] == "extra_forbidden":
        return f"{document.where(place)}: unknown key{nearest(str(place[-1]), known)}"
    if problem["type"] == "missing":
        return f"{document.where(place)}: is required"
    message = re.sub(r"^\w+ should", "must", problem["msg"].removeprefix("Value error, "))
    # Messages of raypeft's own validators may already say what was given.
    got = "" if " but got " in message else f" but got {described(problem['input'])}"
    # YAML reads the revision 123456 or 1e5 as a number, on as true and 2024-01-31 as a date.
    read = problem["type"] == "string_type" and isinstance(problem["input"], bool | int | float | date)
    return f"{document.where(place)}: {message}{got}{'; in quotes it is a text' if read else ''}"


def value_problems(document: Document, place: Place, key: str, value: Any) -> Iterator[str]:
    """Check one value: names must be known, paths must exist, other values must match the type of the field."""
    own, mixes = ([*found] if isinstance(found := document.data.get(section), dict) else []
                  for section in ("datasets", "mixes"))  # fmt: skip
    datasets = [*DATASETS, *own]
    menus: dict[str, Iterable[str]] = {"dataset": [*datasets, *mixes], "tuning_method": METHODS.keys()}
    if value is not None:
        menus["test_dataset"] = datasets
    if key in menus and value not in list(menus[key]):
        yield f"{document.where(place)}: {must_be_one_of(menus[key], value)}"
    elif key == "model" and not (isinstance(value, str) and is_known(value)):
        yield (f"{document.where(place)}: must be a model of the table, a hub id (owner/name), or a folder or GGUF "
               f"file that exists but got {described(value)}{nearest(value, MODELS)}")  # fmt: skip
    elif key == "model_path" and isinstance(value, str) and not is_known(value):
        yield f"{document.where(place)}: must be a hub id, or a folder or GGUF file that exists but got {value!r}"
    elif key in ("model", "model_path") and isinstance(value, str) and value not in MODELS and folder_problem(value):
        yield f"{document.where(place)}: the folder {value} {folder_problem(value)}"
    elif (
        key in ("dataset_path", "test_dataset_path")
        and isinstance(value, str)
        and "://" not in value
        and not Path(value).expanduser().exists()
    ):
        yield f"{document.where(place)}: must be a URL or a folder that exists but got {value!r}"
    elif key not in menus and key != "model":
        # Bounds may differ between methods (num_shots). Planning checks them again for each trial's method.
        kinds: tuple[type[BaseModel], ...] = (Trial, *METHODS.values())
        problems = [_refusal(kind.model_fields[key], value) for kind in kinds if key in kind.model_fields]
        if all(problems):
            yield explain(document, place, {**problems[-1], "input": value}, ())


def _refusal(info: FieldInfo, value: Any) -> dict[str, Any]:
    """The first error of pydantic for a value, or an empty dict. `true` and `"8"` do not count as numbers."""
    try:
        _reader(info).validate_python(value, strict=not isinstance(value, list))
    except ValidationError as error:
        return dict(error.errors()[0])
    return {}


def stored(info: FieldInfo, name: str, value: Any) -> Any:
    """What a trial's fields have of a value of the field `name`. Raises ValidationError for one that it cannot have."""
    read = _reader(info).validate_python(value)
    return as_text(read) if name == "prompt_template" else read


def _reader(info: FieldInfo) -> TypeAdapter[Any]:
    kind: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    return TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False))


def is_coupled(key: str, entry: Any) -> bool:
    """Whether an entry of an axis is a mapping that sets several fields. A field that takes a mapping as its value
    (prompt_template) is coupled only by a `name`."""
    if not isinstance(entry, dict):
        return False
    info = trial_fields().get(key)
    return "name" in entry or info is None or not _is_mapping(info.annotation)


def is_axis(key: str, value: Any) -> bool:
    """Whether a value is an axis. For a field that is a list (target_modules), only a list of lists is an axis."""
    if not isinstance(value, list):
        return False
    info = trial_fields().get(key)
    return info is None or not _is_list(info.annotation) or any(isinstance(entry, list) for entry in value)


def _is_list(kind: Any) -> bool:
    """Whether a type is a tuple or a list, or a union with one of them."""
    origin = get_origin(kind)
    if origin in (Annotated, Union, UnionType):
        return any(_is_list(part) for part in get_args(kind))
    return (origin or kind) in (tuple, list)


def _is_mapping(kind: Any) -> bool:
    """Whether a type is a pydantic model, or a union with one."""
    if get_origin(kind) in (Annotated, Union, UnionType):
        return any(_is_mapping(part) for part in get_args(kind))
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def as_axis(key: str, value: Any) -> list[Any]:
    """The values of an axis; a single value makes a list of one."""
    return list(value) if is_axis(key, value) else [value]
