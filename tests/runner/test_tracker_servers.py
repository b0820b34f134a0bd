"""Trackers with a real server, with one that is away, and beside a whole sweep, each in processes of their own."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from raypeft.events import Evaluated, Event, Finished, Started, Step
from raypeft.runner.observers.trackers import backend, reporter
from raypeft.runner.observers.trackers.backend import ReportedSweep

TRIAL: list[Event] = [
    Started("lora r 4", {"model": "toy", "dataset": "toy", "tuning_method": "lora", "lora_r": 4}),
    Step(1, 4, 2.0, 1e-3),
    Evaluated(2, 0.5, 1.5, 1.25, 1e-3, 3.0),
    Evaluated(4, 1.0, 1.0, 0.75, 1e-3, 6.0),
]
END = Finished({"status": "ok", "error": None, "em_at_1": 0.25})


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def is_healthy(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of an MLflow server with a database and artefacts of its own."""
    port = free_port()
    command = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers=1",
               "--backend-store-uri", f"sqlite:///{tmp_path}/x.db",
               "--default-artifact-root", str(tmp_path / "art")]  # fmt: skip
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen([sys.executable, *command], stdout=log, stderr=log, env=os.environ | quiet)
    try:
        until = time.monotonic() + 240  # it takes minutes on a busy machine
        while not is_healthy(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None and time.monotonic() < until, (tmp_path / "server.log").read_text()
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
def test_a_real_mlflow_server_has_an_interrupted_trial_once_and_each_of_its_points_once(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setattr(backend, "END_SECONDS", 120)  # a busy machine needs more than a sweep would wait
    from mlflow.tracking import MlflowClient

    client, said = MlflowClient(), list[str]()

    def runs(*events: Event) -> list[Any]:
        with reporter("mlflow", ReportedSweep("rq2", str(tmp_path)), said.append) as each:
            for event in events:
                each.hear("a1", event)
        return client.search_runs([client.get_experiment_by_name("rq2").experiment_id])

    (interrupted,) = runs(*TRIAL[:-1])
    assert said == [] and interrupted.info.status == "KILLED"
    (ended,) = runs(*TRIAL, END)
    history = client.get_metric_history(ended.info.run_id, "eval/loss")
    assert said == [] and ended.info.status == "FINISHED" and ended.data.metrics["result/em_at_1"] == 0.25
    assert sorted((point.step, point.value) for point in history) == [(2, 1.25), (4, 0.75)]
    assert ended.data.params == {"model": "toy", "dataset": "toy", "tuning_method": "lora", "lora_r": "4"}
    assert ended.data.tags["raypeft.results"] == tmp_path.as_uri()


REPORTS = """
import sys, time
from raypeft.events import Evaluated, Finished, Started
from raypeft.runner.observers.trackers import backend, reporter
from raypeft.runner.observers.trackers.backend import ReportedSweep
import wandb

backend.END_SECONDS = 60  # a busy machine would say that the tracker is slow, which is not what is looked at
print("begin", time.time(), flush=True)
with reporter("wandb", ReportedSweep("rq2", "results"), lambda line: print(line, flush=True)) as each:
    for trial in ("a1", "b2"):
        each.hear(trial, Started("lora", {"lora_r": 4}))
        each.hear(trial, Evaluated(2, 0.5, 1.5, 1.25, 1e-3, 3.0))
    each.hear("a1", Finished({"status": "ok", "error": None}))
"""


def seconds_with_wandb(folder: Path, **variables: str) -> tuple[float, str]:
    """How long a process with W&B takes from its first event to its very end, and what it prints."""
    folder.mkdir()
    environment = os.environ | {"WANDB_API_KEY": "0123456789" * 4, "WANDB_DIR": str(folder)} | variables
    run = [sys.executable, "-c", REPORTS]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, env=environment, cwd=folder)
    ended = time.time()
    assert done.returncode == 0, done.stderr
    return ended - float(done.stdout.split()[1]), done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("answers", ["refuses", "is silent"])
def test_a_process_ends_soon_where_the_server_of_wandb_is_away_and_its_runs_are_kept(
    tmp_path: Path, answers: str
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if answers == "is silent":
            silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        offline, said = seconds_with_wandb(tmp_path / "offline", WANDB_MODE="offline")
        assert "warning" not in said
        away, said = seconds_with_wandb(tmp_path / "away", WANDB_BASE_URL=url)
    assert away < offline + 8, f"{away:.1f} s, and {offline:.1f} s offline"
    assert said.count("warning") == 1 and f"{url} does not answer" in said and "wandb sync" in said
    assert len(list((tmp_path / "away" / "wandb").glob("offline-run-*"))) == 2


class Refuses(BaseHTTPRequestHandler):
    """A server that is there, and out of order."""

    def do_GET(self) -> None:
        self.send_response(500)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_: object) -> None: ...


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "why"), [("0123456789" * 4, "the server does not take a run ("), ("", "no key is known (wandb login)")]
)
def test_runs_are_kept_where_wandbs_server_takes_none_and_where_there_is_no_key(
    tmp_path: Path, key: str, why: str
) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    _, said = seconds_with_wandb(tmp_path / "kept", WANDB_BASE_URL=url, WANDB_API_KEY=key, HOME=str(tmp_path))
    server.shutdown()
    assert said.count("warning") == 1 and why in said, said
    assert len(list((tmp_path / "kept" / "wandb").glob("offline-run-*"))) == 2


