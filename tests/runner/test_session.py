"""A trial's share of a GPU, and clusters that are gone. The Tune run itself is in test_sweep.py."""

import os
import socket
import subprocess
import sys

import pytest

from raypeft.runner.session import gpu_share, left_by_a_dead_cluster, place_to_join, trial_resources
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


PROGRAM = """
import sys
from raypeft.runner.session import ray_session
from raypeft.study.sweepfile import ConfigError
try:
    with ray_session():
        print("began")
except ConfigError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""


def begun(**environment):
    """Exit code and message of a command that needs Ray."""
    command = [sys.executable, "-c", PROGRAM]
    process = subprocess.run(command, capture_output=True, text=True, timeout=200, env=os.environ | environment)
    assert "Traceback" not in process.stderr and "began" not in process.stdout
    return process.returncode, process.stderr


def test_a_path_too_long_for_rays_sockets_is_told_in_a_line_that_names_the_variable(tmp_path):
    long = tmp_path / ("x" * 80)
    long.mkdir()
    code, said = begun(TMPDIR=str(long))
    assert code == 2
    assert "RAY_TMPDIR has 1 error:" in said and "must be a short path" in said and "export RAY_TMPDIR=/tmp" in said


def test_a_program_that_answers_but_is_no_cluster_hangs_nothing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("t")
    (folder / "ray").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        name = f"127.0.0.1:{server.getsockname()[1]}"
        (folder / "ray" / "ray_current_cluster").write_text(name)
        code, said = begun(RAY_TMPDIR=str(folder), RAYPEFT_RAY_START_SECONDS="3")
    assert code == 2
    assert f"names {name}, which answers but not as a Ray cluster; remove that file" in said


def test_the_automatic_address_of_a_dead_cluster_is_told(tmp_path):
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    code, said = begun(RAY_TMPDIR=str(tmp_path), RAY_ADDRESS="auto")
    assert code == 2
    assert "got auto, and the cluster that" in said and "127.0.0.1:1" in said


def test_a_dead_clusters_note_is_looked_for_where_ray_looks(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    assert place_to_join("") == "local"
