"""What a report is made of: the rows of one or several results folders, joined, and what their manifests say.

    study = open_study(["results/conala_smollm2", "results/conala_shots"])
    study.rows, study.state, study.sweeps[0].manifest

Only Parquet files and manifests are read, so a study whose sweep still runs, or was run elsewhere, can be opened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import yaml

from raypeft.analysis.claims import Claim
from raypeft.analysis.claims.verdicts import Finding, judged, make_evidence, read_claims, unread_claims
from raypeft.analysis.comparisons import values_of
from raypeft.analysis.folder import open_with_manifest
from raypeft.metrics.metric import Values
from raypeft.results.declarations import Declarations
from raypeft.results.manifest import Manifest
from raypeft.results.store import TOGETHER, ResultStore

Row = Mapping[str, Any]
MADE_BY = (
    "raypeft_version", "git_commit", "torch_version", "transformers_version", "peft_version",
    "dataset_resolved_revision", "model_resolved_revision", "embedding_resolved_revision", "device",
)  # fmt: skip
"""Columns that two rows of one trial are compared by, besides their scores: code, versions, data, model, hardware."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A trial that two folders have with other scores, or made by other code."""

    trial: str
    shown: str
    """The folder whose row is shown."""
    other: str
    differs: tuple[str, ...]
    """`EM@1 40.0 and 45.0`: each score and each column of `MADE_BY` that differs, scores first."""
    in_scores: bool

    def __str__(self) -> str:
        return f"trial {self.trial} of {self.shown} and {self.other}: {', '.join(self.differs)}"


@dataclass(frozen=True)
class Sweep:
    """One results folder."""

    name: str
    url: str
    store: ResultStore
    declared: Declarations
    manifest: Manifest | None
    rows: tuple[Row, ...]
    """In the order in which the trials started."""
    _whole: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict, repr=False)
    """Table -> trial id -> rows, of tables in one file."""

    @property
    def planned(self) -> int | None:
        """Number of trials in the plan. None: the folder has no plan."""
        return self.manifest.planned or None if self.manifest else None

    @property
    def missing(self) -> list[str]:
        """Ids of planned trials without a row."""
        done = {row["id"] for row in self.rows}
        return [each for each in (self.manifest.plan if self.manifest else ()) if each not in done]

    def read(self, table: str, trial: str) -> list[dict[str, Any]]:
        """A trial's rows of a table, also where one file holds the rows of all trials."""
        return self.store.read_rows(table, trial) or self._together(table).get(trial, [])

    def _together(self, table: str) -> dict[str, list[dict[str, Any]]]:
        if table not in self._whole:
            found: dict[str, list[dict[str, Any]]] = {}
            for row in self.store.read_rows(table, TOGETHER):
                found.setdefault(row["id"], []).append(row)
            self._whole[table] = found
        return self._whole[table]

    @cached_property
    def claims(self) -> list[Claim]:
        """The claims that its sweep file states."""
        return read_claims(self.manifest.sweep.get("text", "")) if self.manifest else []

    @property
    def unread_claims(self) -> list[str]:
        """The claims of its sweep file that this version cannot read, with the reasons."""
        return unread_claims(self.manifest.sweep.get("text", "")) if self.manifest else []

    @property
    def question(self) -> str:
        """What the sweep file says that the sweep is for; empty where it says nothing."""
        text = self.manifest.sweep.get("text", "") if self.manifest else ""
        try:
            data = yaml.safe_load(text) or {}
        except yaml.YAMLError:
            return ""
        found = data.get("question") or "" if isinstance(data, dict) else ""
        return " ".join(str(found).split())


@dataclass(frozen=True)
class Study:
    """The rows of all folders together."""

    sweeps: tuple[Sweep, ...]
    rows: tuple[Row, ...]
    """Every trial once. With several folders each row names its folder in `folder`."""
    declared: Declarations
    home: Mapping[str, Sweep] = field(default_factory=dict)
    """Trial id -> the folder that holds its files."""
    repeated: int = 0
    """Number of trials that are in more than one folder and are shown once."""
    conflicts: tuple[Conflict, ...] = ()
    """Those of them whose rows are not the same."""

    @property
    def title(self) -> str:
        return " + ".join(sweep.name for sweep in self.sweeps)

    @cached_property
    def scored(self) -> list[Row]:
        """The rows that have scores."""
        return [row for row in self.rows if self.declared.status(row["status"]).is_scored]

    @cached_property
    def unscored(self) -> list[Row]:
        """The rows of trials that failed, ran out of memory or are not scored yet."""
        return [row for row in self.rows if not self.declared.status(row["status"]).is_scored]

    @property
    def is_unfinished(self) -> bool:
        """Whether a planned trial has no row yet."""
        return any(self.missing_of(sweep) for sweep in self.sweeps)

    def missing_of(self, sweep: Sweep) -> int:
        """How many of a sweep's trials no folder has, as two groups may have run a part each; with those that its
        search has still to suggest."""
        unsuggested = sweep.manifest.unsuggested if sweep.manifest else 0
        return unsuggested + sum(each not in self.home for each in sweep.missing)

    @property
    def state(self) -> str:
        """How far the sweeps are: "5 of 12 trials"."""
        told = "; ".join(_state(sweep, len(self.sweeps) > 1) for sweep in self.sweeps)
        plans = {frozenset(sweep.manifest.plan) for sweep in self.sweeps if sweep.manifest and sweep.manifest.plan}
        if len(self.sweeps) > 1 and len(plans) == 1 and all(sweep.manifest for sweep in self.sweeps):
            (plan,) = plans
            told += f"; together {len(plan & self.home.keys())} of {len(plan)} trials"
        return told

    def values(self, row: Row) -> Values:
        """What a trial scored on single examples, also where one file holds the values of all trials."""
        sweep = self.home[row["id"]]
        return values_of(sweep.read, row, sweep.declared)

    @cached_property
    def findings(self) -> list[Finding]:
        """The verdicts on the claims of all folders, tested on the trials of all folders."""
        stated = (claim for sweep in self.sweeps for claim in sweep.claims)
        claims: list[Claim] = []  # two folders of one sweep state the same ones
        for claim in stated:
            if claim not in claims:
                claims.append(claim)
        return judged(claims, make_evidence(self.scored, self.declared, self.values)) if claims else []

    @cached_property
    def evaluations(self) -> dict[str, list[Row]]:
        """Trial id -> its evaluations during training, by step."""
        found: dict[str, list[Row]] = {}
        for sweep in self.sweeps:
            for each in sweep.store.read_rows("evals"):
                if self.home.get(each["id"]) is sweep:
                    found.setdefault(each["id"], []).append(each)
        return {trial: sorted(rows, key=lambda each: each["step"]) for trial, rows in found.items()}


