"""The model of a finished trial answers as it did in the trial."""

import json
from pathlib import Path

import pytest

from raypeft.cli.try_out import main
from raypeft.data.declared.dataset import settled
from raypeft.data.declared.declaration import Declaration
from raypeft.models.loading import BaseCache
from raypeft.results.store import ResultStore
from raypeft.study.options import RunOptions
from raypeft.study.trials import make_trial
from raypeft.trial.columns import tables
from raypeft.trial.context import TrialContext
from raypeft.trial.examples import load
from raypeft.trial.exporting import export
from raypeft.trial.run import run_and_record
from raypeft.trial.trying import Asked

QUICK = {
    "model": "toy",
    "dataset": "toy",
    "limit": 12,
    "test_limit": 3,
    "max_new_tokens": 8,
    "num_beams": 3,
    "num_return_sequences": 2,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ResultStore:
    store = ResultStore(str(tmp_path_factory.mktemp("results") / "small"), tables())
    bases = BaseCache()
    for name, fields in {
        "lora": {"learning_rate": 0.002, "num_train_epochs": 2, "eval_every_epochs": 2}, "icl": {"num_shots": 2},
        "full": {"num_train_epochs": 1, "eval_every_epochs": 1}, "ia3": {"num_train_epochs": 1, "limit": 4},
    }.items():  # fmt: skip
        trial = make_trial({**QUICK, "tuning_method": name, **fields})
        options = RunOptions(keep="nothing" if name == "ia3" else "model")
        assert run_and_record(TrialContext(trial, "small", store, bases, options=options))["status"] == "ok"
    return store


def id_of(store: ResultStore, method: str) -> str:
    return next(str(row["id"]) for row in store.read_rows() if row["tuning_method"] == method)


@pytest.mark.parametrize("method", ["lora", "icl", "full"])
def test_an_instruction_of_the_test_split_gets_the_stored_candidates(store: ResultStore, method: str) -> None:
    asked = Asked.of(store, id_of(store, method))
    test = load(asked.context.trial)[0]["test"][:3]
    stored = store.read_rows("candidates", id_of(store, method))
    by_example = {each.id: [row["text"] for row in stored if row["example_id"] == each.id] for each in test}
    assert asked.answers([each.nl for each in test]) == list(by_example.values())


def test_fences_that_a_trial_had_learned_stay_in_its_answers(store: ResultStore, tmp_path: Path) -> None:
    fenced = ResultStore(str(tmp_path / "fenced"), tables())
    row = next(row for row in store.read_rows() if row["tuning_method"] == "icl")
    assert row["learns_fences"] is False
    for learned in (None, False, True):
        fenced.write_rows("trials", row["id"], [row | {"learns_fences": learned}])
        assert Asked.of(fenced, row["id"]).context.learns_fences == bool(learned)


def test_the_base_is_as_it_was_after_a_question(store: ResultStore) -> None:
    asked = Asked.of(store, id_of(store, "lora"))
    before = asked.base.model.state_dict()["lm_head.weight"].clone()
    asked.answers(["sort `x`"])
    assert asked.base.model.state_dict().keys() >= {"lm_head.weight"}
    assert asked.base.model.state_dict()["lm_head.weight"].equal(before)


def test_a_trained_model_is_asked_and_exported_after_its_data_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    rows = [{"q": f"task {number}", "a": f"code {number}"} for number in range(20)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = settled("mine", Declaration(path=str(file), prompt="q", answer="a"), tmp_path)
    store = ResultStore(str(tmp_path / "results" / "small"), tables())
    fields = {"model": "toy", "dataset": "mine", "num_beams": 1, "num_return_sequences": 1}
    trained, shown = (make_trial({**fields, **more}, {"mine": data})
                      for more in ({"tuning_method": "lora", "num_train_epochs": 1, "eval_every_epochs": 1},
                                   {"tuning_method": "icl", "num_shots": 1}))  # fmt: skip
    for trial in (trained, shown):
        assert run_and_record(TrialContext(trial, "small", store))["status"] == "ok"
    before = Asked.of(store, trained.id)
    answers = before.answers(["task 21"])
    file.unlink()
    after = Asked.of(store, trained.id)
    assert after.answers(["task 21"]) == answers
    (row,) = (row for row in store.read_rows() if row["id"] == trained.id)
    assert after.context.max_new_tokens == row["max_new_tokens_used"] < data.longest_answer * 2
    assert "its tokenizer and a model card" in export(store, trained.id, tmp_path / "exported")
    with pytest.raises(ValueError, match=r"data\.jsonl"):
        Asked.of(store, shown.id).answers(["task 21"])


def test_a_trial_that_decoded_nothing_has_room_for_the_longest_answer(tmp_path: Path) -> None:
    store = ResultStore(str(tmp_path / "small"), tables())
    trial = make_trial({"model": "toy", "dataset": "toy", "limit": 4, "decode": False, "tuning_method": "lora",
                        "num_train_epochs": 1})  # fmt: skip
    assert run_and_record(TrialContext(trial, "small", store))["status"] == "ok"
    assert Asked.of(store, trial.id).context.max_new_tokens > 0


def test_the_command_prints_the_answers(store: ResultStore, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(Path(store.url))
    assert main([place, "--trial", id_of(store, "lora")[:6], "sort the list `x`", "--candidates", "2"]) == 0
    assert capsys.readouterr().out.count("# ") == 2


def test_weights_that_were_not_kept_and_unknown_trials_are_told(
    store: ResultStore, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(Path(store.url))
    assert main([place, "--trial", id_of(store, "ia3"), "x"]) == 2
    assert "must have kept its weights but has not; `keep: model`" in capsys.readouterr().err
    assert main([place, "--trial", "nothing", "x"]) == 2
    assert "--trial must be the id of one trial of" in capsys.readouterr().err
