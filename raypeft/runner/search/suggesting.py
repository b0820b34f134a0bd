"""Optuna's suggestions as trials, through Tune's `OptunaSearch`: one search for each point of the grids.

What a search knows are the plan in the manifest, to which every suggestion is added before it runs, and the rows. So
the same command goes on after an interruption, and two commands on one folder share the number of trials.
"""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from ray.tune.search import Searcher

from raypeft.results.attempts import standing_row, version
from raypeft.results.manifest import add_to_plan
from raypeft.results.store import ResultStore
from raypeft.runner.search.waiting import Waiting
from raypeft.study.config import Trial
from raypeft.study.parameters import Parameter
from raypeft.study.searching import TRIES, SearchPoint

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from ray.tune.search.optuna import OptunaSearch

VALUE = "value"
FIRST = (4, 10)
"""At least and at most so many trials of a search are random; else a quarter of them. Ten is Optuna's default, which
would be most of a small search."""


@dataclass
class PointSearch:
    """The search at one point of the grids."""

    point: SearchPoint
    column: str
    """The column of a row that the search goes by."""
    lower_is_better: bool
    store: ResultStore
    stale: Mapping[str, str] = field(default_factory=dict)
    """Trial id -> its row that is of other data, from which nothing is learned."""
    known: dict[str, str] = field(default_factory=dict)
    """Trial id -> how its suggestion is called in Optuna; empty for one of which Optuna is told when it has a row."""
    awaited: set[str] = field(default_factory=set)
    """Ids of the trials that Optuna did not suggest in this command, and that had no row when last looked at."""
    told: dict[str, str] = field(default_factory=dict)
    """Trial id -> the row of which Optuna was told, of such trials."""
    inner: OptunaSearch = field(init=False)

    def __post_init__(self) -> None:
        from optuna import logging as optuna_logging
        from optuna.samplers import TPESampler
        from ray.tune.search.optuna import OptunaSearch

        optuna_logging.set_verbosity(logging.WARNING)
        earlier = self.of_plan()
        # A search that goes on must not repeat its first random draws.
        seed = random.Random(f"{self.point.seed}/{self.point.key}/{len(earlier)}").getrandbits(32)
        first = min(max(self.point.num_samples // 4, FIRST[0]), FIRST[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # both options are called experimental since 2020 and 2021
            sampler = TPESampler(seed=seed, n_startup_trials=first, multivariate=True, constant_liar=True)
        space = {name: distribution(parameter) for name, parameter in self.point.parameters.items()}
        mode = "min" if self.lower_is_better else "max"
        self.inner = OptunaSearch(space, metric=VALUE, mode=mode, sampler=sampler)
        self.learn(earlier)

    def of_plan(self) -> dict[str, dict[str, Any]]:
        """Trial id -> the parameters' values, of the trials that the stored plan has of this search."""
        manifest = self.store.read_manifest()
        return self.point.known(manifest.plan) if manifest else {}

    def learn(self, plan: Mapping[str, Mapping[str, Any]]) -> None:
        """Take in the trials of other commands, with what their rows say as soon as there are any."""
        for trial_id, values in plan.items():
            if trial_id not in self.known:
                self.known[trial_id] = ""
                self.awaited.add(trial_id)
            if trial_id in self.awaited and (row := self._row(trial_id)) is not None:
                self.awaited.remove(trial_id)
                if self.told.get(trial_id) != version(row):
                    self.told[trial_id] = version(row)
                    self._add(row, values)

    def _add(self, row: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Tell Optuna of a trial that it did not suggest in this command."""
        value, pruned = self._outcome(row)
        places = {name: place(self.point.parameters[name], each) for name, each in values.items()}
        between = [value] if pruned and value is not None else None
        self.inner.add_evaluated_point(places, value, pruned=pruned, intermediate_values=between)

    def _row(self, trial_id: str) -> Mapping[str, Any] | None:
        """The row of a trial, if it says something: it is of the data that is there now, and the trial was not lost."""
        row = standing_row(self.store, trial_id)
        is_void = row is None or row["status"] == "lost" or version(row) == self.stale.get(trial_id)
        return None if is_void else row

    def _outcome(self, row: Mapping[str, Any]) -> tuple[float | None, bool]:
        """What a row says to the search, and whether it is only of a part of a training.

        A trial that diverged or did not fit has no value, and ranks below all that have one.
        """
        value = row.get(self.column)
        value = value if value is not None and isfinite(value) else None
        return value, value is None or row["status"] == "pruned"

    def suggest(self) -> Trial | None:
        """A configuration that was not tried yet. None: there seem to be no others."""
        for number in range(TRIES):
            name = f"{len(self.known)}.{number}"
            places = self.inner.suggest(name)
            assert isinstance(places, dict)
            values = {each: value_at(self.point.parameters[each], where) for each, where in places.items()}
            try:
                trial = self.point.trial(values)
            except ValidationError:
                self.inner.on_trial_complete(name)  # below all others
                continue
            if trial.id not in self.known:
                self.known[trial.id] = name
                return trial
            self._again(name, trial.id)
        return next(self._untried(), None)

    def _again(self, name: str, trial_id: str) -> None:
        """Tell Optuna of a configuration that it suggests again what it came to."""
        row = self._row(trial_id)
        value = self._outcome(row)[0] if row else None
        self.inner.on_trial_complete(name, {VALUE: value} if value is not None else None, error=row is None)

    def _untried(self) -> Iterator[Trial]:
        """Random configurations that were not tried yet."""
        for trial in self.point.trials():
            if trial.id not in self.known:
                self.known[trial.id] = ""
                yield trial

    def complete(self, trial_id: str) -> None:
        """A trial of this command has ended: tell Optuna what came of it."""
        name, row = self.known[trial_id], self._row(trial_id)
        if not name:  # an earlier command had begun it, or it was drawn at random
            self.awaited.add(trial_id)
            self.learn(self.of_plan())
            return
        if row is None:
            self.inner.on_trial_complete(name, error=True)
            return
        value, pruned = self._outcome(row)
        if pruned and value is not None:
            self.inner.on_trial_result(name, {VALUE: value, "training_iteration": 0})
        self.inner.on_trial_complete(name, None if pruned else {VALUE: value})


class Suggestions(Searcher):
    """Hands Tune the trials that wait, then new ones of each search in turn until it has its number of trials."""

    def __init__(
        self,
        waiting: Waiting,
        searches: Sequence[PointSearch],
        store: ResultStore,
        plain: Callable[[Trial, str], dict[str, Any]],
        is_over: Callable[[], bool],
        suggests: bool = True,
    ) -> None:
        """`plain` makes Tune's configuration of a trial and the key of its search; `is_over`: no trial is to begin;
        `suggests`: those that wait are not all."""
        super().__init__()
        self.waiting, self.searches, self.store, self.plain, self.is_over = waiting, searches, store, plain, is_over
        self.suggests = suggests
        self.given: dict[str, tuple[PointSearch | None, str]] = {}
        """Tune's name of a trial -> its search and its id."""
        self.suggested: dict[str, dict[str, Any]] = {}
        """Trial id -> fields, of the suggestions of this command."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.is_over():
            return None
        search, trial = self._next()
        if trial is None:
            return None if self.waiting else Searcher.FINISHED
        self.given[trial_id] = search, trial.id
        return {"planned": self.plain(trial, search.point.key if search else "")}

    def _next(self) -> tuple[PointSearch | None, Trial | None]:
        if first := self.waiting.next():
            return next((each for each in self.searches if first.id in each.known), None), first
        for search in self.searches if self.suggests else ():
            search.learn(search.of_plan())
            if len(search.known) < search.point.num_samples and (trial := search.suggest()) is not None:
                self.suggested[trial.id] = trial.fields
                add_to_plan(self.store, self.suggested)
                return search, trial
        return None, None

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        search, planned = self.given.pop(trial_id, (None, ""))
        self.waiting.ended(planned)
        if search is not None:
            search.complete(planned)
        add_to_plan(self.store, self.suggested)  # another command may have written over one of them

    def on_trial_result(self, trial_id: str, result: Any) -> None:
        """Nothing: the row says it all at the end."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the plan and the rows are what the search knows."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


def distribution(parameter: Parameter) -> BaseDistribution:
    """The parameter as Optuna has it. Values that are listed are numbered; the order of numbers is kept."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.values is not None:
        count = len(parameter.values)
        return IntDistribution(0, count - 1) if _in_order(parameter) else CategoricalDistribution(tuple(range(count)))
    low, high = parameter.range
    if parameter.is_int:
        return IntDistribution(int(low), int(high))
    return FloatDistribution(low, high, log=parameter.is_log)


def _in_order(parameter: Parameter) -> bool:
    """Whether the values that are listed are numbers that grow: then near ones may do similarly."""
    values = parameter.values or ()
    numbers = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in values)
    return numbers and list(values) == sorted(set(values))


def value_at(parameter: Parameter, where: Any) -> Any:
    """A trial's value for what Optuna suggests."""
    return parameter.values[where] if parameter.values is not None else parameter.settled(where)


def place(parameter: Parameter, value: Any) -> Any:
    """What Optuna calls a trial's value."""
    if parameter.values is None:
        return value
    return next(index for index, each in enumerate(parameter.values) if Parameter(values=(each,)).holds(value))
