"""Verdicts on made data on which the truth is known: right where they can be, undecided where they should be."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.made_claims import CASES, DECLARED, OPTIMUM, rate_curves, shares, two_methods, values_of_a_field
from raypeft.analysis.claims import FORMS
from raypeft.analysis.claims.verdicts import judged, make_evidence, read_claim, read_claims
from raypeft.study.trials import make_trial

DRAWS = 24
"""Draws of a test. `benchmarks/claims.py` has 400; a share of 5 % of false verdicts gives 4 of 24 or fewer in 99 %."""
MANY_DRAWS = 200
"""A share of 5 % gives 18 of 200 or fewer in 99 %."""
WEAK = "true: +3 points"


@pytest.mark.parametrize("case", CASES, ids=[f"{form}, {truth}" for form, truth, *_ in CASES])
def test_a_verdict_is_right_on_made_data(case) -> None:
    _, truth, right, claim, make = case
    found = shares(claim, make, DRAWS, seed=2)
    wrong = sum(share for verdict, share in found.items() if verdict not in (right, "undecided"))
    assert wrong <= 4 / DRAWS
    if truth != WEAK and right != "undecided":
        assert found[right] >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[f"{form}, {truth}" for form, truth, *_ in CASES])
def test_verdicts_are_right_in_95_percent_of_many_draws(case) -> None:
    """Where there is something to find it is found; where there is not, a false verdict has its 5 % or less."""
    _, truth, right, claim, make = case
    found = shares(claim, make, MANY_DRAWS, seed=4)
    wrong = MANY_DRAWS * sum(share for verdict, share in found.items() if verdict not in (right, "undecided"))
    assert wrong <= stats.binom.ppf(0.99, MANY_DRAWS, 0.05)
    if truth != WEAK and right != "undecided":
        assert found[right] >= 0.95


def test_many_claims_in_one_sweep_are_corrected_together() -> None:
    generator = np.random.default_rng(3)
    values = {2**place: 0.5 for place in range(4)}
    claims = [read_claim({"better": {"lora_r": a}, "than": {"lora_r": b}, "on": "codebleu"})
              for a in values for b in values if a < b]  # fmt: skip
    wrong = 0
    for _ in range(DRAWS):
        found = judged(claims, values_of_a_field(generator, "lora_r", values, examples=200))
        assert all(each.p_holm >= each.p_value for each in found)
        wrong += any(each.verdict != "undecided" for each in found)
    assert wrong <= 4


def test_an_optimum_at_the_edge_is_undecided_and_told_by_the_name_that_the_claim_has() -> None:
    (found,) = judged([read_claim(OPTIMUM)], rate_curves(np.random.default_rng(1), {8: -3.1, 32: -1.0}))
    assert found.verdict == "undecided"
    assert "the best lr does not depend on r" in found.sentence
    assert [part.lacks for part in found.parts] == [
        "r 32: the best lr (0.0316228) is the highest that was tried: extend the grid"
    ]


def test_an_optimum_whose_second_seed_has_only_begun_is_undecided() -> None:
    """In the middle of a sweep the first rates alone have two seeds: far from the best, they say nothing of it."""
    every = rate_curves(np.random.default_rng(1), {8: -3.1, 32: -3.0}).conditions
    rows = [row for each in every for row in each.rows if row["seed"] == 1 or row["learning_rate"] < 1e-4]
    (found,) = judged([read_claim(OPTIMUM)], make_evidence(rows, DECLARED, lambda row: {}))
    assert found.verdict == "undecided"
    assert found.missing == "the best lr and those next to it ran with one seed; two or more are needed at one of them"


def test_an_optimum_needs_values_that_have_a_logarithm() -> None:
    every = rate_curves(np.random.default_rng(1), {8: -3.1, 32: -3.0}).conditions
    rows = [{**row, "lora_dropout": row["learning_rate"] if row["learning_rate"] > 1e-4 else 0.0}
            for each in every for row in each.rows]  # fmt: skip
    claim = read_claim({**OPTIMUM, "optimum_of": "lora_dropout"})
    (found,) = judged([claim], make_evidence(rows, DECLARED, lambda row: {}))
    assert found.verdict == "undecided"
    assert "r 8: the values of lora_dropout must be numbers above 0 but one is 0: the optimum" in found.missing


def test_optima_that_plainly_differ_are_told_apart_among_66_pairs_and_two_claims() -> None:
    """Each p-value is a share of draws, and is multiplied by the number of pairs and then by that of claims."""
    optima = {rank: -3.5 + 0.1 * place for place, rank in enumerate(range(2, 26, 2))}
    evidence = rate_curves(np.random.default_rng(1), optima)
    claim = read_claim({**OPTIMUM, "within_decades": 0.2})
    found = judged([claim, claim], evidence)
    assert len(found[0].parts) == 66
    assert [each.verdict for each in found] == ["refuted", "refuted"]


def test_an_optimum_is_looked_for_in_the_methods_that_have_the_field() -> None:
    """An untuned model beside them, which has no learning rate, is no third group."""
    rows = []
    for name in ("lora", "full"):
        for each in rate_curves(np.random.default_rng(1), {16: -3.1}).conditions:
            rows += [{**row, "id": f"{row['id']} {name}", "tuning_method": name} for row in each.rows]
    untuned = make_trial({"model": "toy", "dataset": "toy", "tuning_method": "zero_shot"})
    rows.append({"id": untuned.id, **untuned.fields, "status": "ok"})
    claim = read_claim({**OPTIMUM, "independent_of": "tuning_method"})
    (found,) = judged([claim], make_evidence(rows, DECLARED, lambda row: {}))
    assert ([part.block for part in found.parts], found.verdict) == (["full against lora"], "supported")


def test_an_optimum_may_be_independent_of_layers_which_are_lists() -> None:
    """As Parquet gives them: a list for each trial."""
    rows = []
    for layers in (["q_proj", "v_proj"], ["q_proj"], ["all-linear"]):
        for each in rate_curves(np.random.default_rng(1), {8: -3.1}).conditions:
            rows += [{**row, "id": f"{row['id']} {layers}", "target_modules": layers} for row in each.rows]
    claim = read_claim({**OPTIMUM, "independent_of": "target_modules"})
    (found,) = judged([claim], make_evidence(rows, DECLARED, lambda row: {}))
    assert [part.block for part in found.parts] == [
        "target_modules all-linear against target_modules q_proj+v_proj",
        "target_modules all-linear against target_modules q_proj",
        "target_modules q_proj+v_proj against target_modules q_proj",
    ]
    assert found.verdict == "supported"


def test_an_undecided_claim_says_what_would_decide_it() -> None:
    claim = read_claim({"better": {"tuning_method": "lora"}, "than": {"tuning_method": "full"}, "on": "codebleu"})
    generator = np.random.default_rng(5)
    (found,) = judged([claim], two_methods(generator, 0.03, seeds=6, examples=60))
    assert found.verdict == "undecided" and found.missing.endswith("test examples")
    assert int(found.missing.split()[1].replace(",", "")) > 60


def test_trials_of_one_seed_decide_nothing() -> None:
    claim = read_claim({"better": {"tuning_method": "lora"}, "than": {"tuning_method": "full"}, "on": "codebleu"})
    (found,) = judged([claim], two_methods(np.random.default_rng(5), 0.5, seeds=1))
    assert (found.verdict, found.missing) == ("undecided", "lora r 16 ran with 1 seed; 3 or more are needed")


@pytest.mark.parametrize("claim", [
    {"equivalent": {"num_shots": [16, 8]}, "on": "em_at_1", "within": 0.15},
    {"equivalent": {"num_shots": [8, 16]}, "on": "em_at_1", "within": 0.15},
    {"stops_growing": "num_shots", "after": 8, "on": "em_at_1", "within": 0.15},
], ids=["equivalent", "the other order", "stops growing"])  # fmt: skip
def test_a_bad_trial_that_nobody_chose_refutes_nothing(claim) -> None:
    """With 8 shots there is a good retriever and a bad one, and no validation score tells which is to be taken."""
    rows, values = [], {}
    for shots, retriever, share in ((8, "toy", 0.5), (8, "bm25", 0.2), (16, "toy", 0.5)):
        trial = make_trial({"model": "toy", "dataset": "toy", "tuning_method": "rag", "num_shots": shots,
                            "embedding_model": retriever})  # fmt: skip
        rows.append({"id": trial.id, **trial.fields, "em_at_1": share})
        values[trial.id] = {"em_at_1": {place: float(place < 400 * share) for place in range(400)}}
    (found,) = judged([read_claim(claim)], make_evidence(rows, DECLARED, lambda row: values[row["id"]]))
    assert found.verdict == "undecided"
    assert found.missing == "several trials are shots 8, and none can be chosen: they have no validation score"


@pytest.mark.parametrize(("seeds", "effect"), [
    ((1, 2, 3), "2.00 times [1.57, 2.55]"), ((1,), ""),
], ids=["three trainings", "one training"])  # fmt: skip
def test_a_training_that_was_asked_with_several_draws_of_shots_has_one_time(seeds, effect) -> None:
    """Three draws for each training. Three times have an interval with t of 4 degrees of freedom, nine a narrow one."""
    rows = []
    for name, seconds in (("lora", 100), ("full", 200)):
        for seed in seeds:
            for draw in (1, 2, 3):
                trial = make_trial({"model": "toy", "dataset": "toy", "tuning_method": name, "num_shots": 2,
                                    "seed": seed, "icl_seed": draw})  # fmt: skip
                time = seconds * np.exp(0.1080 * (seed - 2))
                rows.append({"id": trial.id, **trial.fields, "train_seconds": time, "em_at_1": 0.5})
    sides = {"better": {"tuning_method": "lora"}, "than": {"tuning_method": "full"}}
    claim = read_claim({"saves": "train_seconds", **sides, "factor": 1.5, "keeping": "em_at_1", "within": 0.2})
    (found,) = judged([claim], make_evidence(rows, DECLARED, lambda row: {}))
    assert found.parts[0].effect == effect
    if not effect:
        assert found.parts[0].lacks == "train_seconds of fewer than 3 seeds a side; 3 or more are needed"


def test_a_claim_without_any_trial_is_undecided() -> None:
    claim = read_claim({"better": {"tuning_method": "rag"}, "than": {"tuning_method": "icl"}, "on": "codebleu"})
    (found,) = judged([claim], two_methods(np.random.default_rng(5), 0.5))
    assert (found.verdict, found.p_value) == ("undecided", 1.0)
    assert found.missing == "no two trials with scores can be compared for it"


@pytest.mark.parametrize("data, message", [
    ({"beter": {"tuning_method": "lora"}}, "must have one of the keys .* but got beter; did you mean better"),
    ("lora is best", "must be a mapping such as"),
    ({"better": {"lora_r": 8}, "on": "codebleu"}, "than: is required"),
    ({"better": {"lora_r": 8}, "than": {"lora_r": 4}, "on": "codebleu", "margin": 1}, "better has no such key"),
    ({"better": {"lora_r": 8}, "than": {"lora_r": 4}, "on": "codebleu", "by": -1}, "by: must be greater than or equal"),
    ({"equivalent": {"lora_r": [8]}, "on": "codebleu", "within": 0.1}, "at least two values"),
    ({"equivalent": {"lora_r": [8, 4]}, "on": "codebleu"}, "within: is required"),
    ({"optimum_of": "learning_rate", "on": "test_loss", "within_decades": 0.2}, "either independent_of"),
    ({"optimum_of": "learning_rate", "independent_of": "lora_r", "times": 2, "on": "test_loss", "within_decades": 0.2},
     "times must be left out"),
    ({"stops_growing": "num_shots", "after": 8, "on": "test_loss"}, "within must be given for test_loss"),
    ({"saves": "x", "better": {"lora_r": 8}, "than": {"lora_r": 4}, "factor": 1, "keeping": "codebleu", "within": 1},
     "factor: must be greater than 1"),
])  # fmt: skip
def test_a_claim_that_cannot_be_read_says_why(data, message) -> None:
    with pytest.raises(ValueError, match=message):
        read_claim(data, lambda name: name != "test_loss")


def test_claims_are_read_from_a_sweep_file_that_was_run() -> None:
    text = "claims:\n- {better: {lora_r: 8}, than: {lora_r: 4}, 'on': codebleu}\n- {newer_form: 1}\n"
    assert [each.kind for each in read_claims(text)] == ["better"]
    assert read_claims("name: x") == read_claims("[") == read_claims("") == []


def test_every_form_has_a_case_of_made_data() -> None:
    assert {read_claim(claim).kind for _, _, _, claim, _ in CASES} == {*FORMS}


def test_claims_that_cannot_be_tested_do_not_count_in_the_family() -> None:
    tested = read_claim({"better": {"tuning_method": "lora"}, "than": {"tuning_method": "full"}, "on": "codebleu"})
    untested = read_claim({"better": {"tuning_method": "rag"}, "than": {"tuning_method": "icl"}, "on": "codebleu"})
    found = judged([tested, *[untested] * 5], two_methods(np.random.default_rng(5), 0.05))
    assert found[0].p_holm == found[0].p_value < 1
    assert {each.p_holm for each in found[1:]} == {1.0}


def test_a_claim_about_a_score_of_another_version_is_told_in_its_own_words() -> None:
    claim = read_claim({"better": {"tuning_method": "lora"}, "than": {"tuning_method": "full"}, "on": "codebleu_2"})
    (found,) = judged([claim], two_methods(np.random.default_rng(5), 0.05))
    assert found.sentence == "on: codebleu_2, better: {tuning_method: lora}, than: {tuning_method: full}"
    assert found.verdict == "undecided" and "these results declare no score codebleu_2" in found.missing
