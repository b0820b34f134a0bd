"""Claims before anything runs: mistakes in them, and those that the planned trials cannot decide.

for planned in check_claims(sweep, trials):     # raises ConfigError with the lines
    print(planned.sentence, planned.hindrance)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from raypeft.analysis.choosing import agree
from raypeft.analysis.claims import Claim
from raypeft.analysis.claims.claim import told
from raypeft.analysis.claims.contrast import FEWEST_EXAMPLES
from raypeft.analysis.claims.evidence import Block, Evidence, Selector, blocks, fitting
from raypeft.analysis.claims.optimum import Optimum
from raypeft.analysis.claims.saves import Saves
from raypeft.analysis.claims.stops_growing import StopsGrowing
from raypeft.analysis.claims.verdicts import make_evidence, read_claim
from raypeft.analysis.conditions import SEEDS, Condition, chances
from raypeft.analysis.pairing import fewest_seeds, lacking_seeds
from raypeft.analysis.settings import shown
from raypeft.analysis.statistics.optima import FEWEST_VALUES
from raypeft.analysis.statistics.seeds import FEWEST_SEEDS
from raypeft.metrics import METRICS
from raypeft.metrics.metric import Metric, Score
from raypeft.mistakes import must_be_one_of, nearest, number_of
from raypeft.study.checking import LoadedSweep
from raypeft.study.config import Trial
from raypeft.study.sweepfile import ConfigError
from raypeft.trial.columns import tables
from raypeft.trial.declarations import own_declarations

USUAL_DIFFERENCE = 0.1
"""Share of the test examples that one of two methods hits and the other does not, assumed before anything has run. On
CoNaLa two tuned models differed on 5 to 20 % of them."""


@dataclass(frozen=True, slots=True)
class PlannedClaim:
    """A claim of a sweep that has not run yet."""

    claim: Claim
    sentence: str
    hindrance: str
    """Why the planned trials cannot decide it, and what to do; empty where they can."""


def check_claims(sweep: LoadedSweep, trials: Sequence[Trial]) -> list[PlannedClaim]:
    """The claims of a sweep. Raises ConfigError with all mistakes in them, each with its line."""
    if not sweep.config.claims:
        return []
    evidence, by_id = _planned(trials), {trial.id: trial for trial in trials}
    scores = {score.name: score for score in evidence.declared.scores}
    claims, problems = [], []
    for index, data in enumerate(sweep.config.claims):
        where = sweep.document.where(("claims", index))
        try:
            claim = read_claim(data, lambda name: name not in scores or scores[name].unit == "fraction")
        except ValueError as error:
            problems += [f"{where}: {line}" for line in str(error).splitlines()]
            continue
        problems += [f"{where}: {problem}" for problem in _mistakes(claim, evidence, by_id)]
        claims.append(claim)
    if problems:
        raise ConfigError(sweep.document.source, list(dict.fromkeys(problems)))
    planned = [(claim, scores[claim.on]) for claim in claims]
    return [PlannedClaim(claim, claim.words(score), next(_hindrances(claim, evidence, by_id, score), ""))
            for claim, score in planned]  # fmt: skip


def _planned(trials: Sequence[Trial]) -> Evidence:
    return make_evidence(
        [{"id": trial.id, **trial.fields} for trial in trials], own_declarations(trials), lambda row: {}
    )


def _mistakes(claim: Claim, evidence: Evidence, trials: dict[str, Trial]) -> Iterator[str]:
    """What is wrong with a claim for this plan."""
    known = {name for each in evidence.conditions for name in each.fields}
    scores = {score.name: score for score in evidence.declared.scores}
    unknown = [name for name in claim.fields if name not in known]
    for name in unknown:
        why = "seeds are chance, and cannot be compared" if name in SEEDS else "must be a field of the planned trials"
        yield f"{name}: {why} but got {name}{nearest(name, known)}" if name not in SEEDS else f"{name}: {why}"
    if claim.on not in scores:
        yield f"on: {must_be_one_of(scores, claim.on)}"
    if unknown or claim.on not in scores:
        return
    if isinstance(claim, Saves) and claim.saves not in {column.name for column in tables()["trials"]}:
        yield f"saves: must be a column of the trials but got {claim.saves}"
    lacking = [selector for selector in claim.selectors if not fitting(evidence.conditions, selector)]
    for selector in lacking:
        yield f"no planned trial has {told(selector)}; {_there_are(selector, evidence)}"
    if lacking:
        return
    found = blocks(evidence, claim.where, claim.sides, claim.per, claim.free)
    if not found:
        yield ("no planned trials that are compared agree in all other fields (model, dataset, test_dataset, number of "
               "examples ...)")  # fmt: skip
        return
    compared = [each for block in found for each in block.conditions if claim.compares(each)]
    yield from _unvaried(claim, compared)
    yield from _shared_trials(claim, found)
    for each in compared:
        if why := _why_not(trials[each.rows[0]["id"]], scores[claim.on]):
            yield f"on: {each.label} will have no {claim.on}: {why}"
            return


def _there_are(selector: Selector, evidence: Evidence) -> str:
    """The values of the selector's fields that there are."""
    told_values = []
    for name in selector:
        values = dict.fromkeys(shown(each.fields[name]) for each in evidence.conditions if name in each.fields)
        told_values.append(f"{name} is {', '.join([*values][:8])}")
    return "; ".join(told_values)


