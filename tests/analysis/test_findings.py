"""Seeds summarised and trials compared, from stored rows alone."""

from datetime import UTC, datetime

import pytest

from raypeft.analysis.findings import against_table, over_seeds_table, values_of
from raypeft.cli.findings import main
from raypeft.results.store import ResultStore
from raypeft.study.plan import make_trial
from raypeft.trial.columns import tables
from raypeft.trial.declarations import own_declarations


def add(store, name, hits, **fields):
    """A finished trial whose first candidates hit as given; its ten others never do."""
    trial = make_trial({"model": "toy", "dataset": "toy", "tuning_method": name, **fields})
    score = sum(hits) / len(hits)
    row = {"id": trial.id, **trial.fields, "status": "ok", "em_at_1": score, "em_at_10": score, "codebleu": score}
    row["started_at"] = datetime(2026, 1, 1 + len(store.read_rows()), tzinfo=UTC)
    store.write_rows("trials", trial.id, [row])
    candidates = [
        {
            "id": trial.id,
            "example_id": str(example),
            "rank": rank,
            "text": "x" if hit and rank == 0 else "y",
            "reference": "x",
        }
        for example, hit in enumerate(hits)
        for rank in range(10)
    ]
    store.write_rows("candidates", trial.id, candidates)
    return trial.id


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "study"), tables())


def rows(store):
    return sorted(store.read_rows(), key=lambda row: row["started_at"])


def against(store, baseline=None):
    return against_table(rows(store), store, baseline, own_declarations())


def test_seeds_of_one_trial_are_one_line_with_mean_deviation_and_interval(store):
    for seed, hits in ((1, [1, 1, 0, 0]), (2, [1, 0, 0, 0]), (3, [1, 1, 1, 0])):
        add(store, "lora", hits, seed=seed)
    add(store, "lora", [1, 1, 1, 1], seed=1, lora_r=4)
    headings, ((name, seeds, em_at_1, *_),) = over_seeds_table(rows(store), own_declarations())
    assert headings[:4] == ["trial", "seeds", "EM@1", "EM@10"]
    assert seeds == "3"
    assert em_at_1 == "50.0 ± 25.0 [-12.1, 112.1]"
    assert "lora" in name


def test_a_trial_is_compared_with_the_baseline_on_the_same_examples(store):
    add(store, "zero_shot", [0] * 12)
    add(store, "lora", [1] * 10 + [0] * 2)
    first, second = against(store)
    assert first[:3] == ["lora r 16", "zero_shot", "EM@1"]
    assert first[3].startswith("+83.3 [")
    assert first[4] == "10 : 0"
    assert first[6] == "0.002"  # 2 / 2**10
    assert second[2] == "EM@10"


def test_the_baseline_may_be_a_method_or_an_id(store):
    chosen = add(store, "lora", [1, 0, 1, 0])
    add(store, "full", [1, 1, 1, 0])
    assert against(store, "lora") == against(store, chosen)


def test_a_baseline_that_no_trial_is_is_refused_with_what_there_is(store, capsys):
    add(store, "lora", [1, 0])
    assert main([store.url, "--baseline", "lara"]) == 2
    assert "its method (lora) but got lara" in capsys.readouterr().err


def test_trials_of_other_test_examples_are_not_compared(store):
    add(store, "zero_shot", [0, 0, 1])
    add(store, "lora", [1, 1, 0, 1])
    assert against(store) == []


def test_stored_values_of_examples_go_before_those_that_candidates_would_give(store):
    add(store, "lora", [1, 0])
    (row,) = rows(store)
    assert values_of(store, row, own_declarations())["em_at_1"] == {"0": 1.0, "1": 0.0}
    told = [{"id": row["id"], "example_id": "0", "score": "em_at_1", "value": 0.5}]
    store.write_rows("example_scores", row["id"], told)
    assert values_of(store, row, own_declarations()) == {"em_at_1": {"0": 0.5}}


def test_the_command_prints_both_tables_as_markdown(store, capsys):
    add(store, "zero_shot", [0] * 8)
    for seed in (1, 2):
        add(store, "lora", [1] * 6 + [0] * seed + [1] * (2 - seed), seed=seed)
    assert main([store.url, "--markdown"]) == 0
    said = capsys.readouterr().out
    assert "| lora" in said
    assert "± " in said
    assert "only this : only that" in said


def test_a_single_trial_leaves_nothing_to_compare(store, capsys):
    add(store, "lora", [1, 0])
    assert main([store.url]) == 0
    assert "nothing to compare" in capsys.readouterr().out


def test_a_folder_without_results_is_refused(tmp_path, capsys):
    assert main([str(tmp_path / "none")]) == 2
    assert "holds no trials/" in capsys.readouterr().err


def add_tested(store, name, *problems):
    """A finished trial on APPS; each problem's candidates are strings with p(assed) or w(rong) for each test."""
    trial = make_trial({"model": "toy", "dataset": "apps", "tuning_method": name})
    row = {
        "id": trial.id,
        **trial.fields,
        "status": "ok",
        "started_at": datetime(2026, 1, 1 + len(store.read_rows()), tzinfo=UTC),
    }
    store.write_rows("trials", trial.id, [row])
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
    first, second = against(store)
    assert first[:3] == ["lora r 16", "zero_shot", "pass@1"]
    assert first[3].startswith("+50.0 [")
    assert first[4] == "10 : 0", "by the first candidate"
    assert second[2] == "tests passed"
    assert second[3].startswith("+50.0 [")
    assert (second[4], second[6]) == ("", "")
