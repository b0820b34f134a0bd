"""A sweep that searches, for people: what a dry run says of it, and what it came to."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from raypeft.analysis.choosing import is_known
from raypeft.analysis.report.terminal import headline
from raypeft.analysis.settings import SHORT, shown
from raypeft.results.attempts import version
from raypeft.results.statuses import STATUSES
from raypeft.results.store import ResultStore
from raypeft.runner.run import SearchRun
from raypeft.study.config import SweepConfig
from raypeft.study.parameters import Goal, Parameter
from raypeft.study.plan import Plan
from raypeft.study.search_checks import lower_is_better
from raypeft.study.searching import SearchPoint

Row = Mapping[str, Any]


def search_as_run(
    config: SweepConfig, plan: Plan, unsuggested: int, pruned: Collection[str], stale: Mapping[str, str]
) -> SearchRun | None:
    """The sweep's search for the runner. Without `unsuggested` trials Optuna suggests nothing more, but those that it
    has suggested are still of its searches. `pruned` are trials that run again since they were stopped early: this time
    to the end. `stale` are rows of other data.
    """
    if not config.search:
        return None
    return SearchRun(config.metric.column, lower_is_better(config.metric), config.scheduler, plan.search_of,
                     plan.suggesting, unsuggested, frozenset(pruned), stale)  # fmt: skip


def plan_lines(config: SweepConfig, plan: Plan) -> Iterator[str]:
    """What a dry run says of the searches of a sweep."""
    for point in plan.searches:
        told = "; ".join(f"{name}: {parameter.words}" for name, parameter in point.parameters.items())
        trials = f"{config.search} search of {point.num_samples} trials by {config.metric.name}"
        yield f"{trials}: {point.label}, over {told}"
    if config.scheduler:
        share = f"{100 * config.scheduler.grace_period:.0f} %"
        yield (f"ASHA stops a trial from {share} of its training on unless it is among the best 1 in "
               f"{config.scheduler.reduction_factor:g} of its search")  # fmt: skip
    if plan.suggesting:
        yield f"{plan.total - len(plan.trials)} trials are suggested by Optuna while the sweep runs, and are not listed"


def result_lines(store: ResultStore, plan: Plan, config: SweepConfig, stale: Mapping[str, str]) -> Iterator[str]:
    """The best configuration of each search, chosen by its metric among all its trials in the folder, with its test
    score. `stale` rows are left out."""
    manifest = store.read_manifest() if plan.suggesting else None
    rows = store.read_rows() if plan.searches else []
    by_id = {row["id"]: row for row in rows if version(row) != stale.get(row["id"])}
    for point in plan.searches:
        ids = [trial for trial, key in plan.search_of.items() if key == point.key]
        ids += point.known(manifest.plan) if manifest else []
        found = [by_id[each] for each in dict.fromkeys(ids) if each in by_id]
        if found:
            yield from _best_lines(point, found, config.metric)


def _best_lines(point: SearchPoint, rows: Sequence[Row], metric: Goal) -> Iterator[str]:
    done = [row for row in rows if STATUSES[row["status"]].is_scored and is_known(row.get(metric.column))]
    counts = [f"{sum(row['status'] == status for row in rows)} {status}" for status in STATUSES
              if status != "ok" and any(row["status"] == status for row in rows)]  # fmt: skip
    of = f"{len(rows)} trials" + (f" ({', '.join(counts)})" if counts else "")
    if not done:
        yield f"search at {point.label}: none of {of} has a {metric.name}"
        return
    sign = 1 if lower_is_better(metric) else -1
    best = min(done, key=lambda row: sign * row[metric.column])
    told = ", ".join(f"{SHORT.get(name, name)} {shown(best[name])}" for name in point.parameters
                     if best.get(name) is not None)  # fmt: skip
    yield (f"search at {point.label}: the best of {of} by {metric.name} is {best['id']} with {told}: "
           f"{metric.name} {best[metric.column]:.4g}; on the test split {headline(best)}")  # fmt: skip
    for name, parameter in point.parameters.items():
        if at_edge(parameter, best.get(name)):
            yield f"  its {name} is at the edge of what was searched ({parameter.words}): a wider range may be better"


def at_edge(parameter: Parameter, value: Any) -> bool:
    """Whether a value is the first or last of several numbers, or within a twentieth of the range of an end of it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if parameter.values is not None:
        numbers = [each for each in parameter.values if isinstance(each, (int, float)) and not isinstance(each, bool)]
        return len(numbers) == len(parameter.values) > 2 and value in (min(numbers), max(numbers))
    return not 0.05 <= parameter.quantile(value) <= 0.95
