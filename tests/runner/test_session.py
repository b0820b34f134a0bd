"""A trial's share of a GPU, and clusters that are gone. The Tune run itself is in test_sweep.py."""

import socket

import pytest

from raypeft.runner.session import gpu_share, left_by_a_dead_cluster, trial_resources
from raypeft.study.config import Resources


@pytest.mark.parametrize(
    ("budget", "cards", "share"),
    [
        (24, [24.0], 1.0),
        (24, [80.0], 0.3),
        (24, [79.1], 0.304),
        (24, [80.0, 48.0], 0.5),
        (24, [80.0, 16.0], 0.3),
        (24, [16.0, 12.0], 1.0),
        (12, [24.0], 0.5),
    ],
    ids=["exact", "80 GB", "rounded up", "smallest card counts", "too small is not eligible", "none eligible", "half"],
)
def test_the_share_is_the_budget_over_the_smallest_eligible_card(budget, cards, share):
    assert gpu_share(budget, cards) == share


@pytest.mark.parametrize("budget", [7.3, 11, 24, 33.3])
@pytest.mark.parametrize("card", [15.8, 24.0, 39.4, 79.1, 139.8])
def test_as_many_trials_as_share_a_card_fit_its_memory(budget, card):
    share = gpu_share(budget, [card])
    assert share == 1.0 or int(1 / share) * budget <= card


def test_without_a_gpu_a_trial_asks_for_cpus_but_never_for_more_than_there_are(monkeypatch):
    from raypeft.runner import session

    monkeypatch.setattr(session.ray, "cluster_resources", lambda: {"CPU": 2.0})
    assert trial_resources(Resources(cpus_per_trial=8)) == {"cpu": 2.0}
    assert trial_resources(Resources(cpus_per_trial=1)) == {"cpu": 1}


def test_with_gpus_a_trial_asks_for_its_share_of_the_smallest_eligible_one(monkeypatch):
    from raypeft.runner import session

    monkeypatch.setattr(session.ray, "cluster_resources", lambda: {"CPU": 16.0, "GPU": 2.0})
    monkeypatch.setattr(session, "card_sizes", lambda: [80.0, 40.0])
    assert trial_resources(Resources(gpu_memory_gb=24)) == {"cpu": 1, "gpu": 0.6}


def test_a_dead_clusters_note_is_told_from_a_living_ones(tmp_path):
    note = tmp_path / "ray_current_cluster"
    assert not left_by_a_dead_cluster(note), "there was none"
    with socket.create_server(("127.0.0.1", 0)) as server:
        note.write_text(f"127.0.0.1:{server.getsockname()[1]}")
        assert not left_by_a_dead_cluster(note)
    assert left_by_a_dead_cluster(note)
