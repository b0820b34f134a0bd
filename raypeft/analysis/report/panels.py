"""The trials of one dataset as a report shows them: conditions in the order of a score, with interval and marks.

    for panel in panels(study):
        for standing in panel.standings:
            print(standing.condition.label, standing.mean, standing.is_chosen, standing.is_tied)

A condition is what trials are that differ in nothing but their seeds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from raypeft.analysis.choosing import LOSS, criterion, is_known, mean_of
from raypeft.analysis.conditions import Condition, Row, conditions
from raypeft.analysis.pairing import has_enough_seeds
from raypeft.analysis.report.order import known_scores, shown_scores, tabled_scores
from raypeft.analysis.report.study import Study
from raypeft.analysis.statistics.seeds import over_seeds
from raypeft.methods import METHODS
from raypeft.metrics.metric import Score
from raypeft.results.declarations import Declarations, tested_on

NEVER_SWEPT = {"model", "test_dataset", "tuning_method", "declared", "test_declared"}
"""Fields that have a place of their own in a report, or whose values are no words."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A score of a condition, in the score's own unit."""

    mean: float
    low: float | None = None
    high: float | None = None
    """Bounds of the 95 % interval: over seeds where there are three or more of each that is chance, else over test
    examples (the mean of the seeds' bounds)."""
    least: float | None = None
    most: float | None = None
    """The lowest and the highest seed, where there are several."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A condition and its marks."""

    condition: Condition
    scores: dict[str, Measured]
    is_chosen: bool = False
    """It is the best one on validation of its model and method, of which there are several conditions."""
    is_tied: bool = False
    """It cannot be told apart from the best one by its test score (`raypeft.analysis.report.ties`)."""
    by: str = ""
    """The column by which the best one of its model and method was chosen; empty where there was none."""

    @property
    def row(self) -> Row:
        """The row of its first seed."""
        return self.condition.rows[0]

    def mean(self, column: str) -> float | None:
        """The mean over seeds of a column; None where a seed lacks it."""
        return mean_of(self.condition, column)


@dataclass(frozen=True)
class Panel:
    """What a report shows of the trials that were tested on one dataset."""

    dataset: str
    rows: tuple[Row, ...]
    """All rows with scores."""
    declared: Declarations
    score: Score
    """The score by which conditions are ordered."""
    scores: tuple[Score, ...]
    """The scores that readers look for first, `score` before all."""
    tabled: tuple[Score, ...]
    """Those of tables, which have more."""
    standings: tuple[Standing, ...]
    """Best first; those without the score last."""
    tie_rule: str = ""
    """How it was found out which conditions are tied with the best; empty where it could not be."""

    @cached_property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(row["tuning_method"] for row in self.rows))

    @cached_property
    def models(self) -> list[str]:
        return list(dict.fromkeys(row["model"] for row in self.rows))

    @cached_property
    def ranked(self) -> list[Standing]:
        """The conditions that have the score, best first."""
        return [each for each in self.standings if self.score.name in each.scores]

    @cached_property
    def representatives(self) -> list[Standing]:
        """One condition for each model, dataset trained on and method, best first.

        It is the one chosen on validation, or the only one. Where nothing could be chosen on validation, it is the best
        one on the test.
        """
        groups: dict[tuple[str, ...], list[Standing]] = {}
        for each in self.ranked:
            key = kind_of(each.condition)
            groups.setdefault(key, []).append(each)
        return [next((each for each in found if each.is_chosen), found[0]) for found in groups.values()]

    @cached_property
    def best(self) -> Standing | None:
        """The condition that validation chose among all; None: validation chose nothing."""
        return self._choice[0]

    @cached_property
    def best_by(self) -> str:
        """The column by which `best` was chosen; empty: among the chosen ones of the methods, by the test score."""
        return self._choice[1]

    @cached_property
    def _choice(self) -> tuple[Standing | None, str]:
        """Among the methods' own choices, each made on validation, by what all of them have on validation.

        Different data have different validation splits. Where there is nothing to go by, the test score decides among
        the choices.
        """
        if self.score.name == LOSS and len(self.ranked) > 1:
            return self.ranked[0], LOSS  # nothing was measured on the test
        alone = Counter(kind_of(each.condition) for each in self.ranked)
        finalists = [each for each in self.representatives if each.is_chosen or alone[kind_of(each.condition)] == 1]
        by, sign = criterion([each.condition for each in finalists], self.score) if len(self.ranked) > 1 else ("", 1)
        if by and len({each.row["dataset"] for each in finalists}) == 1:
            return max(finalists, key=lambda each: sign * (each.mean(by) or 0.0)), by
        return next((each for each in finalists if each.is_chosen), None), ""

    @cached_property
    def best_of_shots(self) -> dict[tuple[str, ...], Standing]:
        """Of each model, dataset trained on and method that ran with several numbers of shots: the best on the test.

        A method that was published at its best number of shots may stand beside this one alone.
        """
        groups: dict[tuple[str, ...], list[Standing]] = {}
        for each in self.ranked:
            groups.setdefault(kind_of(each.condition), []).append(each)
        return {kind: found[0] for kind, found in groups.items() if len(values_of_field(found, "num_shots")) > 1}

    @cached_property
    def all_swept(self) -> list[str]:
        """The fields that have more than one value among all conditions."""
        return self.swept()

    def swept(self, standings: Sequence[Standing] | None = None) -> list[str]:
        """The fields that have more than one value among these conditions (all where none are given)."""
        chosen = self.standings if standings is None else standings
        names = dict.fromkeys(name for each in chosen for name in each.condition.fields)
        return [name for name in names if name not in NEVER_SWEPT and len(values_of_field(chosen, name)) > 1]


