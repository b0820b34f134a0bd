"""The difference of two conditions, its error and what would decide."""

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.made_claims import DECLARED, two_methods
from raypeft.analysis.claims.contrast import BOTH, EXAMPLES, SEEDS_ALONE, Contrast, contrast, welch
from raypeft.analysis.claims.verdicts import make_evidence
from raypeft.analysis.statistics.spread import Spread
from raypeft.study.trials import make_trial

SPREAD = Spread(0.001, 0.05, 0.01, 3, 100, 2, 0.0)
CODEBLEU, EM, LOSS = (DECLARED.score(name, "test") for name in ("codebleu", "em_at_1", "test_loss"))


def rows_of(values, name, **fields):
    made = []
    for seed, value in enumerate(values, 1):
        trial = make_trial({"model": "toy", "dataset": "toy", "seed": seed, **fields})
        made.append({"id": trial.id, **trial.fields, name: value})
    return made


def losses(ours, theirs):
    """The evidence of LoRA's and full fine-tuning's test losses."""
    return of(rows_of(ours, "test_loss", tuning_method="lora") + rows_of(theirs, "test_loss", tuning_method="full"))


def of(rows, values=lambda row: {}):
    return make_evidence(rows, DECLARED, values)


def test_p_values_agree_with_the_interval() -> None:
    found = Contrast(0.1, 0.05, 10, BOTH, SPREAD)
    low, high = found.interval
    assert found.p_above(low) == pytest.approx(0.05) and found.p_below(high) == pytest.approx(0.05)
    assert found.p_below(0.0) == 1.0


def test_losses_of_the_same_seeds_are_paired_as_scipy_does() -> None:
    ours, theirs = [1.10, 1.21, 1.32, 1.18], [1.12, 1.25, 1.35, 1.24]
    evidence = losses(ours, theirs)
    found = contrast(*evidence.conditions, LOSS, evidence)
    assert found.chance == SEEDS_ALONE
    assert found.p_below(0.0) == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)


def test_losses_of_other_seeds_are_compared_as_welch_does() -> None:
    ours, theirs = [1.10, 1.21, 1.32, 1.18], [1.12, 1.25, 1.35]
    evidence = losses(ours, theirs)
    found = contrast(*evidence.conditions, LOSS, evidence)
    assert found.p_below(0.0) == pytest.approx(stats.ttest_ind(ours, theirs, equal_var=False).pvalue)


def test_two_seeds_of_a_trained_method_are_too_few() -> None:
    evidence = losses([1, 2], [2, 3])
    assert contrast(*evidence.conditions, LOSS, evidence) == "lora r 16 ran with 2 seeds; 3 or more are needed"


def test_methods_without_chance_need_no_seeds() -> None:
    rows = rows_of([0.4], "em_at_1", tuning_method="zero_shot") + rows_of(
        [0.8], "em_at_1", tuning_method="rag", num_shots=4
    )
    hits = {row["id"]: {place: float(place < 100 * row["em_at_1"]) for place in range(100)} for row in rows}
    evidence = of(rows, lambda row: {"em_at_1": hits[row["id"]]})
    found = contrast(evidence.conditions[1], evidence.conditions[0], EM, evidence)
    assert found.chance == EXAMPLES and found.difference == pytest.approx(0.4)


def test_random_shots_are_chance() -> None:
    rows = rows_of([0.4], "em_at_1", tuning_method="zero_shot") + rows_of(
        [0.8], "em_at_1", tuning_method="icl", num_shots=4
    )
    evidence = of(rows)
    assert contrast(*evidence.conditions, EM, evidence) == "icl shots 4 ran with 1 icl_seed; 3 or more are needed"


def test_no_hits_on_either_side_leave_room_for_a_difference() -> None:
    """The exact 95 % upper bound of a share after 0 of 100 is 3.6 points; agreement by chance is not certainty."""
    rows = [*rows_of([0.0] * 3, "em_at_1", tuning_method="lora"), *rows_of([0.0] * 3, "em_at_1", tuning_method="full")]
    evidence = of(rows, lambda row: {"em_at_1": dict.fromkeys(range(100), 0.0)})
    low, high = contrast(*evidence.conditions, EM, evidence).interval
    assert -0.04 < low < -0.015 and 0.015 < high < 0.04


def test_a_score_that_a_trial_lacks_is_named() -> None:
    rows = rows_of([1.0, 2.0, math.nan], "test_loss", tuning_method="lora") + rows_of(
        [1.0] * 3, "test_loss", tuning_method="full"
    )
    evidence = of(rows)
    assert "has no test loss in 1 of 3 trials" in contrast(*evidence.conditions, LOSS, evidence)


def test_other_test_examples_cannot_be_compared() -> None:
    made = two_methods(np.random.default_rng(1), 0.1, examples=40)
    one, other = made.conditions
    evidence = of([*one.rows, *other.rows], lambda row: {
        "codebleu": dict.fromkeys(range(30 + (row["tuning_method"] == "full")), 0.5)})  # fmt: skip
    assert contrast(one, other, CODEBLEU, evidence).endswith("were scored on other test examples")


def test_trials_of_other_weights_are_not_compared_whatever_they_scored() -> None:
    rows = rows_of([1.1, 1.2, 1.3], "test_loss", tuning_method="lora") + rows_of(
        [2.1, 2.2, 2.3], "test_loss", tuning_method="full"
    )
    evidence = of([{**row, "model_resolved_revision": row["tuning_method"]} for row in rows])
    assert contrast(*evidence.conditions, LOSS, evidence) == (
        "lora r 16 and full: their model_resolved_revision differs: they were loaded from different weights"
    )


def test_seeds_that_would_decide_do_decide() -> None:
    generator = np.random.default_rng(1)
    made = [1.0 + generator.normal(0, 0.05) for _ in range(4)], [1.02 + generator.normal(0, 0.05) for _ in range(3)]
    evidence = losses(*made)
    found = contrast(*evidence.conditions, LOSS, evidence)
    seeds = int(found.would_decide(0.02).split()[0])
    deviation = (found.spread.by_seed / 2) ** 0.5
    draws = generator.normal([1.02, 1.0], deviation, (400, seeds, 2))
    power = (stats.ttest_ind(draws[..., 0], draws[..., 1], axis=1).pvalue < 0.05).mean()
    assert 0.65 < power < 0.95


@pytest.mark.parametrize(("seed_deviation", "words"), [(0.0, "test examples"), (0.1, "more seeds and more test")])
def test_where_seeds_hide_the_difference_more_test_examples_are_not_said_to_decide(seed_deviation, words) -> None:
    """Between examples the differences scatter so much that 200 seeds would not do either."""
    spread = Spread(seed_deviation**2, 0.25, 0.0, 3, 100, 2, 0.0)
    assert words in Contrast(0.01, 0.1, math.inf, BOTH, spread).would_decide(0.01)


def test_the_error_of_a_sum_of_variances_has_the_degrees_of_welch() -> None:
    assert welch([1.0, 1.0], [4, 4]) == pytest.approx(8)


def test_conditions_that_differ_by_examples_alone_use_them() -> None:
    made = two_methods(np.random.default_rng(1), 0.1, examples=400)
    found = contrast(*made.conditions, CODEBLEU, made)
    assert found.chance == BOTH and (found.seeds, found.examples) == (3, 400)
