"""Datasets that are trained on together."""

from dataclasses import replace

import pytest

from raypeft.data import DATASETS, dataset_of, is_here
from raypeft.data.declared.mix import MixedData, mixed, read_declared

TOYS = MixedData.model_validate({"mix": [{"name": "toy"}, {"name": "toy_apps"}]})


def test_a_mix_has_the_training_and_validation_examples_of_its_datasets_and_no_others():
    splits = dataset_of("both", TOYS).load(None, None)
    parts = {name: DATASETS[name].load(None, None) for name in ("toy", "toy_apps")}
    for split in ("train", "validation"):
        expected = [f"{name}/{each.id}" for name, its_own in parts.items() for each in its_own[split]]
        assert [each.id for each in splits[split]] == expected
    assert splits["test"] == []


def test_of_each_example_its_dataset_and_its_id_there_are_known():
    data = dataset_of("both", TOYS)
    first, *_, last = data.load(None, None)["train"]
    for example, name, place in ((first, "toy", 0), (last, "toy_apps", -1)):
        dataset, own_id = data.of(example)
        assert (dataset.name, own_id) == (name, DATASETS[name].load(None, None)["train"][place].id)
    alone = DATASETS["toy"]
    assert alone.of(alone.load(None, None)["train"][0])[0] is alone


def test_a_mix_is_the_same_read_from_its_row():
    again = read_declared(TOYS.text)
    assert again == TOYS and dataset_of("both", TOYS.text).parts == dataset_of("both", TOYS).parts


def test_a_mix_has_a_split_that_all_its_datasets_have():
    without = replace(DATASETS["toy_apps"], splits=("train", "test"))
    assert mixed("both", [(DATASETS["toy"], None, None), (without, None, None)]).splits == ("train",)


def test_a_mix_is_here_where_all_its_datasets_are():
    far = MixedData.model_validate({"mix": [{"name": "toy"}, {"name": "conala"}]})
    near = MixedData.model_validate({"mix": [{"name": "toy"}, {"name": "conala", "dataset_path": "/copies"}]})
    assert [is_here(dataset_of("both", each), each, None) for each in (TOYS, far, near)] == [True, False, True]
    assert near.paths == ["/copies"]


def test_a_mix_names_a_dataset_once():
    with pytest.raises(ValueError, match="must name each dataset once but got toy, toy"):
        MixedData.model_validate({"mix": [{"name": "toy"}, {"name": "toy"}]})
