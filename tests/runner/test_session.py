"""Clusters that are gone, and Ray that does not start. The Tune run itself is in test_sweep.py."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from raypeft.runner.session import (
    ClusterGone,
    is_joined,
    left_by_a_dead_cluster,
    may_ask_for_a_token,
    place_to_join,
    travelling_code,
)
from raypeft.trial import provenance


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
    with ray_session(print):
        print("began")
except ConfigError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""


def begun(**environment):
    """Exit code and message of a command that needs Ray."""
    command = [sys.executable, "-c", PROGRAM]
    variables = os.environ | {"RAY_ADDRESS": ""} | environment
    process = subprocess.run(command, capture_output=True, text=True, timeout=200, env=variables)
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


def test_a_cluster_that_answers_but_lets_no_one_in_may_want_a_token(monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    refused = ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379")
    assert may_ask_for_a_token(refused) and not may_ask_for_a_token(TimeoutError("Ray must be there within 120 s"))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert not may_ask_for_a_token(refused), "it was sent"


def test_a_sweep_is_not_run_through_ray_client():
    with pytest.raises(
        ClusterGone,
        match=r"must be auto or HOST:PORT but got ray://.*:10001: .*neither show nor end .*job submit.*cluster\.md",
    ):
        place_to_join("ray://10.0.0.1:10001")


def test_the_code_travels_only_to_a_cluster_that_is_joined(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert is_joined("10.0.0.1:6379", None) and is_joined("auto", None)
    assert not is_joined("", None), "no cluster runs on this machine"
    assert not is_joined("local", "local")


def test_a_copy_of_the_code_names_the_commit_that_it_was_made_from(monkeypatch):
    carried = travelling_code()
    assert (Path(carried["py_modules"][0]) / "sweep.py").is_file()
    here = provenance.git_state()
    provenance.git_state.cache_clear()
    for name, value in carried["env_vars"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(provenance, "_git", lambda *_: pytest.fail("a copy has no history"))
    try:
        assert provenance.git_state() == here
    finally:
        provenance.git_state.cache_clear()