def _unvaried(claim: Claim, found: Sequence[Condition]) -> Iterator[str]:
    """Fields that the claim needs varied and the plan does not vary."""
    if isinstance(claim, StopsGrowing):
        values = {each.fields.get(claim.stops_growing) for each in found}
        if not any(isinstance(value, int | float) and value > claim.after for value in values):
            yield f"no planned trial that can be compared has {claim.stops_growing} above {claim.after:g}"
    if isinstance(claim, Optimum):
        if unfit := claim.unfit(found):
            yield unfit
        for name in claim.free:
            if len({str(each.fields.get(name)) for each in found if name in each.fields}) < 2:
                yield f"the planned trials that can be compared have one value of {name}"


def _shared_trials(claim: Claim, found: Sequence[Block]) -> Iterator[str]:
    """Two sides that have a trial in common: nothing is better than itself, and nothing can refute it either."""
    for one, other in combinations(claim.sides, 2):
        for block in found:
            both = fitting(fitting(block.conditions, one), other)
            if both:
                yield (f"the sides must be different trials but {told(one)} and {told(other)} both select "
                       f"{both[0].label}; name fields that tell them apart")  # fmt: skip
                break


def _why_not(trial: Trial, score: Score) -> str:
    """Why a trial will not have a score; empty where it will."""
    metric = _metric_of(score, trial)
    if metric is None:
        return "" if trial.method.trains else "it trains nothing"
    if not trial.decode:
        return "it has decode: false"
    if metric.needs not in trial.test_data.judged_by:
        return f"answers of {trial.test_data.name} are judged by {' and '.join(trial.test_data.judged_by)}"
    most = re.search(r"_at_(\d+)$", score.name)
    if most and int(most[1]) > trial.num_return_sequences:
        return f"it has num_return_sequences: {trial.num_return_sequences}"
    return ""


def _metric_of(score: Score, trial: Trial) -> Metric | None:
    """The metric that measures a score of a trial's answers; None for a loss."""
    return next((each for each in METRICS.values() if score in each.all_scores(trial.test_data.levels)), None)


