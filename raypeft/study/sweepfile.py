"""Reads the YAML of a sweep file, and remembers the line of each value, so that an error can name it.

document = read_sweep_file(Path("sweeps/rq2.yaml"), ["defaults.num_train_epochs=1"])
document.data, document.where(("grids", 0, "model"))
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from raypeft.mistakes import number_of

Place = tuple[str | int, ...]
"""The place of a value in the file: keys and list positions from the top, e.g. `("grids", 0, "model")`."""


class ConfigError(Exception):
    """All mistakes of a sweep file or command line. `str()` gives the report for the user."""

    def __init__(self, source: str, problems: Iterable[str]) -> None:
        self.problems = list(dict.fromkeys(problems))
        count = number_of(len(self.problems), "error")
        super().__init__("\n".join([f"{source} has {count}:", *(f"  {problem}" for problem in self.problems)]))


@dataclass(slots=True)
class Document:
    """The parsed file with its overrides applied."""

    source: str
    data: Any
    places: dict[Place, str] = field(default_factory=dict)
    """For each place, its line (`line 7`) or the override that set it."""

    def where(self, place: Place) -> str:
        """A place as text: `line 7, grids.0.model`. Without a line of its own it has the line of what surrounds it."""
        dotted = ".".join(map(str, place))
        for end in range(len(place), -1, -1):
            if origin := self.places.get(place[:end]):
                return f"{origin}, {dotted}" if dotted else origin
        return dotted


class _Loader(yaml.SafeLoader):
    """The safe loader of PyYAML, except that `3e-4` is a number and not a text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)

_MERGE = "tag:yaml.org,2002:merge"
_COLLECTIONS = ("tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")
_BASE_8_OR_60 = re.compile(r"[-+]?0[0-7_]+|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
"""What YAML 1.1 reads as another number than people write: 010 as 8, and 1:30 as 90."""


def find_sweep_file(name: str) -> Path:
    """The path of a sweep file. A name such as `rq2` or `rq2.yaml` is also looked up in `sweeps/`, here and in raypeft.

    Raises ConfigError that lists the sweep files of raypeft.
    """
    names = [name] if name.endswith((".yaml", ".yml")) else [name, f"{name}.yaml"]
    # The folder is beside the package in a git checkout, and inside an installed package.
    package = Path(__file__).parents[1]
    shipped_in = [package.parent / "sweeps", package / "sweeps"]
    folders = [Path(), Path("sweeps"), *shipped_in]
    candidates = [folder / each for folder in folders for each in names]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    shipped = sorted(path.name for folder in shipped_in for path in folder.glob("*.yaml"))
    known = f"; shipped sweeps: {', '.join(shipped)}" if shipped else ""
    raise ConfigError(name, [f"no such file here or in sweeps/{known}"])


def read_sweep_file(path: Path, overrides: Iterable[str] = ()) -> Document:
    """Parse `path` and apply `key.path=value` overrides. Raises ConfigError for broken YAML or a broken override.

    Anchors, aliases and merge keys (`<<`) are resolved. A key at the top that begins with `x-` is a place for anchors
    and no part of the sweep, as in Docker Compose's files.
    """
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}" if error.problem_mark else "somewhere"
        raise ConfigError(str(path), [f"{line}: not YAML: {error.problem or error.context}"]) from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(str(path), [f"not YAML: {error}"]) from None
    document = Document(str(path), None, {(): "line 1"})
    problems: list[str] = []
    if root is not None:
        try:
            document.data = _plain(root, (), document.places, problems)
        except RecursionError:
            raise ConfigError(str(path), ["not a sweep: an alias that holds itself, or too many levels"]) from None
    if isinstance(document.data, dict):
        document.data = {key: value for key, value in document.data.items() if not key.startswith("x-")}
    # If the file is not a mapping, overrides make no sense; `raypeft.study.checking` reports that mistake.
    for override in overrides if isinstance(document.data, dict | None) else ():
        if problem := apply_override(override, document):
            problems.append(problem)
    if problems:
        raise ConfigError(str(path), problems)
    return document


def _plain(node: yaml.Node, place: Place, places: dict[Place, str], problems: list[str]) -> Any:
    """A YAML node as plain data. Fills `places`, and adds what YAML cannot make of the file to `problems`."""
    places[place] = f"line {node.start_mark.line + 1}"
    if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTIONS:
        problems.append(f"{places[place]}, {'.'.join(map(str, place))}: must be a plain list or mapping but has the "
                        f"tag {node.tag}, which is not read here")  # fmt: skip
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*place, index), places, problems) for index, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _plain_mapping(node, place, places, problems)
    try:
        return _scalar(node)
    except ValueError as error:
        problems.append(f"{places[place]}, {'.'.join(map(str, place))}: {error}")
        return None


