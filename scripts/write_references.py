"""Writes the reference pages: every field of a sweep file, and every column of the results.

    python -m scripts.write_references          # docs/fields.md and docs/columns.md

Both pages follow from the code: pydantic's descriptions, defaults and bounds, and the columns that modules declare.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from raypeft.analysis.claims import FORMS, Claim
from raypeft.data import DATASETS
from raypeft.data.declared.declaration import Declaration, Split
from raypeft.markdown import markdown_table
from raypeft.methods import METHODS, Method, TrainedMethod
from raypeft.metrics.metric import READINGS
from raypeft.prompting.templates import PromptTemplate
from raypeft.records import Column
from raypeft.study.config import NOT_SET, SweepConfig, Trial
from raypeft.study.options import Resources, SandboxOptions
from raypeft.study.parameters import Asha, Goal, Parameter
from raypeft.trial.columns import tables

DOCS = Path(__file__).parents[1] / "docs"
GENERATED = "<!-- Written by `python -m scripts.write_references`. Do not edit this page by hand. -->"

TYPES = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "object": "mapping",
    "null": "null",
}
"""Names of JSON Schema's types for people."""
BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "gt": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}",
          "minItems": "length ≥ {}", "minLength": "length ≥ {}",
          "pattern": "matches `{}`"}  # fmt: skip
"""JSON Schema's bounds for people. Of a union pydantic tells them by its own names."""
KINDS = {
    float: "float",
    int: "integer",
    str: "text",
    bool: "boolean",
    datetime: "time (UTC)",
    list[str]: "list of text",
}

Row = tuple[str, ...]
FIELD_HEADINGS = ("Field", "Type", "Default", "Bounds or choices", "Description")
COLUMN_HEADINGS = ("Column", "Type", "Unit", "Description")

TABLES = {
    "trials": "One row for each trial: its fields, how it ended, its scores, times and memory, and how it was made.",
    "candidates": "One row for each generated candidate.",
    "evals": "One row for each evaluation on the validation split during training.",
    "tests": "One row for each test of each candidate. Only datasets that are judged by tests have rows here.",
    "example_scores": "One row for each test example and score. Two trials are compared on these values.",
}
"""What a row of each table is."""


def fields_page() -> str:
    """The text of docs/fields.md."""
    return "\n".join(
        [
            "# Fields of a sweep file",
            GENERATED,
            "A field without a default is required. `null` means that the field is not set.",
            "Only the trial fields and the fields of tuning methods are part of a trial's id.",
            *_section("## Top level", _own_first(SweepConfig)),
            *_section("## `resources`", _field_rows(Resources)),
            *_section("## `sandbox`", _field_rows(SandboxOptions)),
            "\n## `parameters`\n",
            "A parameter of a search has the name of a trial field, and these fields. A list stands for `values`.",
            *_table(FIELD_HEADINGS, _field_rows(Parameter)),
            *_section("### `metric`", _field_rows(Goal)),
            *_section("### `scheduler`", _field_rows(Asha)),
            "\n## `datasets`\n",
            "Each dataset of your own has a name, and these fields.",
            *_table(FIELD_HEADINGS, _field_rows(Declaration)),
            *_section("### `split`", _field_rows(Split)),
            "\n## Trial fields\n",
            "These fields and those of the tuning method stand in `defaults` or in an entry of `grids`.",
            "In a grid, a list of values makes one trial for each value.",
            *_table(FIELD_HEADINGS, [_tuning_method_row(), *_field_rows(Trial, leave_out=NOT_SET)]),
            *_section("### `prompt_template` as a mapping", _field_rows(PromptTemplate)),
            "\n### Defaults that depend on the dataset",
            *_table(("Dataset", "Defaults"), [(f"`{name}`", _assignments(values)) for name, values in _by_dataset()]),
            *_paper_defaults(),
            *_section("## Fields of every tuning method", _field_rows(Method, leave_out=("name",))),
            *_section("## Fields of every method that trains", _training_rows()),
            *(line for name, method in METHODS.items() for line in _method_section(name, method)),
            *_claims(),
            "",
        ]
    )


