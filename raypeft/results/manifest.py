"""`manifest.json`: what stands beside the tables, so that a folder of results explains itself.

    store.write_manifest(manifest)
    store.read_manifest().declarations.scores

It holds the sweep as it was run, the plan, the code's versions, and everything that the code declares: datasets,
methods, scores, statuses and columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from raypeft.records import Column
from raypeft.results.declarations import Declarations, DeclaredMethod
from raypeft.results.schema import ARROW

if TYPE_CHECKING:
    from raypeft.results.store import ResultStore

FORMAT = 1
"""Counted up when an older raypeft could no longer read a manifest; what is merely added leaves it as it is."""
KINDS = {str(kind) if kind == list[str] else kind.__name__: kind for kind in ARROW}
"""The kinds of columns by the names that the manifest has for them."""
_DECLARATIONS = TypeAdapter(Declarations)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a results folder says of itself."""

    declarations: Declarations
    tables: Mapping[str, tuple[Column, ...]]
    made_by: Mapping[str, Any] = field(default_factory=dict)
    """Version and commit of raypeft, versions of the libraries."""
    sweep: Mapping[str, str] = field(default_factory=dict)
    """`name`, `file`, `text` (the sweep file as it was run, its overrides applied), and `trials`: how many there will
    be, with those that a search has not suggested yet."""
    plan: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Trial id -> the trial's fields."""
    left_out: Mapping[str, Sequence[str]] | None = None
    """Table -> ids of the finished trials whose files there were left out on purpose. None: nobody has looked yet."""

    @property
    def planned(self) -> int:
        """Number of trials, with those that a search has not suggested yet."""
        told = self.sweep.get("trials", "")
        return max(len(self.plan), int(told) if told.isdecimal() else 0)

    @property
    def unsuggested(self) -> int:
        """Number of trials that a search has not suggested yet."""
        return self.planned - len(self.plan)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        tables = {name: [_plain_column(each) for each in columns] for name, columns in self.tables.items()}
        return {
            "format": FORMAT,
            "made_by": dict(self.made_by),
            "sweep": dict(self.sweep),
            "plan": {trial: dict(fields) for trial, fields in self.plan.items()},
            **_DECLARATIONS.dump_python(self.declarations, mode="json"),
            **({} if self.left_out is None else {"left_out": {table: [*ids] for table, ids in self.left_out.items()}}),
            "tables": tables,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Manifest:
        """Read what `plain` gave, in this version or another; what is not known here is passed over.

        Raises ValueError for a newer format, and where a part is not what it must be.
        """
        if not isinstance(plain, Mapping):
            raise ValueError(f"must be a mapping but is a {type(plain).__name__}")
        if not isinstance(plain.get("format"), int) or plain["format"] > FORMAT:
            raise ValueError(f"format must be {FORMAT} at most but is {plain.get('format')!r}")
        try:
            declarations = _DECLARATIONS.validate_python(plain)
            tables = {name: tuple(_columns(columns)) for name, columns in plain.get("tables", {}).items()}
        except (ValidationError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"its declarations must be as raypeft writes them but are not: {error}") from error
        rest = {name: plain.get(name, {}) for name in ("made_by", "sweep", "plan")}
        return cls(declarations, tables, **rest, left_out=plain.get("left_out"))

    def over(self, older: Manifest | None) -> Manifest:
        """This manifest for a folder that has an older one: what only that one declares is kept, for its rows.

        Sweep and plan are this one's, unless it has none.
        """
        if older is None:
            return self
        names = dict.fromkeys([*self.tables, *older.tables])
        tables = {name: _merged(self.tables.get(name, ()), older.tables.get(name, ())) for name in names}
        return Manifest(
            _declared_over(self.declarations, older.declarations),
            tables,
            self.made_by,
            self.sweep or older.sweep,
            self.plan or older.plan,
            older.left_out if self.left_out is None else self.left_out,
        )


def add_to_plan(store: ResultStore, trials: Mapping[str, Mapping[str, Any]]) -> None:
    """Add trials (id -> fields) that are missing to the plan of a folder whose manifest is there.

    Two commands that write in the same moment may undo each other: each should give all its trials each time.
    """
    manifest = store.read_manifest() if trials else None
    if manifest is not None and trials.keys() - manifest.plan.keys():
        store.write_manifest(replace(manifest, plan={**manifest.plan, **trials}))


def _declared_over(new: Declarations, old: Declarations) -> Declarations:
    methods = {name: _method_over(new.methods[name], old.methods.get(name)) for name in new.methods}
    return Declarations(
        scores=_merged(new.scores, old.scores),
        statuses={**old.statuses, **new.statuses},
        datasets={**old.datasets, **new.datasets},
        methods={**old.methods, **methods},
        trial_fields=tuple(dict.fromkeys([*new.trial_fields, *old.trial_fields])),
    )


def _method_over(new: DeclaredMethod, old: DeclaredMethod | None) -> DeclaredMethod:
    if old is None:
        return new
    fields = tuple(dict.fromkeys([*new.fields, *old.fields]))
    return DeclaredMethod(fields, {**old.defaults, **new.defaults}, new.trains)


def _merged(new: Iterable[Any], old: Iterable[Any]) -> tuple[Any, ...]:
    """The new ones, then those of the old ones that have another name."""
    new = tuple(new)
    names = {each.name for each in new}
    return (*new, *(each for each in old if each.name not in names))


def _plain_column(column: Column) -> dict[str, str]:
    kind = next(name for name, kind in KINDS.items() if kind == column.kind)
    unit = {"unit": column.unit} if column.unit else {}
    return {"name": column.name, "kind": kind, "description": column.description, **unit}


def _columns(plain: Iterable[Mapping[str, str]]) -> Iterable[Column]:
    for each in plain:
        if each["kind"] in KINDS:  # another kind is read from the table's own files
            yield Column(each["name"], KINDS[each["kind"]], each.get("description", ""), each.get("unit", ""))
