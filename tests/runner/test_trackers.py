"""Experiment trackers: what they are told of a trial, and that their faults cost no trial."""

import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from raypeft.events import Evaluated, Event, Finished, Started, Step
from raypeft.records import Status
from raypeft.results.statuses import STATUSES
from raypeft.runner.observers.trackers import backend, reporter
from raypeft.runner.observers.trackers.backend import ReportedSweep, Reporter, Run, figures, parameters
from raypeft.runner.observers.trackers.mlflow import in_its_words
from raypeft.runner.observers.trackers.wandb import has_login
from raypeft.study import trackers
from raypeft.study.checking import load_config
from raypeft.study.sweepfile import ConfigError

FIELDS: dict[str, Any] = {"model": "toy", "tuning_method": "lora", "lora_r": 4, "learning_rate": 1e-3}
FIELDS |= {"max_length": None, "num_beams": 10, "declared": "{}"}
SCORES = {"em_at_1": 0.25, "test_loss": 0.5, "total_seconds": 12.0}
TRIAL: list[Event] = [
    Started("lora r 8", FIELDS),
    Step(1, 4, 2.0, 1e-3),
    Evaluated(2, 0.5, 1.5, 1.25, 1e-3, 3.0),
    Evaluated(4, 1.0, 1.0, 0.75, 1e-3, 6.0),
]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "END_SECONDS", 120)  # a busy machine needs more than a sweep would wait


def ended(status: str = "ok") -> Finished:
    return Finished({"status": status, "error": None, "is_diverged": False, **SCORES})


def report(name: str, folder: Path, *trials: tuple[str, list[Event]]) -> list[str]:
    """Tell a tracker of trials, as a command would; returns its warnings."""
    said: list[str] = []
    with reporter(name, ReportedSweep("rq2", str(folder)), said.append) as each:
        for trial, events in trials:
            for event in events:
                each.hear(trial, event)
    return said


@pytest.mark.parametrize("entry", trackers.TRACKERS, ids=lambda entry: entry.name)
def test_every_tracker_has_a_file_and_an_extra(entry: trackers.Entry) -> None:
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    module = import_module(f"raypeft.runner.observers.trackers.{entry.name}")
    methods = {name for name, value in vars(backend.Backend).items() if callable(value) and not name.startswith("_")}
    assert all(callable(getattr(module.BACKEND, name)) for name in methods)
    assert entry.extra in extras["optional-dependencies"]


def test_tensorboard_reads_back_curves_and_scores_of_each_trial(tmp_path: Path) -> None:
    import tensorboardX  # noqa: F401 - takes seconds on a busy machine
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    said = report("tensorboard", tmp_path, ("a1", [*TRIAL, ended()]), ("b2", [*TRIAL, ended("pruned")]))
    assert said == [] and sorted(path.name for path in (tmp_path / "tensorboard").iterdir()) == ["a1", "b2"]
    read = EventAccumulator(str(tmp_path / "tensorboard" / "a1")).Reload()
    assert [(each.step, each.value) for each in read.Scalars("eval/loss")] == [(2, 1.25), (4, 0.75)]
    assert [(each.step, each.value) for each in read.Scalars("result/em_at_1")] == [(4, 0.25)]
    (text,) = read.Tensors("trial/text_summary")
    assert b"| lora_r | 4 |" in text.tensor_proto.string_val[0] and b"max_length" not in text.tensor_proto.string_val[0]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.tracking import MlflowClient

    return MlflowClient()


def runs_of(client: Any) -> dict[str, Any]:
    """The newest run of each trial."""
    found = client.search_runs([client.get_experiment_by_name("rq2").experiment_id], order_by=["start_time ASC"])
    return {run.data.tags["raypeft.trial"]: run for run in found}


def points(client: Any, run: Any, name: str) -> list[tuple[int, float]]:
    return [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, name)]


def test_an_interrupted_trial_goes_on_in_its_run_of_mlflow_and_repeats_no_point(tmp_path: Path, client: Any) -> None:
    assert report("mlflow", tmp_path, ("a1", TRIAL[:-1])) == []
    assert runs_of(client)["a1"].info.status == "KILLED"
    assert report("mlflow", tmp_path, ("a1", [*TRIAL, ended()]), ("b2", [*TRIAL, ended("failed")])) == []
    runs = runs_of(client)
    assert {trial: run.info.status for trial, run in runs.items()} == {"a1": "FINISHED", "b2": "FAILED"}
    assert points(client, runs["a1"], "eval/loss") == [(2, 1.25), (4, 0.75)]
    assert points(client, runs["a1"], "train/loss") == [(1, 2.0)]
    assert len(client.search_runs([runs["a1"].info.experiment_id])) == 2


