"""A trial from the fields of a point: its datasets."""

import pytest

from raypeft.study.config import Trial
from raypeft.study.trials import make_trial


def trial(**fields: object) -> Trial:
    return make_trial({"model": "toy", "dataset": "toy", "tuning_method": "lora", **fields})


def test_a_dataset_that_is_tested_on_itself_is_a_plain_trial() -> None:
    assert trial(test_dataset="toy").id == trial(test_dataset=None, test_dataset_path="x").id == trial().id
    assert trial(test_dataset="toy_apps").id != trial().id
    conala = {"dataset": "conala", "dataset_path": "a", "test_dataset": "conala"}
    same, other = (trial(**conala, test_dataset_path=path) for path in "ab")
    assert same.test_dataset is None and other.test_dataset == "conala"


def test_decoding_is_that_of_the_dataset_that_is_tested_on() -> None:
    other, own = trial(test_dataset="toy_apps"), trial(dataset="toy_apps")
    names = ("do_sample", "num_beams", "num_return_sequences", "temperature", "top_p")
    assert [getattr(other, name) for name in names] == [getattr(own, name) for name in names]
    assert not trial(dataset="toy_apps", test_dataset="toy").do_sample


def test_a_trial_has_the_data_that_it_trains_on_and_the_data_that_it_is_tested_on() -> None:
    other = trial(test_dataset="toy_apps")
    assert (other.data.name, other.test_data.name, other.data_name) == ("toy", "toy_apps", "toy->toy_apps")
    assert (trial().data.name, trial().test_data.name, trial().data_name) == ("toy", "toy", "toy")


def test_a_row_gives_its_trial_again() -> None:
    other = trial(test_dataset="odex", test_dataset_path="/data/odex.jsonl")
    fields = {name: value for name, value in other.fields.items() if value is not None}
    assert make_trial(fields).id == other.id


@pytest.mark.parametrize("field", ["test_dataset_path", "test_dataset_revision"])
def test_where_the_other_dataset_comes_from_is_part_of_the_id(field: str) -> None:
    assert trial(test_dataset="odex", **{field: "x"}).id != trial(test_dataset="odex").id
