"""Which examples a trial takes from its dataset."""

from dataclasses import replace

import pytest

from raypeft.data import DATASETS
from raypeft.records import Example
from raypeft.study.trials import make_trial
from raypeft.trial import examples

SHORT = "x = 1"


def trial(dataset="apps", **fields):
    return make_trial({"model": "toy", "dataset": dataset, "tuning_method": "lora", **fields})


def problem(number, *codes, **fields):
    return Example(str(number), "a question", codes[0] if codes else "", tuple(codes[1:]), **fields)


def test_a_limit_keeps_the_same_examples_whatever_the_trials_seed():
    splits = DATASETS["toy"].load(None, None)
    kept = [examples.limited(splits, trial("toy", limit=12, seed=seed)) for seed in (1, 2)]
    assert kept[0] == kept[1]
    assert {split: len(found) for split, found in kept[0].items()} == dict.fromkeys(splits, 12)
    assert examples.limited(splits, trial("toy", test_limit=5))["train"] == splits["train"]


def test_a_limit_holds_for_each_dataset_of_a_mix_so_that_a_small_one_is_not_lost():
    mix = trial("both", declared='{"mix": [{"name": "toy"}, {"name": "toy_apps"}]}', test_dataset="toy_apps", limit=4)
    splits, _ = examples.load(mix)
    assert [each.id.partition("/")[0] for each in splits["train"]] == ["toy"] * 4 + ["toy_apps"] * 4
    assert len(splits["validation"]) == 8 and len(splits["test"]) == 4
    alone, _ = examples.load(trial("toy", limit=4))
    assert [f"toy/{each.id}" for each in alone["train"]] == [each.id for each in splits["train"][:4]]


def test_of_a_loaded_trial_the_examples_of_one_dataset_are_found():
    mix = trial("both", declared='{"mix": [{"name": "toy"}, {"name": "toy_apps"}]}', test_dataset="toy", limit=4)
    splits, _ = examples.load(mix)
    sizes = {name: {split: len(found) for split, found in examples.of_dataset(splits, mix, name).items()}
             for name in ("toy", "toy_apps")}  # fmt: skip
    assert sizes == {"toy": {"train": 4, "validation": 4, "test": 4},
                     "toy_apps": {"train": 4, "validation": 4, "test": 0}}  # fmt: skip


def test_examples_that_cannot_be_learned_from_or_judged_are_left_out_and_counted():
    splits = {
        "train": [problem(1, SHORT), problem(2)],
        "validation": [problem(3)],
        "test": [problem(4, tests="{}"), problem(5, SHORT, defect="broken"), problem(6), problem(7, defect="broken")],
    }
    kept, columns = examples.usable(splits, DATASETS["apps"], DATASETS["apps"])
    assert {split: [each.id for each in found] for split, found in kept.items()} == {
        "train": ["1"], "validation": [], "test": ["4"],
    }  # fmt: skip
    assert columns == {
        "train_left_out": 1,
        "validation_left_out": 1,
        "problems_without_tests": 3,
        "without_tests_because": "2 x broken; 1 x no tests",
    }
    assert examples.usable(splits, DATASETS["conala"], DATASETS["conala"]) == (splits, {}), (
        "nothing is judged by tests there"
    )


def test_where_a_dataset_is_judged_in_both_ways_an_example_needs_a_reference_and_tests():
    both = replace(DATASETS["apps"], judged_by=("reference", "tests"))
    test = [problem(1, SHORT, tests="{}"), problem(2, tests="{}"), problem(3, SHORT)]
    kept, columns = examples.usable({"train": [], "validation": [], "test": test}, both, both)
    assert [each.id for each in kept["test"]] == ["1"]
    assert columns["without_tests_because"] == "1 x no reference; 1 x no tests"


def test_a_dataset_of_which_nothing_can_be_judged_is_refused():
    with pytest.raises(ValueError, match="must have test examples with tests but all 1 lack them: 1 x broken"):
        examples.usable(
            {"train": [], "validation": [], "test": [problem(1, defect="broken")]}, DATASETS["apps"], DATASETS["apps"]
        )


def test_half_of_a_surrogate_pair_is_refused_with_its_example_before_anything_is_loaded(tmp_path):
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_text('{"question_id": "q1", "nl": "print \\ud83d", "cmd": "x"}\n')
    with pytest.raises(ValueError, match=r"conala: train example 'q1' must be text but has '\\ud83d'"):
        examples.load(trial("conala", dataset_path=str(tmp_path)))


def test_the_test_split_is_that_of_the_other_dataset():
    other = trial("toy", test_dataset="toy_apps")
    splits, columns = examples.load(other)
    toy, apps = (DATASETS[name].load(None, None) for name in ("toy", "toy_apps"))
    assert splits == {**toy, "test": apps["test"]}
    own = examples.load(trial("toy_apps"))[1]
    assert columns["test_resolved_revision"] == own["test_resolved_revision"]
    assert columns["dataset_resolved_revision"] not in (
        own["dataset_resolved_revision"], examples.load(trial("toy"))[1]["dataset_resolved_revision"]
    )  # fmt: skip


def test_examples_of_the_source_of_a_test_example_are_left_out_of_training():
    ids = {"train": ["1-7", "2-7", "2-8#2"], "validation": ["1-9", "3-1"], "test": ["1", "2#2"]}
    splits = {name: [Example(each, "q", "a") for each in found] for name, found in ids.items()}
    kept, columns = examples.without_same_sources(splits, trial("conala", test_dataset="odex"))
    assert {name: [each.id for each in found] for name, found in kept.items()} == {
        "train": [], "validation": ["3-1"], "test": ["1", "2#2"]}  # fmt: skip
    assert columns == {"train_of_test_sources": 4}


@pytest.mark.parametrize("fields", [{}, {"test_dataset": "toy"}])
def test_datasets_without_a_common_source_keep_all_examples(fields):
    splits = {name: [Example("1", "q", "a")] for name in ("train", "validation", "test")}
    assert examples.without_same_sources(splits, trial("conala", **fields)) == (splits, {})


def test_the_questions_of_odex_are_left_out_of_training_on_conala(real_data):
    odex = {"test_dataset": "odex", "test_dataset_path": str(real_data / "odex" / "en_test.jsonl")}
    _, columns = examples.load(trial("conala", dataset_path=str(real_data / "conala"), **odex))
    assert columns["train_of_test_sources"] == 354 and columns["train_examples"] == 2135 - 354
    assert columns["validation_examples"] == 201 and columns["test_examples"] == 322
