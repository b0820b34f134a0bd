"""Makes a trial from the fields of one point of a grid.

trial = make_trial({"model": "toy", "dataset": "toy", "tuning_method": "lora", "lora_r": 8})
"""

from collections.abc import Mapping
from typing import Any

from raypeft.data import dataset_of
from raypeft.data.declared.declaration import DeclaredData
from raypeft.data.declared.mix import MixedData, read_declared
from raypeft.methods import METHODS
from raypeft.study.config import Trial

TEST_FIELDS = ("test_dataset", "test_dataset_path", "test_dataset_revision", "test_declared")


def make_trial(point: dict[str, Any], datasets: Mapping[str, DeclaredData | MixedData] = {}) -> Trial:
    """A trial from its fields. Fields of other methods, and fields without effect, are left out.

    `datasets` are those of the user's own, and mixes.
    """
    settled, method_fields = _settled(point, datasets)
    method = METHODS[point["tuning_method"]]
    trial_fields = {key: value for key, value in settled.items() if key in Trial.model_fields}
    idle = method(**method_fields).idle_fields
    effective = {key: value for key, value in method_fields.items() if key not in idle}
    return Trial(**trial_fields, method=method(**effective))


def idle_in(point: dict[str, Any], datasets: Mapping[str, DeclaredData | MixedData] = {}) -> set[str]:
    """Fields that change nothing beside the others of a point, although its method takes them."""
    settled, method_fields = _settled(point, datasets)
    method = METHODS[point["tuning_method"]]
    samples = settled.get("do_sample", False)
    beams = {"num_beams"} if samples and "do_sample" not in point else set()
    return {*method(**method_fields).idle_fields, *beams, *(() if method.trains or samples else ("seed",))}


def _settled(
    point: dict[str, Any], datasets: Mapping[str, DeclaredData | MixedData]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a point with what its datasets declare and default to, and those that its method takes."""
    name, declared = point["tuning_method"], read_declared(datasets.get(point["dataset"], point.get("declared")))
    dataset = dataset_of(point["dataset"], declared)
    point = _with_test_data(_with_place_in_mix(point, declared), datasets)
    tested = dataset_of(point["test_dataset"], point["test_declared"]) if "test_dataset" in point else dataset
    method, point = METHODS[name], _with_decoding(point, tested.decoding)
    method_fields = {key: value for key, value in point.items() if key in method.model_fields and key != "name"}
    if point.get("fidelity") == "paper":
        method_fields = {**method.paper_defaults, **dataset.paper_defaults.get(name, {}), **method_fields}
    return {**point, "declared": declared}, method_fields


def _with_place_in_mix(point: dict[str, Any], declared: DeclaredData | MixedData | None) -> dict[str, Any]:
    """The point; where it trains on a mix and is tested on a dataset of it, that one is loaded from the mix's place."""
    part = declared.part(point.get("test_dataset")) if isinstance(declared, MixedData) else None
    if part is None:
        return point
    place = {"test_dataset_path": part.dataset_path, "test_dataset_revision": part.dataset_revision}
    return place | {"test_declared": part.declared} | {key: each for key, each in point.items() if each is not None}


def _with_test_data(point: dict[str, Any], datasets: Mapping[str, DeclaredData | MixedData]) -> dict[str, Any]:
    """The point with the declaration of its other dataset for testing, or without all its fields where it has none.

    A dataset that is tested on itself is none: `test_dataset: [toy, odex]` is an axis whose first trial is a plain one.
    From another place it is another one.
    """
    name = point.get("test_dataset")
    places = ("dataset_path", "dataset_revision")
    is_same = all(point.get(f"test_{place}") in (None, point.get(place)) for place in places)
    if name is None or (name == point["dataset"] and is_same):
        return {key: value for key, value in point.items() if key not in TEST_FIELDS}
    return {**point, "test_declared": datasets.get(name, point.get("test_declared"))}


def _with_decoding(point: dict[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Add the dataset's defaults for decoding. They are meant for sampling, so beam search does not use them."""
    if not usual or point.get("do_sample", True) != usual["do_sample"]:
        return point
    # A number of beams in the sweep is meant for its other datasets.
    beams = {} if "do_sample" in point else {"num_beams": usual["num_beams"]}
    return {**usual, **point, **beams}
