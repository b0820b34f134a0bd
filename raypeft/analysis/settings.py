"""What sets a trial apart in a table: the fields that stand at no default, or that differ between trials alike."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

from raypeft.analysis.origins import origin
from raypeft.data import data_name
from raypeft.results.declarations import Declarations

Row = Mapping[str, Any]

NEVER_SETTINGS = {
    "model",
    "model_path",
    "dataset",
    "dataset_path",
    "declared",
    "test_dataset",
    "test_dataset_path",
    "test_declared",
    "tuning_method",
}
TEST_LIMITS = ("limit", "test_limit")
LIMITS = (*TEST_LIMITS, "validation_limit")
"""Told only where rows differ in them; those of the test also where only rows of several methods do."""
ALWAYS_SETTINGS = {"num_shots", "lora_r"}
"""Told wherever they are not 0."""
SHORT = {
    "learning_rate": "lr",
    "num_train_epochs": "epochs",
    "num_shots": "shots",
    "embedding_model": "retriever",
    "lora_r": "r",
    "lora_alpha": "alpha",
}
"""What papers write for a field."""
_UNKNOWN = object()


def data_of(row: Row) -> str:
    """The data of a row for people: `toy`, or `toy->odex` where it was trained on one and tested on the other."""
    return data_name(row["dataset"], row.get("test_dataset"))


def settings(rows: Sequence[Row], declared: Declarations) -> list[str]:
    """For each row, its fields that are not their default or that differ between the trials of its method and dataset.

    As text, for a table: "lr 0.002, epochs 3, r 16".
    """
    varying = _varying_by_kind(rows, declared)
    return _told_apart(rows, [_told(row, varying[_kind(row)], declared) for row in rows])


def split_settings(rows: Sequence[Row], declared: Declarations) -> tuple[list[str], list[str]]:
    """The settings in which all rows agree whose methods have such a field, and for each row its others. As `settings`.

    A row in which a field of its method is empty (a plain prompt beside one in the chat template) does not agree.
    """
    varying = _varying_by_kind(rows, declared)
    told = [_parts(row, varying[_kind(row)], declared) for row in rows]
    fields = [declared.method(row["tuning_method"]).fields for row in rows]
    shared = {}
    for name in dict.fromkeys(name for parts in told for name in parts):
        having = [parts.get(name) for parts, names in zip(told, fields, strict=True) if name in names]
        if len(having) > 1 and having[0] and len(set(having)) == 1:
            shared[name] = having[0]
    own = [", ".join(text for name, text in parts.items() if name not in shared) for parts in told]
    return [*shared.values()], _told_apart(rows, own)


def changed(row: Row, declared: Declarations) -> dict[str, Any]:
    """A row's fields that are not at the defaults of its method and dataset, with their values."""
    usual = _usual(row, declared)
    names = dict.fromkeys(
        ["model", "dataset", "test_dataset", "tuning_method", *declared.method(row["tuning_method"]).fields]
    )
    return {name: row[name] for name in names if row.get(name) is not None and row[name] != usual.get(name, _UNKNOWN)}


def labels(rows: Sequence[Row], declared: Declarations) -> list[str]:
    """For each row a short name that tells it from the others: "lora lr 0.002, r 16".

    It has what differs between the rows of its method and dataset. Model and dataset are part of it only where the rows
    differ in them.
    """
    names = [[str(row["model"]), data_of(row)] for row in rows]
    varied = [len({each[place] for each in names}) > 1 for place in range(2)]
    varying = _varying_by_kind(rows, declared)
    texts = _told_apart(rows, [_told(row, varying[_kind(row)], declared, brief=True) for row in rows])
    return [
        " ".join(part for part in (*compress(name, varied), row["tuning_method"], text) if part)
        for row, name, text in zip(rows, names, texts, strict=True)
    ]


