"""Trials that train alike train once, and give to the last digit what they give with trainings of their own."""

import json
import threading
import time

import pytest

from raypeft.events import Noted, Step
from raypeft.models.loading import BaseCache
from raypeft.results.attempts import version
from raypeft.results.leases import leased
from raypeft.results.store import ResultStore
from raypeft.runner.observers import listener_to
from raypeft.runner.observers.evaluations import EvaluationWriter
from raypeft.stopping import Stop, Stopped
from raypeft.study.checking import load_config
from raypeft.study.options import RunOptions
from raypeft.study.plan import plan_trials
from raypeft.study.trainings import shared_trainings
from raypeft.trial import shared_training
from raypeft.trial.columns import tables
from raypeft.trial.context import TrialContext
from raypeft.trial.run import run_and_record
from raypeft.trial.shared_training import SharedTraining

SWEEP = """
name: joint
defaults: {model: toy, limit: 12, max_new_tokens: 4, num_beams: 2, num_return_sequences: 2}
datasets: {own: {path: own.jsonl, prompt: q, answer: a}}
grids:
  - dataset: {mix: [toy, own]}
    tuning_method: {name: lora, num_train_epochs: 3, learning_rate: 3e-2, lora_dropout: 0.2}
"""
OF_ITS_OWN = ("seconds", "_per_second", "started_at", "resumed_from_step", "trained_by", "_gb")


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "results"), tables())


@pytest.fixture(scope="module")
def bases():
    return BaseCache()


@pytest.fixture
def parts(tmp_path):
    """Two trials that train on a mix of the toy dataset and one of the user's own, one tested on each."""
    rows = [{"q": f"double {n}", "a": f"print({n} + {n})"} for n in range(40)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "joint.yaml").write_text(SWEEP)
    return plan_trials(load_config(tmp_path / "joint.yaml"))


def shared_by(trial, trials, store, driver="d"):
    training = shared_trainings(trials)[trial.id]
    return SharedTraining(training, store, driver, {each.id: None for each in trials if each.id != trial.id})


def run(trial, store, bases, shared=None, stop_at=None):
    """The trial's row, its steps, and what it noted; it is told to stop at a step."""
    steps, noted, stop = [], [], Stop()

    def listener(event):
        if isinstance(event, Noted):
            noted.append(event.text)
        if isinstance(event, Step):
            steps.append(event.step)
            if event.step == stop_at:
                stop.number = 10

    hears = listener_to(trial.id, EvaluationWriter(store))

    def both(event):
        listener(event)
        hears(event)

    context = TrialContext(trial, "s", store, bases, options=RunOptions(), listener=both, stop=stop, shared=shared)
    return run_and_record(context), steps, noted


def results(store, trial):
    """All that is stored of a trial, but for times and for who trained."""
    rows = {table: store.read_rows(table, trial.id) for table in ("trials", "evals", "candidates", "example_scores")}
    return {table: [{name: value for name, value in row.items() if not name.endswith(OF_ITS_OWN)} for row in found]
            for table, found in rows.items()}  # fmt: skip


def test_trials_that_share_a_training_train_once_and_have_the_results_of_trainings_of_their_own(
    store, tmp_path, parts, bases
):
    apart = ResultStore(str(tmp_path / "apart"), tables())
    steps, rows = [], []
    for trial in parts:
        assert len(run(trial, apart, bases)[1]) == 9
        row, its_steps, _ = run(trial, store, bases, shared_by(trial, parts, store))
        rows.append(row)
        steps.append(len(its_steps))
    assert steps == [9, 0], "the second one trains no step"
    assert rows[0]["best_step"] != rows[0]["steps"], "the last weights are not the best, and both are needed"
    assert [row["trained_by"] for row in rows] == [None, parts[0].id]
    assert rows[1]["train_seconds"] == rows[0]["train_seconds"], "its cost is that of the training"
    assert rows[1]["total_seconds"] > rows[1]["train_seconds"] + rows[1]["eval_seconds"]
    for trial in parts:
        assert results(store, trial) == results(apart, trial)
        assert results(store, trial)["example_scores"] and results(store, trial)["candidates"]


def test_what_is_saved_of_a_training_goes_with_the_last_trial_that_needs_it(store, parts):
    first, second = parts
    shared = shared_by(second, parts, store)
    store.put(f"{shared.folder}/training.pt", b"weights")
    shared.drop()
    assert store.names("checkpoints") == [shared.folder], "the first one has not run"
    store.write_rows("trials", first.id, [{"id": first.id, "status": "lost"}])
    shared.drop()
    assert store.names("checkpoints") == [shared.folder], "it will run again"
    store.write_rows("trials", first.id, [{"id": first.id, "status": "failed"}])
    shared.drop()
    assert store.names("checkpoints") == [shared.folder], "it may be retried"
    store.write_rows("trials", first.id, [{"id": first.id, "status": "ok"}])
    shared.drop()
    assert store.names("checkpoints") == []


def test_a_trial_goes_on_from_where_another_was_stopped(store, parts, bases):
    first, second = parts
    with pytest.raises(Stopped):
        run(first, store, bases, shared_by(first, parts, store), stop_at=4)
    row, steps, noted = run(second, store, bases, shared_by(second, parts, store))
    assert (row["status"], row["resumed_from_step"], row["trained_by"]) == ("ok", 4, None)
    assert steps == [5, 6, 7, 8, 9]
    row, steps, noted = run(first, store, bases, shared_by(first, parts, store))
    assert (row["status"], row["trained_by"], steps) == ("ok", second.id, [])
    assert noted == [f"the training is that of {second.id}"]
    assert store.names("checkpoints") == []


def test_a_trial_that_is_run_again_has_not_run_yet_though_its_old_row_stands(store, parts):
    first, second = parts
    store.write_rows("trials", second.id, [{"id": second.id, "status": "ok"}])
    seen = version(store.read_rows("trials", second.id)[0])
    training = shared_trainings(parts)[first.id]
    assert SharedTraining(training, store, "d", {second.id: seen}).is_awaited
    assert not SharedTraining(training, store, "d", {second.id: None}).is_awaited


def test_a_trial_waits_for_the_training_of_another_command_and_says_that_it_lives(store, parts, monkeypatch):
    monkeypatch.setattr(shared_training, "LOOK", 0.01)
    first, second = parts
    mine, order, alive, begun = shared_by(second, parts, store), [], [], threading.Event()

    def other_command():
        with shared_by(first, parts, store, "other").turn(first.id, Stop(), lambda: None):
            begun.set()
            while len(alive) < 3:
                time.sleep(0.01)
            order.append("other")

    other = threading.Thread(target=other_command)
    other.start()
    begun.wait()
    with mine.turn(second.id, Stop(), lambda: alive.append(1)):
        order.append("mine")
    other.join()
    assert order == ["other", "mine"]


def test_a_trial_that_waits_can_be_stopped(store, parts):
    mine, stop = shared_by(parts[0], parts, store), Stop()
    stop.number = 15
    with leased(store, f"trainings/{mine.id}", "other"), pytest.raises(Stopped), mine.turn("a", stop, lambda: None):
        pytest.fail("it must not train beside the other")
