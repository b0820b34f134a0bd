"""What Ray Tune is told of a sweep's trials: where they come from, which are stopped early, how many run at once.

Trials are handed to Tune one by one, also those of plain grids. As a `tune.grid_search`, Tune would copy the whole plan
for each trial: with 10,000 trials the first one would not start within ten minutes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ray import tune

from raypeft.results.attempts import is_final, version
from raypeft.results.store import ResultStore
from raypeft.runner.run import SearchRun, SweepRun
from raypeft.runner.search.halving import Halving, HalvingNotes
from raypeft.runner.search.suggesting import PointSearch, Suggestions
from raypeft.runner.search.waiting import Waiting
from raypeft.stopping import Stop
from raypeft.study.config import Trial
from raypeft.study.memory import part_of_budget

PENDING = 200
"""Trials that wait for room in a cluster at most, as Tune has it for grids: by them a cluster knows how far to grow."""


@dataclass(frozen=True, slots=True)
class TuneSearch:
    """The parts of a Tune run that depend on the search."""

    config: tune.TuneConfig
    callbacks: list[tune.Callback]


def tune_search(run: SweepRun, trials: Sequence[Trial], store: ResultStore, stop: Stop, room: int) -> TuneSearch:
    """How Tune comes to the trials of `run`. `trials` are those that are known and have no result yet; `room` is how
    many run at once."""
    halving = make_halving(run, trials, store)
    config: dict[str, Any] = {"reuse_actors": True, "max_concurrent_trials": run.max_concurrent_trials}
    if halving:
        config["scheduler"] = halving
    callbacks: list[tune.Callback] = [HalvingNotes(halving)] if halving else []
    points = run.search.points if run.search else ()
    searches = [PointSearch(point, run.search.column, run.search.lower_is_better, store, run.search.stale)
                for point in points if run.search]  # fmt: skip
    shared = shared_with(run, trials)
    waiting = Waiting(trials, {trial: each["id"] for trial, each in shared.items()})
    described = partial(plain, run, shared)
    suggests = bool(run.search and run.search.unsuggested)
    config["search_alg"] = Suggestions(waiting, searches, store, described, lambda: stop.number is not None, suggests)
    config["num_samples"] = -1  # until there are no more
    if suggests:
        # A suggestion that is made before there is room for it knows less than it could.
        config["max_concurrent_trials"] = run.max_concurrent_trials or max(1, room)
    else:
        # What is saved of a training takes room until the last trial that shares it has run.
        os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", str(max(1, room) if shared else PENDING))
    return TuneSearch(tune.TuneConfig(**config), callbacks)


def shared_with(run: SweepRun, trials: Sequence[Trial]) -> dict[str, dict[str, Any]]:
    """Trial id -> its training and the others of `trials` that share it, each with its row before this command."""
    together: dict[str, list[str]] = {}
    for trial in trials:
        if trial.id in run.trainings:
            together.setdefault(run.trainings[trial.id], []).append(trial.id)
    return {trial: {"id": training, "others": {each: run.seen.get(each) for each in ids if each != trial}}
            for training, ids in together.items() for trial in ids}  # fmt: skip


def plain(run: SweepRun, shared: Mapping[str, Any], trial: Trial, search: str) -> dict[str, Any]:
    """A trial as Tune carries it to its process. `search` is the key of the search that suggested it, if one did."""
    search = search or (run.search.of.get(trial.id, "") if run.search else "")
    label = run.labels.get(trial.id) or (run.search.label(trial, search) if run.search else trial.label)
    seen = run.seen.get(trial.id)
    rivals = "" if run.search and trial.id in run.search.to_the_end else search
    whole = run.resources.gpu_memory_gb
    budget = whole if trial.id in run.unshared else part_of_budget(trial, run.resources)
    return {"id": trial.id, "trial": trial.model_dump(), "label": label, "seen": seen, "search": rivals,
            "gpu_memory_gb": budget, "shared": shared.get(trial.id)}  # fmt: skip


def make_halving(run: SweepRun, trials: Sequence[Trial], store: ResultStore) -> Halving | None:
    """The scheduler of the sweep, which knows the curves that are stored: also of trials that were interrupted, and go
    on. `trials` are those that are still to run."""
    if run.search is None or run.search.asha is None:
        return None
    halving = Halving(run.search.asha, store, run.driver)
    manifest = store.read_manifest()
    plan = manifest.plan if manifest else {}
    of = dict(run.search.of)
    for point in run.search.points:
        of |= dict.fromkeys(point.known(plan), point.key)
    told = (of.keys() & plan.keys()) - outdated(run.search, trials, store)
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in sorted(store.read_rows("evals"), key=lambda each: each["step"]):
        if (trial := row["id"]) in told:
            share = row["epoch"] / plan[trial]["num_train_epochs"]
            curves.setdefault(of[trial], {}).setdefault(trial, []).append((share, row["eval_loss"]))
    for search, each in curves.items():
        halving.remember(search, each)
    return halving


def outdated(search: SearchRun, trials: Sequence[Trial], store: ResultStore) -> set[str]:
    """The trials whose curve is of other data, or of a result that is made anew: a new one is judged by its own."""
    anew = {trial.id for trial in trials} - search.to_the_end
    return {row["id"] for row in store.read_rows()
            if version(row) == search.stale.get(row["id"]) or (row["id"] in anew and is_final(row))}  # fmt: skip
