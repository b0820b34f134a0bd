"""One trial, end to end, on the embedded study: its row, its files, its faults."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from raypeft import trial as trial_module
from raypeft.config import Resources, trial_columns
from raypeft.data import DATASETS
from raypeft.loading import BaseCache
from raypeft.models import TOY_FOLDER
from raypeft.plan import make_trial
from raypeft.results import ResultStore
from raypeft.trial import limited, main, run_and_record

QUICK = {"model": "toy", "dataset": "toy", "limit": 12, "max_new_tokens": 8, "num_beams": 3, "num_return_sequences": 2}
RESOURCES = Resources(cpus_per_trial=2)


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "results"), trial_columns())


def quick_trial(tuning_method, **fields):
    trains = {"num_train_epochs": 1, "learning_rate": 3e-3} if tuning_method in ("lora", "full") else {}
    return make_trial(QUICK | {"tuning_method": tuning_method} | trains | fields)


def run(trial, store, bases=None):
    return run_and_record(trial, "test", store, bases or BaseCache(), RESOURCES)


def scores(row):
    return {name: row[name] for name in row if name.startswith(("em_", "codebleu", "best_", "ngram"))}


@pytest.mark.parametrize("tuning_method", ["zero_shot", "icl", "lora", "full"])
def test_every_method_ends_in_a_row_that_says_ok_with_its_fields_and_scores(store, tuning_method):
    trial = quick_trial(tuning_method)
    row = run(trial, store)
    assert row["status"] == "ok", row["error"]
    (stored,) = store.read_rows()
    assert stored["id"] == trial.id
    assert stored["tuning_method"] == tuning_method
    assert 0 <= stored["em_at_1"] <= stored["em_at_2"] <= 1
    assert stored["em_at_10"] is None, "two candidates have no EM@10"
    assert stored["test_examples"] == 12
    assert (stored["best_eval_loss"] is not None) == (tuning_method in ("lora", "full"))
    assert (stored["trainable_params"] > 0) == (tuning_method in ("lora", "full"))


def test_the_saved_adapter_is_the_tuned_model_to_plain_peft(store, monkeypatch):
    spoken = {}
    real = trial_module.answer

    def listening(trial, dataset, model, base, *rest):
        ids = torch.tensor([[5, 6, 7, 8]])
        spoken["logits"] = model.eval()(input_ids=ids).logits.detach()
        return real(trial, dataset, model, base, *rest)

    monkeypatch.setattr(trial_module, "answer", listening)
    trial = quick_trial("lora")
    assert run(trial, store)["status"] == "ok"
    folder = Path(store.root) / "adapters" / trial.id
    assert json.loads((folder / "adapter_config.json").read_text())["peft_type"] == "LORA"
    assert any(
        tensor.any() for name, tensor in load_file(folder / "adapter_model.safetensors").items() if "lora_B" in name
    )
    base = AutoModelForCausalLM.from_pretrained(TOY_FOLDER, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(base, folder).eval()
    torch.testing.assert_close(loaded(input_ids=torch.tensor([[5, 6, 7, 8]])).logits, spoken["logits"])


def test_candidates_and_evaluations_are_kept_by_trial(store):
    trial = quick_trial("lora")
    run(trial, store)
    candidates = store.read_rows("candidates", trial.id)
    assert len(candidates) == 12 * 2
    assert {candidate["rank"] for candidate in candidates} == {0, 1}
    assert all(candidate["reference"] for candidate in candidates)
    evaluations = store.read_rows("evals", trial.id)
    assert [evaluation["step"] for evaluation in evaluations] == [1, 2]


def test_a_trial_in_a_used_process_gives_the_numbers_of_a_fresh_one(store, tmp_path):
    trial = quick_trial("lora", seed=3)
    fresh = run(trial, store)
    bases = BaseCache()
    for other in (quick_trial("full"), quick_trial("lora", lora_r=2), quick_trial("icl")):
        run(other, ResultStore(str(tmp_path / "other"), trial_columns()), bases)
    assert scores(run(trial, store, bases)) == scores(fresh)


def test_trials_of_one_model_load_it_once_unless_its_weights_were_changed(store, monkeypatch):
    from raypeft import loading

    loads = []
    real = loading.load_base
    monkeypatch.setattr(loading, "load_base", lambda *a, **k: loads.append(a[0]) or real(*a, **k))
    bases = BaseCache()
    for tuning_method in ("zero_shot", "lora", "icl"):
        run(quick_trial(tuning_method), store, bases)
    assert loads == ["toy"]


def test_a_dataset_without_its_columns_is_a_failed_row_that_names_them(store, tmp_path):
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    row = run(quick_trial("zero_shot", dataset="conala", dataset_path=str(tmp_path)), store)
    assert row["status"] == "failed"
    assert "must have the columns nl, cmd but lacks nl, cmd" in row["error"]
    assert store.read_rows()[0]["error"] == row["error"]


def test_a_prompt_longer_than_the_context_is_a_failed_row_that_names_the_example(store, tmp_path):
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"nl": "very " * 5000, "cmd": "x"}) + "\n")
    row = run(quick_trial("zero_shot", dataset="conala", dataset_path=str(tmp_path)), store)
    assert row["status"] == "failed"
    assert "must fit the model's context of" in row["error"]
    assert "example 0 needs" in row["error"]


def test_after_a_failed_trial_the_next_one_runs(store):
    bases = BaseCache()
    assert run(quick_trial("lora", target_modules=("nothing",)), store, bases)["status"] == "failed"
    assert run(quick_trial("lora"), store, bases)["status"] == "ok"


def test_running_out_of_gpu_memory_is_a_finding_with_its_own_status(store, monkeypatch):
    def full_card(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trial_module, "answer", full_card)
    row = run(quick_trial("zero_shot"), store)
    assert row["status"] == "oom"
    assert store.finished() == {row["id"]}


def test_a_limit_keeps_the_same_examples_whatever_the_trials_seed():
    splits = DATASETS["toy"].load(None, None)
    kept = [limited(splits, quick_trial("zero_shot", seed=seed)) for seed in (1, 2)]
    assert kept[0] == kept[1]
    assert {split: len(examples) for split, examples in kept[0].items()} == dict.fromkeys(splits, 12)
    assert limited(splits, quick_trial("zero_shot", limit=None, test_limit=5))["train"] == splits["train"]


def test_the_command_runs_one_trial_of_a_sweep_file(tmp_path, capsys):
    arguments = ["quickstart", "--index", "0", "--results", str(tmp_path), "defaults.limit=4", "defaults.num_beams=2"]
    assert main([*arguments, "defaults.num_return_sequences=2", "defaults.max_new_tokens=4"]) == 0
    assert "toy toy zero_shot" in capsys.readouterr().out
    assert len(list((tmp_path / "quickstart" / "trials").glob("*.parquet"))) == 1


def test_an_index_beyond_the_trials_ends_with_2_and_the_range(capsys):
    assert main(["quickstart", "--index", "99"]) == 2
    assert "--index must be 0 to" in capsys.readouterr().err


def test_the_command_on_a_finished_trial_keeps_the_old_row_aside(tmp_path):
    arguments = ["quickstart", "--results", str(tmp_path), "defaults.limit=4", "defaults.max_new_tokens=4"]
    assert main(arguments) == main(arguments) == 0
    shutil.rmtree(tmp_path / "quickstart" / "trials")
    assert len(list((tmp_path / "quickstart" / "superseded").rglob("trials/*.parquet"))) == 1