def columns_page() -> str:
    """The text of docs/columns.md."""
    lines = [
        "# Columns of the results",
        GENERATED,
        "Each table is a folder of Parquet files: `results/<sweep>/<table>/<trial id>.parquet`. A value that does not",
        "apply or is not known is null. A line may stand for several columns: `pass_at_1_interview_paper_low` is",
        "`pass_at_k` with a k, then a level, then what is told of it.",
    ]
    for name, columns in tables().items():
        lines += [f"\n## `{name}`\n", TABLES[name], *_table(COLUMN_HEADINGS, _column_rows(columns))]
    return "\n".join([*lines, ""])


PAGES = {"fields.md": fields_page, "columns.md": columns_page}


def models_with_fields() -> list[type[BaseModel]]:
    """The classes whose fields are described on docs/fields.md."""
    return [
        SweepConfig,
        Resources,
        SandboxOptions,
        Parameter,
        Goal,
        Asha,
        Declaration,
        Split,
        Trial,
        PromptTemplate,
        Method,
        TrainedMethod,
        *METHODS.values(),
        Claim,
        *FORMS.values(),
    ]


def _section(heading: str, rows: Sequence[Row]) -> list[str]:
    return [f"\n{heading}", *_table(FIELD_HEADINGS, rows)]


def _method_section(name: str, method: type[Method]) -> list[str]:
    """The fields that only this method has, or that have other defaults or bounds here."""
    parent = next((each for each in method.__mro__[1:] if each in METHODS.values()), None)
    shared = {*_field_rows(Method), *(_training_rows() if issubclass(method, TrainedMethod) else ())}
    shared |= set(_field_rows(parent)) if parent else set()
    rows = [row for row in _field_rows(method, leave_out=("name",)) if row not in shared]
    inherited = [f"It also has the fields of `{parent.model_fields['name'].default}`."] if parent else []
    lines = [f"\n## `{name}`\n", " ".join((method.__doc__ or "").split()), *inherited]
    return [*lines, *(_table(FIELD_HEADINGS, rows) if rows else ())]


def _claims() -> Iterator[str]:
    """The fields of claims: those of all forms, then those of each form."""
    yield "\n## `claims`\n"
    yield "Each entry is a claim of one form, named by its key ([claims.md](claims.md)). All forms have these fields."
    shared = _field_rows(Claim, leave_out=("on",))
    yield from _table(FIELD_HEADINGS, shared)
    for kind, form in FORMS.items():
        yield from _section(f"### `{kind}`", [row for row in _field_rows(form) if row not in shared])


def _training_rows() -> list[Row]:
    """The fields of all methods that train. Each method has its own default for the learning rate."""
    shared = {row[0] for row in _field_rows(Method)}
    return [row for row in _field_rows(TrainedMethod) if row[0] not in shared and row[0] != "`learning_rate`"]


def _tuning_method_row() -> Row:
    choices = ", ".join(f"`{name}`" for name in METHODS)
    return "`tuning_method`", TYPES["string"], "", choices, Trial.model_fields["method"].description or ""


def _field_rows(model: type[BaseModel], leave_out: Sequence[str] = ()) -> list[Row]:
    """A row for each field of a model, from its JSON Schema."""
    schema = model.model_json_schema()
    paper = getattr(model, "paper_defaults", {})
    return [
        (f"`{name}`", _type(field), _default(name, field, paper), _bounds(field), field.get("description", ""))
        for name, field in schema["properties"].items()
        if name not in leave_out
    ]


def _own_first(model: type[BaseModel]) -> list[Row]:
    """The rows of a model's fields, those that it inherits behind its own."""
    return sorted(_field_rows(model), key=lambda row: row[0].strip("`") not in model.__annotations__)