def _plain_mapping(
    node: yaml.MappingNode, place: Place, places: dict[Place, str], problems: list[str]
) -> dict[str, Any]:
    """A mapping with its merge keys (`<<: *common`) resolved: its own keys win, then those of an earlier mapping."""
    merged: dict[str, Any] = {}
    for key_node, value_node in node.value:
        for part in _merge_parts(key_node, value_node):
            if isinstance(part, yaml.MappingNode):
                merged = _plain_mapping(part, place, places, problems) | merged
            else:
                problems.append(f"line {key_node.start_mark.line + 1}, {'.'.join(map(str, (*place, '<<')))}: must be a "
                                f"mapping, or a list of mappings, whose keys are merged into this one")  # fmt: skip
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if key_node.tag == _MERGE:
            continue
        if not isinstance(key_node, yaml.ScalarNode):
            problems.append(f"line {key_node.start_mark.line + 1}: a key must be a name but is a list or a mapping")
            continue
        key = str(key_node.value)
        if key in mapping:
            problems.append(f"line {key_node.start_mark.line + 1}, {key}: given twice")
        mapping[key] = _plain(value_node, (*place, key), places, problems)
        places[(*place, key)] = f"line {key_node.start_mark.line + 1}"
    return merged | mapping


def _merge_parts(key: yaml.Node, value: yaml.Node) -> list[yaml.Node]:
    """What a merge key names, as a list; nothing for any other key."""
    if key.tag != _MERGE:
        return []
    return list(value.value) if isinstance(value, yaml.SequenceNode) else [value]


def _scalar(node: yaml.Node) -> Any:
    """The value of a scalar node. Raises ValueError for what YAML cannot make, or reads as another number."""
    try:
        value = _Loader("").construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError):  # an unknown tag, or a date with a thirteenth month
        raise ValueError(f"{node.value!r} is no YAML value") from None
    is_plain = node.style is None and not isinstance(value, str)  # type: ignore[attr-defined]
    if is_plain and _BASE_8_OR_60.fullmatch(node.value) and node.value.strip("+-0_"):
        meant = value if ":" in node.value else re.sub("^([-+]?)[0_]+", r"\1", node.value)
        raise ValueError(f"must be a decimal number but got {node.value}, which YAML reads as {value}; "
                         f"write {meant}, or {node.value!r} in quotes for a text")  # fmt: skip
    return value


def apply_override(override: str, document: Document) -> str | None:
    """Apply one override `a.b.0.c=value`, whose value is YAML. Returns the mistake in it, if there is one."""
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        return f"override {override!r}: must be key=value"
    try:
        value = _override_value(text)
    except yaml.YAMLError:
        return f"override {override!r}: the value is not YAML"
    except ValueError as error:
        return f"override {override!r}: {error}"
    place: Place = tuple(int(part) if part.isdecimal() else part for part in dotted.split("."))
    if document.data is None:
        document.data = {}
    target = document.data
    for depth, part in enumerate(place[:-1]):
        if isinstance(target, dict) and isinstance(part, str):
            if target.get(part) is None:
                target[part] = {}
            target = target[part]
        elif isinstance(target, list) and isinstance(part, int) and part < len(target):
            target = target[part]
        else:
            return f"override {override!r}: the sweep has no {'.'.join(map(str, place[: depth + 1]))}"
    last = place[-1]
    if isinstance(target, dict) or (isinstance(target, list) and isinstance(last, int) and last < len(target)):
        target[last] = value  # type: ignore[index]
    else:
        return f"override {override!r}: the sweep has no {dotted}"
    document.places = {known: at for known, at in document.places.items() if known[: len(place)] != place}
    document.places[place] = f"override {override!r}"
    return None


def _override_value(text: str) -> Any:
    """The YAML of an override. Raises yaml.YAMLError, and ValueError with the first of its other problems."""
    root = yaml.compose(text, Loader=_Loader)
    problems: list[str] = []
    value = None if root is None else _plain(root, (), {}, problems)
    if problems:
        raise ValueError(problems[0].partition(": ")[2])
    return value
