"""A trial whose process is killed: the same command goes on, and its row is that of an unbroken run, to the digit."""

import os
import signal
import subprocess
import sys
import time

import pytest

from raypeft.results.store import ResultStore
from raypeft.trial.columns import tables

SWEEP = """
name: small
defaults: {model: toy, dataset: toy, limit: 24, max_new_tokens: 6, num_beams: 3, num_return_sequences: 2}
grids:
  - tuning_method: {name: lora, num_train_epochs: 4, eval_every_epochs: 0.5}
resources: {cpus_per_trial: 1, generation_batch_size: 2}
checkpoint_minutes: 0
"""
TIMES = ("_seconds", "_per_second", "started_at", "resumed_from_step", "attempts")
pytestmark = pytest.mark.slow


def start(folder):
    (folder / "small.yaml").write_text(SWEEP)
    command = [sys.executable, "-m", "raypeft.trial", str(folder / "small.yaml"), "--results", str(folder)]
    environment = os.environ | {"TMPDIR": str(folder / "tmp")}
    (folder / "tmp").mkdir(exist_ok=True)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def finished(folder):
    process = start(folder)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    return said


def signalled_after(folder, pattern, number):
    """Start the trial, and send the signal once a file of this pattern is there; exit code and output."""
    process = start(folder)
    until = time.monotonic() + 200
    while not list(folder.glob(f"small/{pattern}")):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    return process.returncode, said


def rows(folder, table):
    store = ResultStore(str(folder / "small"), tables())
    return [{name: value for name, value in row.items() if not name.endswith(TIMES) and name != "seconds"}
            for row in store.read_rows(table)]  # fmt: skip


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    finished(folder)
    return folder


def assert_same_results(folder, unbroken):
    for table in ("trials", "evals", "candidates", "example_scores"):
        assert rows(folder, table) == rows(unbroken, table), table
    left = {path.name for path in (folder / "small").iterdir() if any(path.rglob("*"))}
    results = {"adapters", "trials", "evals", "candidates", "example_scores"}
    assert left - {"superseded", ".gathered", ".leases"} == results, "no checkpoint"


def test_a_trial_killed_in_training_and_again_while_decoding_ends_as_an_unbroken_one(tmp_path, unbroken):
    assert signalled_after(tmp_path, "checkpoints/*/training.pt", signal.SIGKILL)[0] == -signal.SIGKILL
    code, said = signalled_after(tmp_path, "candidates.partial/*/00002.parquet", signal.SIGKILL)
    assert code == -signal.SIGKILL and "the training goes on from its checkpoint at step" in said
    said = finished(tmp_path)
    assert "step 12 of 12" in said and "evaluated at step 12" in said
    assert "of 24 examples are there from before" in said
    assert_same_results(tmp_path, unbroken)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 143),
        (signal.SIGINT, 130),
        (signal.SIGHUP, 129),
        (signal.SIGUSR1, 138),
    ],
)
def test_a_signal_ends_a_trial_cleanly_and_the_same_command_goes_on(tmp_path, unbroken, number, code):
    ended, said = signalled_after(tmp_path, "checkpoints/*/training.pt", number)
    assert ended == code
    assert "Traceback" not in said
    assert said.endswith(f"stopped by {number.name}; the same command goes on from what is stored\n")
    left = {path.name for path in (tmp_path / "tmp").iterdir()}
    assert not {name for name in left if not name.startswith("torchinductor")}, "no scratch of ours"
    assert not any((tmp_path / "small" / ".tmp").iterdir())
    assert not rows(tmp_path, "trials")
    if number == signal.SIGTERM:
        assert "the training goes on from its checkpoint" in finished(tmp_path)
        assert_same_results(tmp_path, unbroken)


def test_a_signal_while_the_program_is_still_loading_shows_no_traceback(tmp_path):
    process = start(tmp_path)
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