def test_a_trial_that_was_lost_is_killed_in_mlflow_and_goes_on_in_its_run(tmp_path: Path, client: Any) -> None:
    assert report("mlflow", tmp_path, ("a1", [*TRIAL, ended("lost")])) == []
    assert runs_of(client)["a1"].info.status == "KILLED"
    assert report("mlflow", tmp_path, ("a1", [*TRIAL, ended()])) == []
    (run,) = client.search_runs([runs_of(client)["a1"].info.experiment_id])
    assert run.info.status == "FINISHED" and points(client, run, "eval/loss") == [(2, 1.25), (4, 0.75)]


def test_mlflow_has_parameters_scores_and_links(tmp_path: Path, client: Any) -> None:
    assert report("mlflow", tmp_path, ("a1", [*TRIAL, ended()])) == []
    run = runs_of(client)["a1"]
    assert run.data.params == {"model": "toy", "tuning_method": "lora", "lora_r": "4", "learning_rate": "0.001"}
    assert run.data.metrics["result/em_at_1"] == 0.25
    assert run.data.tags["raypeft.report"] == (tmp_path / "report.html").as_uri()
    assert f"[results]({tmp_path.as_uri()})" in run.data.tags["mlflow.note.content"]


def test_a_trial_that_is_run_again_after_its_end_is_another_run_of_mlflow(tmp_path: Path, client: Any) -> None:
    for _ in range(2):
        assert report("mlflow", tmp_path, ("a1", [*TRIAL, ended()])) == []
    run = runs_of(client)["a1"]
    assert points(client, run, "eval/loss") == [(2, 1.25), (4, 0.75)]
    assert len(client.search_runs([run.info.experiment_id])) == 2


def test_parameters_are_fields_away_from_their_defaults_without_secrets() -> None:
    fields = {"model": "s3://key:word@bucket/m", "dataset": "toy", "tuning_method": "lora", "lora_r": 16, "seed": 1}
    assert parameters({**fields, "num_beams": 10}) == {
        "model": "s3://***@bucket/m", "dataset": "toy", "tuning_method": "lora", "seed": 1,
    }  # fmt: skip


@pytest.mark.slow
def test_wandb_keeps_offline_runs_of_trials_that_run_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    said: list[str] = []
    sweep = ReportedSweep("rq2", str(tmp_path))
    with reporter("wandb", sweep, said.append) as each:
        for event in (*TRIAL, ended()):
            each.hear("a1", event)
            each.hear("b2", event)
    assert said == []
    kept = sorted(path.name.rpartition("-")[2] for path in (tmp_path / "wandb").glob("offline-run-*"))
    assert kept == sorted(sweep.run_id(trial) for trial in ("a1", "b2"))


def test_trackio_reads_back_trials_that_run_at_the_same_time_and_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "read.py"
    script.write_text(TRACKIO)  # the folder of its database is read when it is imported, once in a process
    paths = os.pathsep.join(map(str, (Path(__file__).parents[2], Path(__file__).parent)))
    there = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "PYTHONPATH": paths}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=there, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert sorted(read) == ["lora r 8 a1", "lora r 8 b2"]
    for trial, (config, logs) in read.items():
        assert (config["lora_r"], config["trial"]) == (4, trial[-2:]) and "max_length" not in config
        assert [(each["step"], each["eval/loss"]) for each in logs if "eval/loss" in each] == [(2, 1.25), (4, 0.75)]
        assert (logs[-1]["step"], logs[-1]["status"], logs[-1]["result/em_at_1"]) == (4, "ok", 0.25)


TRACKIO = """
import json
from test_trackers import TRIAL, ended
from raypeft.runner.observers.trackers import backend, reporter
from raypeft.runner.observers.trackers.backend import ReportedSweep

backend.END_SECONDS = 60
said = []
with reporter("trackio", ReportedSweep("rq2", "results"), said.append) as each:
    for event in (*TRIAL, ended()):
        each.hear("a1", event)
        each.hear("b2", event)
assert said == [], said
import trackio
from trackio.sqlite_storage import SQLiteStorage
runs = trackio.Api().runs("rq2")
print(json.dumps({run.name: (run.config, SQLiteStorage.get_logs("rq2", run.name, run_id=run.id)) for run in runs}))
"""


def test_a_key_that_wandb_login_has_stored_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not has_login("http://localhost:8080")
    (tmp_path / "netrc").write_text("machine localhost:8080 login user password 0123456789\n")
    (tmp_path / "netrc").chmod(0o600)
    assert has_login("http://localhost:8080") and not has_login("https://api.wandb.ai")


class Broken:
    """A tracker that fails, or that answers slowly."""

    def __init__(self, seconds: float = 0.0, error: str = "") -> None:
        self.seconds, self.error = seconds, error
        self.seen: list[str] = []

    def begin(self, run: Run) -> None:
        self.seen.append(run.trial)
        time.sleep(self.seconds)
        if self.error:
            raise ConnectionError(self.error)

    def log(self, run: Run, step: int, values: Mapping[str, float]) -> None:
        time.sleep(self.seconds)

    def end(self, run: Run, status: str, scores: Mapping[str, float]) -> None:
        time.sleep(self.seconds)

    def interrupt(self, run: Run) -> None:
        self.seen.append(f"{run.trial} interrupted")

    def close(self) -> None: ...


