"""Where a trial's checkpoints are, what must be the same for them to be used, and when they are removed."""

from functools import partial

import pytest
import torch

from raypeft.events import Noted, Step
from raypeft.models.loading import BaseCache
from raypeft.records import Example, Prompt
from raypeft.results.store import ResultStore
from raypeft.stopping import Stop, Stopped
from raypeft.study.config import SweepConfig
from raypeft.study.options import RunOptions
from raypeft.study.trials import make_trial
from raypeft.training import recipe
from raypeft.training.recipe import Recipe
from raypeft.trial import checkpoints
from raypeft.trial.checkpoints import code_hash, data_hash
from raypeft.trial.columns import tables
from raypeft.trial.context import TrialContext
from raypeft.trial.provenance import versions
from raypeft.trial.run import run_and_record

FIELDS = {
    "model": "toy",
    "dataset": "toy",
    "limit": 8,
    "decode": False,
    "tuning_method": "lora",
    "num_train_epochs": 2,
    "per_device_train_batch_size": 4,
    "eval_every_epochs": 2,
}


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "results"), tables())


@pytest.fixture(scope="module")
def bases():
    return BaseCache()


def run(store, bases, stop_at=None, options=None, **fields):
    """A trial's row and what it noted; it is told to stop at a step."""
    noted, stop = [], Stop()

    def listener(event):
        if isinstance(event, Noted):
            noted.append(event.text)
        if isinstance(event, Step) and event.step == stop_at:
            stop.number = 10

    trial = make_trial(FIELDS | fields)
    options = options or RunOptions()
    return run_and_record(TrialContext(trial, "s", store, bases, options=options, listener=listener, stop=stop)), noted


def test_a_stopped_trial_has_no_row_and_one_checkpoint_which_goes_when_its_row_stands(store, bases):
    with pytest.raises(Stopped):
        run(store, bases, stop_at=3)
    (name,) = store.names("checkpoints")
    assert store.names(name) == [f"{name}/training.pt"]
    assert store.read_rows() == []
    row, noted = run(store, bases)
    assert (row["status"], row["resumed_from_step"]) == ("ok", 3)
    assert noted == ["the training goes on from its checkpoint at step 3 of 4"]
    assert store.read_rows()[0]["resumed_from_step"] == 3
    assert store.names("checkpoints") == []
    assert run(store, bases)[0]["resumed_from_step"] is None, "a finished trial that runs again begins anew"


def test_the_time_of_a_trial_counts_what_was_trained_before_an_interruption(store, bases):
    with pytest.raises(Stopped):
        run(store, bases, stop_at=3)
    (name,) = store.names("checkpoints")
    with store.reading(f"{name}/training.pt") as stream:
        state = torch.load(stream, weights_only=True)
    state["result"] |= {"train_seconds": 3600.0, "eval_seconds": 60.0}
    with store.writing(f"{name}/training.pt") as stream:
        torch.save(state, stream)
    row, _ = run(store, bases)
    assert row["resumed_from_step"] == 3
    assert row["total_seconds"] > row["train_seconds"] + row["eval_seconds"] > 3660


def test_the_last_checkpoint_is_kept_if_it_is_asked_for_and_no_trial_goes_on_from_it(store, bases):
    options = RunOptions(keep_checkpoints="last", checkpoint_minutes=0)
    row, _ = run(store, bases, options=options)
    (kept,) = store.names("checkpoints")
    assert kept == f"checkpoints/{row['id']}.last.pt"
    with store.reading(kept) as stream:
        assert torch.load(stream, weights_only=True)["is_trained"]
    assert run(store, bases, options=options)[0]["resumed_from_step"] is None


def test_a_failed_trial_keeps_its_checkpoint_for_the_next_try(store, bases, monkeypatch):
    def fails(*_):
        raise RuntimeError("after training")

    with monkeypatch.context() as patch:
        patch.setattr("raypeft.trial.tune.record_test_losses", fails)
        assert run(store, bases, options=RunOptions(checkpoint_minutes=0))[0]["status"] == "failed"
    row, _ = run(store, bases)
    assert (row["status"], row["resumed_from_step"]) == ("ok", 4)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("code_hash", "its code is"),
        ("data_hash", "its data is"),
        ("versions", "its torch_version is 1.0"),
    ],
)
def test_a_checkpoint_of_other_code_data_or_versions_is_left_out_with_the_reason(store, bases, monkeypatch, name, told):
    others = {"versions": lambda: {**versions(), "torch_version": "1.0"}}
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(checkpoints, name, others.get(name, lambda *_: "0123456789ab"))
        run(store, bases, stop_at=3)
    row, noted = run(store, bases)
    assert row["resumed_from_step"] is None
    assert noted[0].startswith(f"a checkpoint is left out: {told}")


def test_a_checkpoint_of_another_default_is_left_out_though_the_id_is_the_same(store, bases):
    with pytest.raises(Stopped):
        run(store, bases, stop_at=3)
    name = f"checkpoints/{make_trial(FIELDS).id}/training.pt"
    with store.reading(name) as stream:
        state = torch.load(stream, weights_only=True)
    state["made_by"]["lora_r"] = "8"
    with store.writing(name) as stream:
        torch.save(state, stream)
    row, noted = run(store, bases)
    assert row["resumed_from_step"] is None
    assert noted == ["a checkpoint is left out: its lora_r is 8 where it is now 16; the training starts anew"]


def test_a_training_goes_on_in_the_recipe_of_its_checkpoint_though_less_memory_is_free_now(store, bases):
    with pytest.raises(Stopped):
        run(store, bases, stop_at=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "Recipe", partial(in_passes_of_one, Recipe))
        row, noted = run(store, bases)
    assert (row["status"], row["resumed_from_step"], row["micro_batch_size"]) == ("ok", 3, 4), noted


def in_passes_of_one(make, *arguments, **fields):
    return make(*arguments, **fields | {"micro_batch_size": 1})


def test_data_differ_in_their_hash_by_tokens_ids_and_padding():
    prompt = Prompt(Example("1", "a", "b"), [5, 6], [7])
    others = [Prompt(Example("2", "a", "b"), [5, 6], [7]), Prompt(Example("1", "a", "b"), [5], [6, 7])]
    assert len({data_hash([each]) for each in (prompt, *others)}) == 3
    assert data_hash([prompt]) == data_hash([Prompt(Example("1", "x", "y"), [5, 6], [7])])


def test_code_is_known_by_its_wings():
    assert code_hash("training") != code_hash("training", "methods")


def test_how_often_is_saved_changes_no_id():
    config = SweepConfig(name="a", grids=[{}], checkpoint_minutes=1, keep_checkpoints="last", stall_minutes=3)
    options = config.run_options()
    assert (options.checkpoint_minutes, options.keep_checkpoints, options.stall_minutes) == (1, "last", 3)
    fields = {"model": "toy", "dataset": "toy", "limit": 16, "decode": False, "tuning_method": "lora"}
    assert make_trial({**fields, "num_train_epochs": 2}).id == "52aaa885da"
