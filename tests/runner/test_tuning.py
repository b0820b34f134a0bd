"""What the command makes of the events of Ray Tune's trials."""

from pathlib import Path
from types import SimpleNamespace

from raypeft.events import Event, Finished, to_plain
from raypeft.results.store import ResultStore
from raypeft.runner.observers import Observer
from raypeft.runner.run import SweepRun
from raypeft.runner.tuning import Watcher
from raypeft.study.options import Resources, RunOptions
from raypeft.study.trials import make_trial
from raypeft.trial.columns import tables


class Heard(Observer):
    def __init__(self) -> None:
        self.events: list[Event] = []

    def hear(self, trial_id: str, event: Event) -> None:
        self.events.append(event)


def test_a_trial_whose_process_dies_after_its_end_keeps_its_row_and_is_not_started_again(tmp_path: Path) -> None:
    store, heard = ResultStore(str(tmp_path), tables()), Heard()
    trial = make_trial({"model": "toy", "dataset": "toy", "tuning_method": "zero_shot"})
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