def _hindrances(claim: Claim, evidence: Evidence, trials: dict[str, Trial], score: Score) -> Iterator[str]:
    """Why these trials cannot decide a claim, the gravest reason first."""
    found = blocks(evidence, claim.where, claim.sides, claim.per, claim.free)
    for block in found:
        for side in claim.must_be_chosen(block.conditions):
            several = fitting(block.conditions, side)
            if len(several) > 1 and (why := _unchosen(several, trials, score)):
                yield f"{len(several)} trials are {told(side)} and none can be chosen on validation; {why}"
    compared = [each for block in found for each in block.conditions if claim.compares(each)]
    if isinstance(claim, Optimum):
        yield from _optimum_hindrances(claim, compared)
        return
    few = lacking_seeds(compared, evidence.declared)
    if few:
        name, count = fewest_seeds(few[0], evidence.declared)
        # Crossed, three of each would make nine trials, of which three are independent.
        both = "seed: [{name: 1, icl_seed: 1}, {name: 2, icl_seed: 2}, {name: 3, icl_seed: 3}]"
        has_both = len(chances(few[0].fields, evidence.declared)) > 1
        had, axis = (number_of(count, name), both) if has_both else (number_of(count, "seed"), f"{name}: [1, 2, 3]")
        yield f"{few[0].label} has {had}, and {FEWEST_SEEDS} or more are needed: {axis}"
    yield from _too_few_examples(claim, [trials[each.rows[0]["id"]] for each in compared])


def _unchosen(found: Sequence[Condition], trials: dict[str, Trial], score: Score) -> str:
    """Why none of these conditions will be chosen on validation, and what to do; empty where one will.

    What chooses are validation scores of all of them, or losses that can choose among them.
    """
    planned = [trials[each.rows[0]["id"]] for each in found]
    have_scores = all(_has_validation_score(trial, score) for trial in planned)
    have_losses = all(trial.method.trains for trial in planned) and agree(found)
    if have_losses or (have_scores and all(trial.validation_limit for trial in planned)):
        return ""
    lacks = "set validation_limit, or" if have_scores else f"{score.name} is not measured on it;"
    return f"{lacks} name more fields in the claim"


def _has_validation_score(trial: Trial, score: Score) -> bool:
    """Whether a score can be measured on the validation split of a trial: tests, for one, are not run there."""
    metric = _metric_of(score, trial)
    return metric is not None and "validation" in score.readings and metric.needs in trial.validated_data.judged_by


def _optimum_hindrances(claim: Optimum, compared: Sequence[Condition]) -> Iterator[str]:
    values = {each.fields.get(claim.optimum_of) for each in compared} - {None}
    if len(values) < FEWEST_VALUES:
        yield f"{len(values)} values of {claim.optimum_of} are planned, and {FEWEST_VALUES} or more are needed"
    if all(len(each.rows) < 2 for each in compared):
        yield "every trial has one seed, and two or more are needed: seed: [1, 2]"


def _test_examples(trial: Trial) -> int | None:
    """How many test examples a trial will have; None where that is known only once its data is loaded."""
    has_other_files = trial.test_dataset_path if trial.test_dataset else trial.dataset_path
    size = None if has_other_files else trial.test_data.test_size
    return min(filter(None, (trial.limit, trial.test_limit, size)), default=None)


def _too_few_examples(claim: Claim, compared: Sequence[Trial]) -> Iterator[str]:
    """Whether the test examples are too few for the margin of a claim that something does not change."""
    within = getattr(claim, "margin", None) or getattr(claim, "within", None)
    fewest = min(filter(None, map(_test_examples, compared)), default=None)
    if fewest is None:
        return
    if fewest < FEWEST_EXAMPLES:
        yield f"{fewest} test examples are planned, and {FEWEST_EXAMPLES} or more are needed"
    metric = next((each for each in METRICS.values() if claim.on in {score.name for score in each.scores}), None)
    if within is None or metric is None:
        return
    reach = 1.96 * (USUAL_DIFFERENCE / fewest) ** 0.5
    if reach > within:
        needed = USUAL_DIFFERENCE * (1.96 / within) ** 2
        yield (f"{fewest} test examples give an interval of about ±{100 * reach:.1f} points (if two methods differ on "
               f"{USUAL_DIFFERENCE:.0%} of them), wider than the margin; about {needed:,.0f} are needed")  # fmt: skip