def values_of_field(standings: Sequence[Standing], name: str) -> list[Any]:
    """The values that a field has among conditions, in order; a condition without the field does not count."""
    stated = [each.condition.fields[name] for each in standings if name in each.condition.fields]
    if stated.count(stated[0] if stated else None) == len(stated):  # most fields, also of thousands of conditions
        return stated[:1]
    found: dict[str, Any] = {}
    for value in stated:
        found.setdefault(str(value), value)
    return sorted(found.values(), key=lambda value: (not is_number(value), value if is_number(value) else str(value)))


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def panels(study: Study) -> list[Panel]:
    """One panel for each dataset that was tested on and has a row with scores, in the order of the rows."""
    groups: dict[str, list[Row]] = {}
    for row in study.scored:
        groups.setdefault(tested_on(row), []).append(row)
    return [made for name, rows in groups.items() if (made := _panel(name, rows, study)) is not None]


def _panel(name: str, rows: Sequence[Row], study: Study) -> Panel | None:
    from raypeft.analysis.report.ties import tied_with_best

    declared = study.declared
    known = known_scores(rows, declared)
    scores, tabled = shown_scores(known), tabled_scores(known)
    if not scores:
        return None
    score = scores[0]
    every = [Standing(_in_use(each), _measured(each, tabled, declared)) for each in conditions(rows, declared)]
    every = _chosen_marked(every, score)
    sign = -1 if score.higher_is_better else 1
    every.sort(key=lambda each: (score.name not in each.scores, sign * _value(each, score)))
    marked, rule = tied_with_best(every, score, study)
    return Panel(name, tuple(rows), declared, score, tuple(scores), tuple(tabled), tuple(marked), rule)


def _in_use(condition: Condition) -> Condition:
    """The condition without the fields that have no effect in it, such as the retriever of a trial without shots."""
    method = METHODS.get(condition.fields["tuning_method"])
    if method is None:
        return condition
    given = {name: value for name, value in condition.fields.items() if name in method.model_fields}
    try:
        idle = method(**given).idle_fields
    except ValueError:  # values of another version
        return condition
    return replace(condition, fields={name: value for name, value in condition.fields.items() if name not in idle})


def _value(standing: Standing, score: Score) -> float:
    found = standing.scores.get(score.name)
    return found.mean if found else 0.0


def _measured(condition: Condition, scores: Sequence[Score], declared: Declarations) -> dict[str, Measured]:
    scatters = has_enough_seeds(condition, declared)
    found = {score.name: measure(condition, score, scatters) for score in scores}
    return {name: each for name, each in found.items() if each is not None}


def measure(condition: Condition, score: Score, scatters: bool) -> Measured | None:
    """Mean, interval and range of a score over a condition's seeds. None where a seed lacks it.

    `scatters`: whether it `has_enough_seeds`, which takes too long to be asked for each score.
    """
    values = [row[score.name] for row in condition.rows if is_known(row.get(score.name))]
    if not values or len(values) < len(condition.rows):
        return None
    mean = sum(values) / len(values)
    least, most = (min(values), max(values)) if len(values) > 1 else (None, None)
    if scatters:
        seeds = over_seeds(values)
        low, high = seeds.low, seeds.high
    else:
        low, high = mean_of(condition, f"{score.name}_low"), mean_of(condition, f"{score.name}_high")
    if score.unit == "fraction" and low is not None and high is not None:
        low, high = max(0.0, low), min(1.0, high)
    return Measured(mean, low, high, least, most)


def kind_of(condition: Condition) -> tuple[str, ...]:
    """Model, dataset trained on and method: among conditions that agree in these the best is chosen on validation,
    where `criterion` has something to go by."""
    return tuple(str(condition.fields[name]) for name in ("model", "dataset", "tuning_method"))


def by_method(panel: Panel) -> dict[tuple[str, str], list[Standing]]:
    """The ranked conditions of each model and tuning method, best first."""
    groups: dict[tuple[str, str], list[Standing]] = {}
    for each in panel.ranked:
        fields = each.condition.fields
        groups.setdefault((fields["model"], fields["tuning_method"]), []).append(each)
    return groups


def _chosen_marked(every: Sequence[Standing], score: Score) -> list[Standing]:
    """With the best condition of each model and method marked, by validation alone."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, each in enumerate(every):
        key = kind_of(each.condition)
        groups.setdefault(key, []).append(place)
    marked = list(every)
    for places in groups.values():
        by, sign = criterion([every[place].condition for place in places], score)
        if not by or len(places) < 2:
            continue
        best = max(places, key=lambda place: sign * (every[place].mean(by) or 0.0))
        for place in places:
            each = every[place]
            marked[place] = Standing(each.condition, each.scores, place == best, False, by)
    return marked
