"""A trial's share of a GPU, and what is said of a cluster's cards."""

from collections.abc import Sequence

import pytest

from raypeft.runner import cards
from raypeft.runner.cards import (
    Fleet,
    Needs,
    card_notes,
    check_gpu_is_there,
    gpu_share,
    nvidia_smi,
    trial_request,
    with_small_cards,
)
from raypeft.study.options import Resources
from raypeft.study.sweepfile import ConfigError


@pytest.mark.parametrize(
    ("budget", "sizes", "share"),
    [
        (24, [24.0], 1.0),
        (24, [80.0], 0.3),
        (24, [79.1], 0.304),
        (24, [80.0, 48.0], 0.5),
        (24, [80.0, 16.0], 1.0),
        (24, [79.2, 23.65], 1.0),
        (24, [16.0, 12.0], 1.0),
        (12, [24.0], 0.5),
        (24, [], 1.0),
    ],
    ids=["exact", "80 GB", "rounded up", "smallest counts", "a smaller card", "a real 24 GB card", "all too small",
         "half", "not known"],
)  # fmt: skip
def test_the_share_is_the_budget_over_the_smallest_card(budget, sizes, share):
    assert gpu_share(budget, sizes) == share


@pytest.mark.parametrize("card", [23.65, 23.99, 24.0])
@pytest.mark.parametrize("part", [2, 4, 8])
def test_a_card_that_is_sold_with_the_whole_budget_holds_all_its_parts(card, part):
    assert gpu_share(24 / part, [card], whole_gb=24) == 1 / part


def test_a_smaller_card_holds_the_parts_that_fit_it():
    assert gpu_share(12, [16.0], whole_gb=24) == 0.75


@pytest.mark.parametrize("budget", [7.3, 11, 24, 33.3])
@pytest.mark.parametrize("card", [15.8, 24.0, 39.4, 79.1, 139.8])
def test_as_many_trials_as_share_a_card_fit_its_memory(budget, card):
    share = gpu_share(budget, [card])
    assert share == 1.0 or int(1 / share) * budget <= card


def fleet(*nodes: dict[str, float], cards: Sequence[float] = ()) -> Fleet:
    return Fleet(nodes, cards)


def test_without_a_gpu_a_trial_asks_for_cpus_but_never_for_more_than_a_node_has():
    machines = fleet({"CPU": 2.0}, {"CPU": 4.0})
    assert trial_request(Resources(cpus_per_trial=8), machines) == {"CPU": 4.0}
    assert trial_request(Resources(cpus_per_trial=1), machines) == {"CPU": 1}


def test_with_gpus_a_trial_asks_for_its_share_of_the_smallest_one():
    machines = fleet({"CPU": 16.0, "GPU": 2.0}, cards=[80.0, 40.0])
    assert trial_request(Resources(gpu_memory_gb=24), machines) == {"CPU": 1, "GPU": 0.6}
    assert not list(card_notes(Resources(), machines))
    small = fleet({"CPU": 16.0, "GPU": 3.0}, cards=[80.0, 23.65, 16.0])
    assert list(card_notes(Resources(), small)) == [
        "some GPUs have 16 GiB, less than the 24 GiB of a trial: trials that Ray places there have that much"
    ]


def test_use_gpu_decides_where_it_is_given():
    with_gpu, without = fleet({"CPU": 4.0, "GPU": 1.0}, cards=[24.0]), fleet({"CPU": 4.0})
    assert trial_request(Resources(use_gpu=False), with_gpu) == {"CPU": 2}
    assert trial_request(Resources(use_gpu=True), without) == {"CPU": 1, "GPU": 1.0}, "the cluster may bring one"
    check_gpu_is_there(Resources(use_gpu=True), with_gpu)
    check_gpu_is_there(Resources(), without)
    with pytest.raises(ConfigError, match=r"use_gpu must be left out or false .* but got true"):
        check_gpu_is_there(Resources(use_gpu=True), without)


def test_nodes_with_small_cards_are_left_out_only_beside_large_ones():
    assert with_small_cards({"a": [8.0], "b": [24.0], "c": [], "d": [80.0, 8.0]}, 24) == ["a", "d"]
    assert with_small_cards({"a": [8.0], "c": []}, 24) == []
    assert with_small_cards({"a": [23.65], "b": [80.0]}, 24) == []


def test_the_room_is_counted_node_by_node():
    assert fleet({"CPU": 3.0}, {"CPU": 3.0}, {"GPU": 1.0}).room({"CPU": 2}) == 2
    assert fleet({"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0}).room({"CPU": 1, "GPU": 0.3}) == 3


def test_a_machine_whose_gpu_ray_does_not_offer_is_told(monkeypatch):
    monkeypatch.setattr(cards, "nvidia_smi", lambda: [24.0])
    assert any("Ray offers no GPU though this machine has one" in note
               for note in card_notes(Resources(), fleet({"CPU": 2.0})))  # fmt: skip
    assert not list(card_notes(Resources(use_gpu=False), fleet({"CPU": 2.0})))


def test_the_driver_names_every_card_of_a_machine(tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 0, GPU-8a, 24564\necho 1, GPU-9b, 81559\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia_smi() == [pytest.approx(23.99, abs=0.01), pytest.approx(79.65, abs=0.01)]
    for visible, sizes in (("1", [79.65]), ("GPU-8", [23.99]), ("MIG-GPU-9b/1/0", []), ("", [])):
        assert nvidia_smi(visible) == pytest.approx(sizes, abs=0.01)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert nvidia_smi() == []


def test_of_a_card_that_is_divided_no_size_is_known(monkeypatch):
    """CUDA shows a process one part of it, whose size the driver does not tell with the card."""
    told = {"index,uuid,memory.total": ["0, GPU-8, 81559", "1, GPU-9, 24564"], "mig.mode.current": ["Enabled", "[N/A]"]}
    monkeypatch.setattr(cards, "ask_driver", told.get)
    assert nvidia_smi() == [pytest.approx(23.99, abs=0.01)]
    told["mig.mode.current"] = []  # a driver that does not know the question
    assert len(nvidia_smi()) == 2


@pytest.mark.parametrize(
    ("sizes", "fits", "too_small"),
    [([23.65], 23.65, 16.0), ([80.0, 80.0], 79.2, 40.0), ([16.0], 15.8, 8.0), ([80.0, 40.0], 40.0, 24.0)],
    ids=["whole cards", "three trials share one", "all smaller than the budget", "one trial and a half"],
)
def test_a_node_that_joins_later_must_have_cards_that_hold_as_many_trials(sizes, fits, too_small):
    machines = Fleet([{"CPU": 8.0, "GPU": 1.0}], sizes, needs=Needs("", (), "", ""))
    needs = machines.needs_later(Resources(gpu_memory_gb=24))
    assert needs and too_small < needs.card_gb < fits


def test_trials_on_cpus_and_cards_of_unknown_size_ask_nothing_of_later_cards():
    known = Fleet([{"CPU": 8.0, "GPU": 1.0}], [80.0], needs=Needs("", (), "", ""))
    unknown = Fleet([{"CPU": 8.0, "GPU": 1.0}], needs=Needs("", (), "", ""))
    without = Fleet([{"CPU": 8.0}], [80.0], needs=Needs("", (), "", ""))
    for machines, resources in ((known, Resources(use_gpu=False)), (unknown, Resources()), (without, Resources())):
        assert machines.needs_later(resources) == Needs("", (), "", "")
    assert fleet({"CPU": 8.0}).needs_later(Resources()) is None, "this machine is the only one"
