"""Methods ranked over models and datasets, from stored rows."""

import pytest
from result_folders import add, rows_of

from raypeft.analysis.ranking import ranks_table
from raypeft.results.store import ResultStore
from raypeft.trial.columns import tables
from raypeft.trial.declarations import own_declarations

DECLARED = own_declarations()


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "study"), tables())


def add_block(store, model, *hits):
    for name, each in zip(("zero_shot", "lora", "full"), hits, strict=False):
        add(store, name, each, model=model)


def test_methods_are_ranked_over_models(store):
    add_block(store, "CodeGen-350M-mono", [0, 0], [1, 0], [1, 1])
    add_block(store, "SmolLM2-135M", [0, 0], [1, 1], [1, 0])
    title, headings, lines = ranks_table(rows_of(store), DECLARED, "em_at_1")
    assert headings == ["trial", "mean rank", "tied with the best"]
    assert lines == [["lora r 16", "1.50", "yes"], ["full", "1.50", "yes"], ["zero_shot", "3.00", "yes"]]
    assert "over 2 blocks of model and dataset" in title
    assert "differ by more than 2.34" in title  # 2.343 * sqrt(3 * 4 / (6 * 2))


def test_a_block_that_lacks_a_method_does_not_count_and_is_said(store):
    add_block(store, "CodeGen-350M-mono", [0, 0], [1, 0], [1, 1])
    add_block(store, "SmolLM2-135M", [0, 0], [1, 1], [1, 0])
    add_block(store, "CodeGen2-1B", [0, 0], [1, 1])
    for seed in (1, 2):
        add(store, "full", [1, 1], model="SmolLM2-360M", seed=seed)
    title, *_ = ranks_table(rows_of(store), DECLARED, "em_at_1")
    assert "over 2 blocks" not in title or "blocks lack a method and do not count" in title


def test_a_method_with_a_rate_of_its_own_for_each_model_is_ranked_as_a_method(store):
    for model, rate in (("SmolLM2-135M", 1e-3), ("CodeGen2-1B", 3e-4)):
        add(store, "lora", [1, 1], model=model, learning_rate=rate)
        for name, hits in (("zero_shot", [0, 0]), ("full", [1, 0])):
            add(store, name, hits, model=model)
    title, _, lines = ranks_table(rows_of(store), DECLARED, "em_at_1")
    assert [line[:2] for line in lines] == [["lora", "1.00"], ["full", "2.00"], ["zero_shot", "3.00"]]
    assert "Settings differ between blocks: lora." in title and "not ranked" not in title


def test_a_method_with_several_settings_on_one_dataset_alone_is_ranked_by_the_one_that_is_everywhere(store):
    for dataset, rates in (("toy", (1e-3,)), ("conala", (1e-3, 3e-3))):
        for rate in rates:
            add(store, "lora", [1, 1], dataset=dataset, learning_rate=rate)
        for name, hits in (("zero_shot", [0, 0]), ("full", [1, 0])):
            add(store, name, hits, dataset=dataset)
    title, _, lines = ranks_table(rows_of(store), DECLARED, "em_at_1")
    assert [line[0] for line in lines] == ["lora lr 0.001, r 16", "full", "zero_shot"]
    assert title.endswith("In fewer blocks, and not ranked: lora lr 0.003, r 16.")


def test_settings_that_differ_between_datasets_are_said_but_for_their_usual_decoding(store):
    for dataset, epochs in (("toy", 2), ("odex", 3)):
        for shots in (0, 2):
            add(store, "lora", [1, 1], dataset=dataset, num_shots=shots, num_train_epochs=epochs)
        add(store, "zero_shot", [0, 0], dataset=dataset)
    title, _, lines = ranks_table(rows_of(store), DECLARED, "em_at_1")
    assert {line[0] for line in lines} == {"lora shots 0, r 16", "lora shots 2, r 16", "zero_shot"}
    assert title.endswith("Settings differ between blocks: lora shots 0, r 16, lora shots 2, r 16.")


def test_treatments_of_fewer_blocks_are_named(store):
    add_block(store, "CodeGen-350M-mono", [0, 0], [1, 0], [1, 1])
    add_block(store, "SmolLM2-135M", [0, 0], [1, 1], [1, 0])
    add(store, "lora", [1, 1], model="SmolLM2-135M", lora_r=4)
    title, _, lines = ranks_table(rows_of(store), DECLARED, "em_at_1")
    assert len(lines) == 3 and title.endswith("In fewer blocks, and not ranked: lora r 4.")


def test_what_blocks_differ_in_is_in_no_treatments_name(store):
    for limit in (10, 20):
        for shots in (1, 4):
            add(store, "icl", [1, 0], num_shots=shots, test_limit=limit)
        add(store, "zero_shot", [0, 0], test_limit=limit)
    _, _, lines = ranks_table(rows_of(store), DECLARED, "em_at_1")
    assert {name for name, *_ in lines} == {"icl shots 1", "icl shots 4", "zero_shot"}


def test_an_unknown_score_is_refused_with_the_known_ones(store):
    add(store, "lora", [1, 0])
    with pytest.raises(ValueError, match=r"--ranks must be a score \(em_at_1, .*\) but got em"):
        ranks_table(rows_of(store), DECLARED, "em")
