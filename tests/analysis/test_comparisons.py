"""Conditions compared on the same examples, from stored rows alone."""

from datetime import UTC, datetime

import numpy as np
import pytest
from result_folders import add, rows_of

from raypeft.analysis.baselines import parse_baseline
from raypeft.analysis.comparisons import compare, values_of
from raypeft.results.store import ResultStore
from raypeft.study.trials import make_trial
from raypeft.trial.columns import tables
from raypeft.trial.declarations import own_declarations

DECLARED = own_declarations()


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "study"), tables())


def compared(store, *words):
    rows = rows_of(store)
    return compare(rows, store, parse_baseline(words, rows, DECLARED), DECLARED)


def by_score(store, *words):
    return {each.score.name: each for each in compared(store, *words).made}


def test_one_seed_is_compared_by_mcnemars_exact_test(store):
    add(store, "zero_shot", [0] * 12)
    add(store, "lora", [1] * 10 + [0] * 2)
    found = by_score(store)["em_at_1"]
    assert (found.condition.label, found.baseline.label) == ("lora r 16", "zero_shot")
    assert found.difference == pytest.approx(10 / 12)
    assert found.p_value == pytest.approx(2 / 2**10)
    assert found.effect == "10 : 0, odds ratio inf [2.2, inf]"
    assert (found.seeds, found.examples, found.counts_seeds) == ((1, 1), 12, False)


def test_codebleu_is_compared_as_well(store):
    add(store, "zero_shot", [0] * 6 + [1] * 6)
    add(store, "lora", [1] * 12)
    found = by_score(store)["codebleu"]
    assert found.low <= found.difference <= found.high
    assert found.p_value < 0.05


def test_seeds_are_paired_with_the_same_seeds(store):
    generator = np.random.default_rng(1)
    for seed in (3, 1, 2):
        hits = generator.random(60) < 0.2 + 0.2 * seed
        add(store, "lora", [*hits.astype(int)], seed=seed)
    for seed in (1, 2, 3):
        hits = generator.random(60) < 0.1 + 0.2 * seed
        add(store, "full", [*hits.astype(int)], seed=seed)
    found = by_score(store, "lora")["em_at_1"]
    assert found.seeds == (3, 3)
    assert found.counts_seeds
    rows = {(row["tuning_method"], row["seed"]): row["em_at_1"] for row in rows_of(store)}
    gains = [rows["full", seed] - rows["lora", seed] for seed in (1, 2, 3)]
    assert found.difference == pytest.approx(np.mean(gains))
    assert found.effect.startswith("A12 0.")


def test_an_untuned_baseline_of_one_trial_stands_for_every_seed(store):
    add(store, "zero_shot", [0] * 40)
    for seed in (1, 2, 3):
        add(store, "lora", [1] * (10 + seed) + [0] * (30 - seed), seed=seed)
    found = by_score(store)["em_at_1"]
    assert found.seeds == (3, 1)
    assert found.counts_seeds
    assert found.low < 0.3 < found.high


def test_two_seeds_are_said_to_be_too_few(store):
    add(store, "zero_shot", [0] * 10)
    for seed in (1, 2):
        add(store, "lora", [1, 0, 0, 0, 0, 0, 0, 0, 0, 0], seed=seed)
    found = by_score(store)["em_at_1"]
    assert not found.counts_seeds
    assert found.low < found.high, "although both seeds are alike"
    assert found.would_decide.startswith("3 seeds or more and ")


def test_other_seeds_of_the_baseline_are_used_all_and_not_paired(store):
    generator = np.random.default_rng(1)
    for name, seeds in (("lora", (1, 2, 3)), ("full", (3, 4, 5, 6))):
        for seed in seeds:
            add(store, name, [*(generator.random(60) < 0.1 * seed).astype(int)], seed=seed)
    found = by_score(store, "lora")["em_at_1"]
    assert (found.seeds, found.counts_seeds, found.lacks_seeds) == ((4, 3), True, False)
    means = [[row["em_at_1"] for row in rows_of(store) if row["tuning_method"] == name] for name in ("full", "lora")]
    assert found.difference == pytest.approx(np.mean(means[0]) - np.mean(means[1]))


def test_one_trained_trial_does_not_stand_for_seeds_that_did_not_run(store):
    add(store, "full", [0] * 40)
    for seed in (1, 2, 3):
        add(store, "lora", [1] * (10 + seed) + [0] * (30 - seed), seed=seed)
    found = by_score(store, "full")["em_at_1"]
    assert (found.seeds, found.counts_seeds, found.lacks_seeds) == ((3, 1), False, True)


def test_no_hits_on_either_side_leave_room_for_a_difference(store):
    add(store, "zero_shot", [0] * 100)
    add(store, "rag", [0] * 100, num_shots=4)
    found = by_score(store)["em_at_1"]
    assert (found.low, found.high) == (pytest.approx(-1.96 / 102, rel=1e-3), pytest.approx(1.96 / 102, rel=1e-3))
    assert found.detectable == pytest.approx(2.80 / 102, rel=1e-3)


def test_no_hits_of_any_seed_leave_room_for_a_difference(store):
    add(store, "zero_shot", [0] * 100)
    for seed in (1, 2, 3):
        add(store, "lora", [0] * 100, seed=seed)
    found = by_score(store)["em_at_1"]
    assert (found.high, found.p_value) == (pytest.approx(1.96 / 102, rel=1e-3), 1)
    assert found.detectable == pytest.approx(2.80 / 102, rel=1e-3)