def _options(field: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The alternatives of a field's schema: one, or several where it may be null. Bounds of alternatives together are
    those of each.
    """
    if "anyOf" not in field:
        return [dict(field)]
    bounds = {bound: field[bound] for bound in BOUNDS if bound in field}
    return [{**option, **bounds} for each in field["anyOf"] for option in _options(each)]


def _type(field: Mapping[str, Any]) -> str:
    return " or ".join(_type_of_option(option) for option in _options(field))


def _type_of_option(option: Mapping[str, Any]) -> str:
    if "$ref" in option:
        return "mapping (see below)"
    if "type" not in option:
        return "any"
    if option["type"] == "array":
        of = {"text": "list of text", "mapping": "list of mappings", "any": "list"}
        return of[_type_of_option(option["items"])]
    return TYPES[option["type"]]


def _default(name: str, field: Mapping[str, Any], paper: Mapping[str, Any]) -> str:
    if "$ref" in field:
        return "see below"
    if "default" not in field:
        return ""
    text = f"`{json.dumps(field['default'])}`"
    return f"{text}; `{json.dumps(paper[name])}` under `fidelity: paper`" if name in paper else text


def _bounds(field: Mapping[str, Any]) -> str:
    told = []
    for option in _options(field):
        choices = option.get("enum", [option["const"]] if "const" in option else [])
        told += [", ".join(f"`{choice}`" for choice in choices)] if choices else []
        told += [text.format(option[bound]) for bound, text in BOUNDS.items() if bound in option]
    return ", ".join(dict.fromkeys(told))


def _by_dataset() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, dataset in DATASETS.items():
        bound = {} if dataset.max_length is None else {"max_length": dataset.max_length}
        yield name, {"max_new_tokens": dataset.max_new_tokens, **bound, **dataset.decoding}


def _paper_defaults() -> Iterator[str]:
    """A line for each dataset that gives a method other defaults under `fidelity: paper`."""
    for name, dataset in DATASETS.items():
        told = [f"`{method}` has {_assignments(values)}" for method, values in dataset.paper_defaults.items()]
        if told:
            yield f"\nWith the dataset `{name}` and `fidelity: paper`, {', '.join(told)}."


def _assignments(values: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}: {json.dumps(value)}`" for name, value in values.items())


class Variant(NamedTuple):
    """A column as one member of a family: the family, and what sets the member apart."""

    family: tuple[str, str]
    """Name and description, with k for the number of candidates, without level and reading."""
    k: str
    level: str
    reading: str


def _column_rows(columns: Sequence[Column]) -> Iterator[Row]:
    """A row for each column; the columns of a family (`em_at_1`, `em_at_1_low`, `em_at_2` ...) share one."""
    families: dict[tuple[str, str], list[tuple[Column, Variant]]] = {}
    for column in columns:
        variant = _variant(column)
        families.setdefault(variant.family, []).append((column, variant))
    for members in families.values():
        ks, levels, readings = (
            list(dict.fromkeys(values)) for values in zip(*(each[1][1:] for each in members), strict=True)
        )
        if prod(map(len, (ks, levels, readings))) != len(members):
            raise ValueError(f"the family of {members[0][0].name} must have every combination of k, level and reading")
        name, description = members[0][1].family if len(ks) > 1 else (members[0][0].name, members[0][0].description)
        yield _column_row(members[0][0], name, ". ".join([description, *_notes(ks, levels, readings)]))


def _notes(ks: Sequence[str], levels: Sequence[str], readings: Sequence[str]) -> Iterator[str]:
    """What a family's row says of its members."""
    if len(ks) > 1:
        yield f"k is {', '.join(ks)}"
    if len(levels) > 1:
        yield f"Also for each level: {', '.join(f'`_{level}`' for level in levels if level)}"
    if len(readings) > 1:
        yield f"Also {'; '.join(f'`_{each}`' + READINGS[each].replace(',', ':', 1) for each in readings if each)}"


def _variant(column: Column) -> Variant:
    name, description = column.name, column.description
    longest_first = sorted(READINGS, key=len, reverse=True)  # `paper_low` ends as `low` does
    reading = next(
        (each for each in longest_first if name.endswith(f"_{each}") and description.endswith(READINGS[each])), ""
    )
    if reading:
        name, description = name.removesuffix(f"_{reading}"), description.removesuffix(READINGS[reading])
    levels = dict.fromkeys(level for dataset in DATASETS.values() for level in dataset.levels)
    level = next((each for each in levels if name.endswith(f"_{each}")), "")
    if level:
        name, description = name.removesuffix(f"_{level}"), description.removesuffix(f", {level} problems")
    if found := re.search(r"_at_(\d+)$", name):
        family = f"{name[: found.start()]}_at_k", re.sub(rf"\b{found[1]}\b", "k", description)
        return Variant(family, found[1], level, reading)
    return Variant((name, description), "", level, reading)


def _column_row(column: Column, name: str, description: str) -> Row:
    return f"`{name}`", KINDS[column.kind], column.unit, description


def _table(headings: Row, rows: Iterable[Row]) -> list[str]:
    """A Markdown table, with an empty line before it."""
    return ["", *markdown_table(headings, rows)]


def main() -> None:
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
