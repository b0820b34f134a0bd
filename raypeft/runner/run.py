"""`SweepRun`: what running a sweep is given besides its trials. Knows neither Ray nor torch."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from raypeft.analysis.settings import SHORT, shown
from raypeft.study.config import Trial
from raypeft.study.options import Resources, RunOptions
from raypeft.study.parameters import Asha
from raypeft.study.searching import SearchPoint


@dataclass(frozen=True, slots=True)
class SearchRun:
    """The search of a sweep, as it is run."""

    column: str
    """The column of a row that it goes by."""
    lower_is_better: bool
    asha: Asha | None = None
    of: Mapping[str, str] = field(default_factory=dict)
    """Trial id -> the key of its search, of the trials that are planned beforehand."""
    points: Sequence[SearchPoint] = ()
    """Where Optuna suggests trials."""
    unsuggested: int = 0
    """How many it has still to suggest; with none, it suggests nothing also where a search has room."""
    to_the_end: frozenset[str] = frozenset()
    """Ids of the trials that ASHA leaves alone."""
    stale: Mapping[str, str] = field(default_factory=dict)
    """Trial id -> its row that is of other data (`raypeft.results.attempts.version`): nothing is learned from it."""

    def label(self, trial: Trial, key: str) -> str:
        """A short name of a suggested trial: what is searched tells it from the others."""
        names = next((point.parameters for point in self.points if point.key == key), ())
        told = ", ".join(f"{SHORT.get(name, name)} {shown(trial.fields[name])}" for name in names)
        return f"{trial.label} {told}".rstrip()


@dataclass(frozen=True, slots=True)
class SweepRun:
    """A sweep as it is run: where its results go, what a trial may take, what the command asked for."""

    name: str
    results: str
    """Folder or URL of the sweep's own results."""
    resources: Resources
    options: RunOptions
    labels: Mapping[str, str] = field(default_factory=dict)
    """Trial id -> a short name that tells the trial from the sweep's others; a trial without one has its own label."""
    verbose: bool = False
    seen: Mapping[str, str] = field(default_factory=dict)
    """Trial id -> which row stood when it was decided to run the trial (`raypeft.results.attempts.version`)."""
    search: SearchRun | None = None
    """None: the trials of the grids are all."""
    max_concurrent_trials: int | None = None
    time_budget_hours: float | None = None
    report_to: Sequence[str] = ()
    """The names of the trackers that are told of each trial."""
    unshared: frozenset[str] = frozenset()
    """Ids of the trials that get a whole budget, also where others share a GPU: in a part of it they were lost."""
    trainings: Mapping[str, str] = field(default_factory=dict)
    """Trial id -> id of its training, of the trials that share one (`raypeft.study.trainings`)."""
    driver: str = field(default_factory=lambda: uuid.uuid4().hex)
    """This command, for the leases of its trials."""
