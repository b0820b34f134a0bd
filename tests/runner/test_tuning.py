"""What the command makes of the events of Ray Tune's trials."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray import tune
from simulated_cluster import Simulated

from raypeft.events import Event, Finished, Noted, to_plain
from raypeft.results.attempts import version
from raypeft.results.store import ResultStore
from raypeft.runner.nodes import GIVE_UP, Waiting
from raypeft.runner.observers import Observer
from raypeft.runner.pulse import RayLost
from raypeft.runner.run import SweepRun
from raypeft.runner.tuning import Watcher, spoilt_process
from raypeft.study.config import Trial
from raypeft.study.options import Resources, RunOptions
from raypeft.study.trials import make_trial
from raypeft.trial.columns import tables


@pytest.fixture
def trial() -> Trial:
    return make_trial({"model": "toy", "dataset": "toy", "tuning_method": "zero_shot"})


class Heard(Observer):
    def __init__(self) -> None:
        self.events: list[Event] = []

    def hear(self, trial_id: str, event: Event) -> None:
        self.events.append(event)


def test_a_trial_whose_process_dies_after_its_end_keeps_its_row_and_is_not_started_again(
    tmp_path: Path, trial: Trial
) -> None:
    store, heard = ResultStore(str(tmp_path), tables()), Heard()
    watcher = Watcher(SweepRun("s", str(tmp_path), Resources(), RunOptions()), [trial], store, [heard])
    row = {"id": trial.id, **trial.fields, "status": "failed", "error": "CUDA error: device-side assert triggered"}
    store.write_rows("trials", trial.id, [row])
    of_tune = SimpleNamespace(config={"planned": {"id": trial.id, "label": "a"}}, max_failures=2)
    watcher.on_trial_start(0, [], of_tune)
    watcher.on_trial_result(0, [], of_tune, {"events": [to_plain(Finished(row))]})
    watcher.on_trial_error(0, [], of_tune)
    assert of_tune.max_failures == 0, "Tune would start it again"
    assert [type(each).__name__ for each in heard.events] == ["Started", "Finished"]
    assert [each["error"] for each in store.read_rows()] == [row["error"]]


def test_a_process_that_holds_memory_or_a_broken_context_takes_no_other_trial(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    paged = make_trial({"model": "toy", "dataset": "toy", "tuning_method": "full", "optim": "paged_adamw_8bit"})
    assert spoilt_process(trial) is None
    assert "paged_adamw_8bit leaves GPU memory behind" in str(spoilt_process(paged))
    monkeypatch.setattr("raypeft.runner.tuning.is_broken", lambda: True)
    assert "broken the CUDA context" in str(spoilt_process(trial))


def test_a_rerun_whose_process_dies_is_told_as_lost_though_the_earlier_result_stays(
    tmp_path: Path, trial: Trial
) -> None:
    store, heard = ResultStore(str(tmp_path), tables()), Heard()
    row = {"id": trial.id, **trial.fields, "status": "ok"}
    store.write_rows("trials", trial.id, [row])
    run = SweepRun("s", str(tmp_path), Resources(), RunOptions(), seen={trial.id: version(row)})
    of_tune = SimpleNamespace(config={"planned": {"id": trial.id, "label": "a"}}, max_failures=2)
    Watcher(run, [trial], store, [heard]).on_trial_error(0, [], of_tune)
    (told,) = heard.events
    assert isinstance(told, Finished) and told.row["status"] == "lost" and "process died" in told.row["error"]
    assert [each["status"] for each in store.read_rows()] == ["ok"]


def test_a_trial_that_nodes_refuse_has_not_failed_and_goes_to_others_and_each_node_says_once_why(
    tmp_path: Path, trial: Trial
) -> None:
    heard = Heard()
    watcher = Watcher(
        SweepRun("s", str(tmp_path), Resources(), RunOptions()), [trial], ResultStore(str(tmp_path), tables()), [heard]
    )
    watcher.waiting = Waiting({"CPU": 1}, ["small"])
    of_tune = SimpleNamespace(
        config={"planned": {"id": trial.id, "label": "a"}},
        max_failures=0,
        placement_group_factory=tune.PlacementGroupFactory([{"CPU": 1}]),
    )
    for failures, node in enumerate(("late", "later", "later"), start=1):
        watcher.on_trial_start(0, [], of_tune)
        refusal = Noted(f"{node} cannot run trials: rows.jsonl is not there")
        watcher.on_trial_result(0, [], of_tune, {"refused_by": node, "events": [to_plain(refusal)]})
        assert of_tune.max_failures == failures, "as many as Tune counts by then"
        watcher.on_trial_recover(0, [], of_tune)
    asked = tune.PlacementGroupFactory(
        [{"CPU": 1}], bundle_label_selector=[{"ray.io/node-id": "!in(late,later,small)"}]
    )
    assert of_tune.placement_group_factory == asked
    told = [each.text for each in heard.events if isinstance(each, Noted)]
    assert told == [f"{node} cannot run trials: rows.jsonl is not there" for node in ("late", "later")]


def test_a_node_that_has_refused_a_trial_is_none_that_trials_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [{"NodeID": "late", "Alive": True, "Resources": {"CPU": 8.0}}]
    waiting, now = Waiting({"CPU": 1}, ()), [1000.0]
    monkeypatch.setattr("raypeft.runner.nodes.time.monotonic", lambda: now[0])
    assert waiting.look(True, there) is None and waiting.is_there
    waiting.left_out.add("late")
    waiting.look(True, there)
    now[0] += GIVE_UP
    with pytest.raises(RayLost, match="no node that can take a trial"):
        waiting.look(True, there)


@pytest.mark.slow
@pytest.mark.cluster
def test_a_node_that_is_lost_and_comes_back_again_and_again_ends_a_trial_once_as_lost(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("""
name: s
max_failures: 1
defaults: {model: toy, dataset: toy}
grids:
  - {tuning_method: lora}
""")
    store = ResultStore(str(tmp_path / "results/s"), tables())

    def counted(status: str, attempts: int) -> None:
        rows = store.read_rows()
        assert [(row["status"], row["attempts"]) for row in rows] == [(status, attempts)]
        assert cluster.ran() == [rows[0]["id"]] * attempts

    with Simulated(tmp_path) as cluster:
        node = cluster.add("24")
        sweep = cluster.start_sweep(seconds=3)
        while sweep.poll() is None:
            cluster.until(partial(cluster.ran, node), sweep)
            cluster.lose(node)
            node = cluster.add("24")
        code, _, told = cluster.ended(sweep)
        assert code == 1 and told.count("it is started again") == 1, told
        counted("lost", 2)  # as max_failures has it
        code, _, told = cluster.ended(cluster.start_sweep(seconds=0.1))
        assert code == 0, told
        counted("ok", 3)