SWEEP = """
name: small
defaults: {model: toy, dataset: toy, limit: 8, max_new_tokens: 4, num_beams: 2, num_return_sequences: 2}
grids: [{tuning_method: [zero_shot, {name: lora, num_train_epochs: 1}]}]
resources: {cpus_per_trial: 1}
report_to: [tensorboard, mlflow, wandb]
"""
PLANTED = {
    "WANDB_API_KEY": "planted" * 5 + "12345",
    "HF_TOKEN": "planted-token-of-the-hub",
    "MLFLOW_TRACKING_URI": "http://me:planted-password@127.0.0.1:9",
    "WANDB_BASE_URL": "http://127.0.0.1:9",
}
COMMAND = """
import os, sys, types

class Fails:
    def __init__(self, study, say):
        raise PermissionError(f"403 for {os.environ['HF_TOKEN']} and {os.environ['WANDB_API_KEY']}, password=planted")

broken = types.ModuleType("broken")
broken.BACKEND = Fails
sys.modules["raypeft.runner.observers.trackers.tensorboard"] = broken
from raypeft.__main__ import main

sys.exit(main())
"""


@pytest.mark.slow
@pytest.mark.cluster
def test_no_secret_of_the_user_stands_in_anything_that_a_sweep_with_trackers_writes(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SWEEP)
    ray = Path(tempfile.mkdtemp(prefix="rt", dir="/tmp"))  # its sockets need a short path
    environment = os.environ | PLANTED | {"RAY_TMPDIR": str(ray), "WANDB_DIR": str(tmp_path)}
    said = ""
    try:
        for arguments in (["sweep", "small.yaml", "-v"], ["report", "results/small"]):
            done = subprocess.run([sys.executable, "-c", COMMAND, *arguments], capture_output=True, text=True,
                                  timeout=280, env=environment, cwd=tmp_path)  # fmt: skip
            said += done.stdout + done.stderr
            assert done.returncode == 0, said
        assert said.count("warning: mlflow failed") == said.count("warning: tensorboard failed") == 1, said
        assert "warning: wandb: http://127.0.0.1:9 does not answer" in said and "403 for *** and ***" in said
        kept = [path for folder in (tmp_path, ray) for path in folder.rglob("*") if path.is_file()]
        names = {path.name for path in kept}
        assert {"manifest.json", "report.html"} <= names and any(name.endswith(".parquet") for name in names)
        assert "planted" not in said, said
        assert [str(path) for path in kept if b"planted" in path.read_bytes()] == []
    finally:
        shutil.rmtree(ray, ignore_errors=True)