def labels_in_blocks(blocks: Sequence[Sequence[Row]], declared: Declarations) -> list[list[str]]:
    """For each row of each block its method, with the fields in which rows of that method differ within some block.

    The rows of a block have model and data in common. A name means the same in all blocks.
    """
    varying: dict[str, set[str]] = defaultdict(set)
    for rows in blocks:
        for (method, _), names in _varying_by_kind(rows, declared).items():
            varying[method] |= names
    found = []
    for rows in blocks:
        told = [_told(row, varying[row["tuning_method"]], declared, brief=True) for row in rows]
        pairs = zip(rows, _told_apart(rows, told), strict=True)
        found.append([" ".join(filter(None, (row["tuning_method"], text))) for row, text in pairs])
    return found


def _kind(row: Row) -> tuple[str, str]:
    return row["tuning_method"], data_of(row)


def _varying_by_kind(rows: Sequence[Row], declared: Declarations) -> dict[tuple[str, str], set[str]]:
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[_kind(row)].append(row)
    limits = {name for name in TEST_LIMITS if len({row.get(name) for row in rows}) > 1}
    return {kind: _varying(group, declared) | limits for kind, group in groups.items()}


def _varying(group: Sequence[Row], declared: Declarations) -> set[str]:
    """The fields in which some row differs from the first, and so two rows from one another."""
    names = declared.method(group[0]["tuning_method"]).fields
    usual = _usual(group[0], declared)
    stated = {name: [row.get(name) for row in group] for name in names}
    several = [name for name, values in stated.items() if values.count(values[0]) < len(values)]
    return {name for name in several if len({_hashable(value, name, usual) for value in stated[name]}) > 1}


def _usual(row: Row, declared: Declarations) -> Mapping[str, Any]:
    """The defaults of a row's method on its dataset."""
    return {**declared.method(row["tuning_method"]).defaults, **declared.tested(row).decoding}


def _hashable(value: Any, name: str, usual: Mapping[str, Any]) -> Any:
    """A row's value of a field. A row of a version that lacked the field has its default."""
    value = usual.get(name) if value is None else value
    return value if isinstance(value, str | int | float | None) else str(value)


def _told(row: Row, varying: set[str], declared: Declarations, brief: bool = False) -> str:
    """The fields that tell a row apart; `brief`: without those that are merely not the default."""
    return ", ".join(_parts(row, varying, declared, brief).values())


def _parts(row: Row, varying: set[str], declared: Declarations, brief: bool = False) -> dict[str, str]:
    """The same by the name of the field."""
    method = declared.method(row["tuning_method"])
    usual = _usual(row, declared)
    parts = {}
    for name in method.fields:
        value = row.get(name)
        if name in NEVER_SETTINGS or value is None:
            continue
        always = name in varying or (name in ALWAYS_SETTINGS and value)
        if always or (name not in LIMITS and not brief and value != usual.get(name, _UNKNOWN)):
            parts[name] = f"{SHORT.get(name, name)} {shown(value)}"
    return parts


def _told_apart(rows: Sequence[Row], texts: Sequence[str]) -> list[str]:
    """The texts of the rows; where rows are told alike, with where their model and data come from as well."""
    alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, (row, text) in enumerate(zip(rows, texts, strict=True)):
        alike[*_kind(row), str(row.get("model")), text].append(number)
    told = list(texts)
    for numbers in alike.values():
        if len(numbers) > 1:
            for number, text in zip(numbers, origins([rows[number] for number in numbers]), strict=True):
                told[number] = _joined(texts[number], text)
    return told


def origins(rows: Sequence[Row]) -> list[str]:
    """Of each row its origin: no more of it than tells the rows from one another."""
    found = [origin(row) for row in rows]
    told = ["" for _ in rows]
    for name in dict.fromkeys(name for each in found for name in each):
        values = ["" if each.get(name) is None else f"{name} {shown(each[name])}" for each in found]
        longer = [_joined(*pair) for pair in zip(told, values, strict=True)]
        if len(set(longer)) > len(set(told)):
            told = longer
    return told


def _joined(*texts: str) -> str:
    return ", ".join(filter(None, texts))


def shown(value: Any) -> str:
    """A value on one line: prompt templates have line breaks, and layers to adapt are a list."""
    if isinstance(value, (list, tuple)):
        return "+".join(map(shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value).replace("\n", "\\n")