def open_study(urls: Sequence[str]) -> Study:
    """The study of these folders.

    Raises FileNotFoundError for a folder without results, and ValueError where a file cannot be read or a folder is
    named twice.
    """
    if len(set(urls)) < len(urls):
        raise ValueError(f"results folders must be different ones but got {' '.join(urls)}")
    sweeps = _named([_open(url) for url in urls])
    rows: dict[str, Row] = {}
    home: dict[str, Sweep] = {}
    declared = _declared(sweeps)
    again: list[Conflict | None] = []
    for sweep in sweeps:
        for row in sweep.rows:
            first = home.get(row["id"])
            if first is None or _is_better(row, rows[row["id"]], declared):
                rows[row["id"]] = {**row, "folder": sweep.name} if len(sweeps) > 1 else row
                home[row["id"]] = sweep
            if first is not None:
                again.append(_conflict(rows[row["id"]], first.name, row, sweep.name, declared))
    conflicts = tuple(each for each in again if each)
    return Study(tuple(sweeps), tuple(rows.values()), declared, home, len(again), conflicts)


def _is_better(row: Row, shown: Row, declared: Declarations) -> bool:
    """Whether a row of a later folder is shown in place of that of an earlier one, which has no scores."""
    return declared.status(row["status"]).is_scored and not declared.status(shown["status"]).is_scored


def _conflict(shown: Row, name: str, other: Row, other_name: str, declared: Declarations) -> Conflict | None:
    """What is not the same in two rows of one trial. None: nothing, or one of them has no scores."""
    if not all(declared.status(each["status"]).is_scored for each in (shown, other)):
        return None
    scores = [
        f"{score.title} {score.text(shown[score.name])} and {score.text(other[score.name])}"
        for score in declared.scores
        if _values_differ(shown.get(score.name), other.get(score.name))
    ]
    made_by = [
        f"{column} {str(shown[column])[:19]} and {str(other[column])[:19]}"
        for column in MADE_BY
        if None not in (shown.get(column), other.get(column)) and shown[column] != other[column]
    ]
    return Conflict(shown["id"], name, other_name, (*scores, *made_by), bool(scores)) if scores or made_by else None


def _values_differ(one: Any, other: Any) -> bool:
    return one is not None and other is not None and not math.isclose(one, other, rel_tol=1e-9)


def _open(url: str) -> Sweep:
    store, declared, manifest = open_with_manifest(url)
    rows = sorted(store.read_rows(), key=lambda row: str(row.get("started_at")))
    name = (manifest.sweep.get("name") if manifest else None) or next((row.get("sweep") for row in rows), None)
    return Sweep(str(name or _last_part(url)), url, store, declared, manifest, tuple(rows))


def _named(sweeps: Sequence[Sweep]) -> list[Sweep]:
    """The sweeps, each with a name of its own: that of its folder where two sweeps have the same name."""
    names = [sweep.name for sweep in sweeps]
    if len(set(names)) == len(names):
        return list(sweeps)
    places = [_last_part(sweep.url) for sweep in sweeps]
    chosen = places if len(set(places)) == len(places) else [sweep.url for sweep in sweeps]
    return [
        Sweep(name, each.url, each.store, each.declared, each.manifest, each.rows)
        for name, each in zip(chosen, sweeps, strict=True)
    ]


def _last_part(url: str) -> str:
    return url.partition("?")[0].rstrip("/").rpartition("/")[2] or url


def _declared(sweeps: Sequence[Sweep]) -> Declarations:
    """The declarations of all folders; where two differ, those of the folder that is named first."""
    merged = Manifest(sweeps[0].declared, {})
    for sweep in sweeps[1:]:
        merged = merged.over(Manifest(sweep.declared, {}))
    return merged.declarations


def _state(sweep: Sweep, named: bool) -> str:
    prefix = f"{sweep.name}: " if named else ""
    if sweep.planned is None:
        return f"{prefix}{len(sweep.rows)} {'trial' if len(sweep.rows) == 1 else 'trials'}"
    done = len(sweep.manifest.plan) - len(sweep.missing) if sweep.manifest else 0
    others = len(sweep.rows) - done
    more = f", and {others} of an earlier plan" if others > 0 else ""
    return f"{prefix}{done} of {sweep.planned} trials{more}"