def test_a_tracker_that_fails_costs_one_warning_without_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setenv("WANDB_API_KEY", "planted-s3cret-key")
    broken = Broken(error="http://me:s3cret@host/api refused planted-s3cret-key and api_key=s3cret")
    with Reporter("mlflow", lambda: broken, said.append) as each:
        for trial in ("a1", "b2", "c3"):
            each.hear(trial, TRIAL[0])
            each.thread.join(2)
    assert len(said) == 1 and "http://***@host/api refused" in said[0] and "s3cret" not in said[0]
    assert broken.seen == ["a1"]


def test_a_slow_tracker_holds_up_neither_the_trials_nor_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "END_SECONDS", 0.2)
    said: list[str] = []
    each = Reporter("wandb", lambda: Broken(seconds=5.0), said.append)
    started = time.monotonic()
    for event in TRIAL:
        each.hear("a1", event)
    each.close()
    assert time.monotonic() - started < 2 and said == [
        "warning: wandb does not answer; what it has of this sweep is not whole"
    ]


def test_a_tracker_whose_server_is_away_costs_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:s3cret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (said,) = report("mlflow", tmp_path, ("a1", [*TRIAL, ended()]))
    assert said.startswith("warning: mlflow failed and is left out from here on") and "s3cret" not in said


def test_what_is_reported_are_scores_and_cost_and_no_text() -> None:
    assert figures(ended().row) == SCORES


def test_a_trial_is_the_same_whatever_the_password_of_its_results() -> None:
    one, other = ReportedSweep("s", "s3://a:b@h/r"), ReportedSweep("s", "s3://c:d@h/r")
    assert one.run_id("t") == other.run_id("t") and one.links["report"] == "s3://***@h/r/report.html"


def test_a_trial_that_was_not_ended_is_said_to_be_interrupted() -> None:
    broken = Broken()
    with Reporter("mlflow", lambda: broken, print) as each:
        each.hear("a1", TRIAL[0])
    assert broken.seen == ["a1", "a1 interrupted"]


def sweep(folder: Path, line: str) -> Any:
    (folder / "s.yaml").write_text(f"name: s\n{line}\ngrids: [{{model: toy, dataset: toy, tuning_method: lora}}]\n")
    return load_config(folder / "s.yaml").config


@pytest.mark.parametrize(
    ("given", "read"),
    [("tensorboard", ("tensorboard",)), ("[mlflow, wandb]", ("mlflow", "wandb")), ("none", ()), ("[none]", ())],
)
def test_report_to_is_a_name_or_a_list(tmp_path: Path, given: str, read: tuple[str, ...]) -> None:
    assert sweep(tmp_path, f"report_to: {given}").report_to == read


def test_an_unknown_tracker_and_one_that_is_not_installed_are_told_with_their_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"line 2, report_to\.0: must be 'tensorboard', .* but got 'comet'"):
        sweep(tmp_path, "report_to: comet")
    monkeypatch.setattr(trackers, "find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=r"line 2, report_to: wandb needs .* pip install 'raypeft\[wandb\]'"):
        sweep(tmp_path, "report_to: wandb")


def test_a_trackers_secrets_stand_in_no_file_that_raypeft_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_API_KEY", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "planted-s3cret")
    assert report("tensorboard", tmp_path, ("a1", [*TRIAL, ended()])) == []
    held = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert held and not any(b"planted-s3cret" in each for each in held)


class Noting(Broken):
    """Notes what it is told at the end of a trial."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: dict[str, Any] = {}

    def end(self, run: Run, status: str, scores: Mapping[str, float]) -> None:
        self.ends[run.trial] = status, dict(scores)


def test_a_trial_that_is_started_again_goes_on_in_its_run() -> None:
    noting = Noting()
    with Reporter("wandb", lambda: noting, print) as each:
        for event in (TRIAL[0], TRIAL[0], Finished({"status": "ok", "error": None, "train_seconds": 7.0})):
            each.hear("a1", event)
    assert noting.seen == ["a1"] and noting.ends["a1"][1] == {"train_seconds": 7.0}


def test_mlflow_calls_failed_what_is_a_fault_and_a_new_status_that_is_none_finished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(STATUSES, "skimmed", Status("skimmed", is_fault=False))
    words = {status: in_its_words(status) for status in STATUSES}
    assert words.pop("lost") == words.pop("pruned") == "KILLED"
    assert words == {"ok": "FINISHED", "generated": "FINISHED", "skimmed": "FINISHED",
                     "oom": "FAILED", "infeasible": "FAILED", "failed": "FAILED"}  # fmt: skip


def test_a_trial_that_another_command_runs_is_left_to_that_ones_tracker() -> None:
    noting = Noting()
    with Reporter("mlflow", lambda: noting, print) as each:
        each.hear("a1", TRIAL[0])
        each.hear("a1", Finished({"status": "elsewhere", "error": None}))
    assert noting.seen == ["a1"] and noting.ends == {}