def test_an_open_comparison_says_how_many_examples_would_decide(store):
    add(store, "zero_shot", [0] * 100)
    add(store, "rag", [1] * 2 + [0] * 98, num_shots=4)
    found = by_score(store)["em_at_1"]
    assert not found.is_significant
    # 2.80 * sqrt(0.02 / n + 1 / n**2) = 0.02
    assert found.would_decide == "437 test examples"


def test_where_seeds_alone_hide_a_difference_no_number_of_examples_is_told(store):
    add(store, "zero_shot", [0] * 10 + [1] * 10)
    for seed, hits in ((1, [1] * 8 + [0] * 12), (2, [0] * 12 + [1] * 8), (3, [1] * 15 + [0] * 5)):
        add(store, "lora", hits, seed=seed)
    found = by_score(store)["em_at_1"]
    assert found.counts_seeds and not found.seeds_needed
    assert found.would_decide == "more seeds and more test examples"


def test_a_comparison_that_only_the_others_leave_open_says_so_and_asks_for_no_more(store):
    add(store, "zero_shot", [0] * 40)
    for r, hits in ((4, 7), (8, 2), (16, 2), (32, 0)):
        add(store, "lora", [1] * hits + [0] * (40 - hits), lora_r=r)
    found = {each.condition.label: each for each in compared(store).made if each.score.name == "em_at_1"}
    assert found["lora r 4"].p_value < 0.05 <= found["lora r 4"].p_holm
    assert found["lora r 4"].would_decide == "alone it would be decided"
    assert found["lora r 8"].would_decide.endswith("test examples")


def test_p_values_are_corrected_within_a_score(store):
    add(store, "zero_shot", [0] * 20)
    for r in (4, 8, 16):
        add(store, "lora", [1] * 6 + [0] * 14, lora_r=r)
    found = [each for each in compared(store).made if each.score.name == "em_at_1"]
    assert [each.p_holm for each in found] == pytest.approx([3 * each.p_value for each in found])


def test_trials_of_other_test_examples_are_left_out_with_the_reason(store):
    add(store, "zero_shot", [0, 0, 1])
    add(store, "lora", [1, 1, 0, 1])
    found = compared(store)
    assert found.made == []
    assert [reason for _, reason in found.left_out] == ["they were scored on other test examples (4 and 3)"]


def test_trials_without_scores_of_examples_are_left_out_with_the_reason(store):
    for name in ("zero_shot", "lora"):
        id = add(store, name, [1, 0])
        store.write_rows("candidates", id, [])
    assert [reason for _, reason in compared(store).left_out] == [
        "scores of single examples are needed, and the folder has no example_scores or candidates of both trials"
    ]


def test_stored_values_of_examples_are_used_instead_of_those_that_candidates_would_give(store):
    add(store, "lora", [1, 0])
    (row,) = rows_of(store)
    assert values_of(store.read_rows, row, DECLARED)["em_at_1"] == {"0": 1.0, "1": 0.0}
    told = [{"id": row["id"], "example_id": "0", "score": "em_at_1", "value": 0.5}]
    store.write_rows("example_scores", row["id"], told)
    assert values_of(store.read_rows, row, DECLARED) == {"em_at_1": {"0": 0.5}}


def add_tested(store, name, *problems):
    """A finished trial on APPS; each problem's candidates are strings with p(assed) or w(rong) for each test."""
    trial = make_trial({"model": "toy", "dataset": "apps", "tuning_method": name})
    started = datetime(2026, 1, 1 + len(store.read_rows()), tzinfo=UTC)
    store.write_rows("trials", trial.id, [{"id": trial.id, **trial.fields, "status": "ok", "started_at": started}])
    tests = [
        {"id": trial.id, "example_id": str(problem), "rank": rank, "test": test, "passed": letter == "p",
         "passed_paper": letter == "p", "outcome": "passed" if letter == "p" else "wrong_answer"}
        for problem, candidates in enumerate(problems)
        for rank, letters in enumerate(candidates)
        for test, letter in enumerate(letters)
    ]  # fmt: skip
    store.write_rows("tests", trial.id, tests)


def test_trials_on_a_dataset_with_tests_are_compared_by_pass_at_1_and_tests_passed(store):
    add_tested(store, "zero_shot", *[("ww", "pw")] * 12)
    add_tested(store, "lora", *[("pp", "pw")] * 10, *[("pw", "pp")] * 2)
    found = by_score(store)
    assert set(found) == {"pass_at_1", "avg_tests_passed"}
    assert found["pass_at_1"].difference == pytest.approx(0.5)
    assert found["pass_at_1"].effect.startswith("10 : 0, "), "by the first candidate"
    assert found["avg_tests_passed"].difference == pytest.approx(0.5)
    assert found["avg_tests_passed"].effect == ""


def test_trials_of_a_single_test_example_are_left_out_with_the_reason(store):
    add(store, "zero_shot", [0])
    add(store, "lora", [1])
    found = compared(store)
    assert found.made == []
    assert [reason for _, reason in found.left_out] == [
        "a comparison needs two or more test examples but they have one"
    ]
