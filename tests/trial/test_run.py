"""One trial, end to end, on the embedded study: its row, its files, its faults."""

import errno
import json
import shutil
import weakref
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from raypeft.analysis.score import score_again
from raypeft.cli.trial import main
from raypeft.data import DATASETS
from raypeft.decoding import beam_attention, generation, selfcheck
from raypeft.decoding.generation import batches
from raypeft.decoding.search import Decoder
from raypeft.methods import METHODS, Adapter
from raypeft.models.loading import BaseCache
from raypeft.models.table import TOY_FOLDER
from raypeft.results.store import ResultStore
from raypeft.runner.observers import listener_to
from raypeft.runner.observers.evaluations import EvaluationWriter
from raypeft.sandbox.records import OUTCOMES
from raypeft.study.checking import load_config
from raypeft.study.config import Trial
from raypeft.study.options import Resources, RunOptions, SandboxOptions
from raypeft.study.plan import plan_sweep
from raypeft.study.trials import make_trial
from raypeft.training import loop
from raypeft.training.loop import Training
from raypeft.training.step import Passes
from raypeft.trial import examples
from raypeft.trial import run as running
from raypeft.trial.columns import tables
from raypeft.trial.context import TrialContext
from raypeft.trial.declarations import prepare_store
from raypeft.trial.run import run_and_record
from raypeft.trial.tune import training_prompts
from scripts.model_classes import make

QUICK = {"model": "toy", "dataset": "toy", "limit": 12, "max_new_tokens": 8, "num_beams": 3, "num_return_sequences": 2}
RESOURCES = Resources(cpus_per_trial=2)


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "results"), tables())


@pytest.fixture(scope="module", autouse=True)
def cache_of_its_own(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def quick_trial(tuning_method, **fields):
    fields = {"embedding_model": "toy"} | fields
    trains = {"num_train_epochs": 1, "learning_rate": 3e-3} if tuning_method in ("lora", "full") else {}
    return make_trial(QUICK | {"tuning_method": tuning_method} | trains | fields)


BASES = BaseCache()
"""For tests to which it is all one whether the base is loaded before."""


def run(trial, store, bases=BASES):
    listener = listener_to(trial.id, EvaluationWriter(store))
    return run_and_record(TrialContext(trial, "test", store, bases, resources=RESOURCES, listener=listener))


def scores(row):
    named = {name: row[name] for name in row if name.startswith(("em_", "codebleu", "best_", "ngram"))}
    return {name: value for name, value in named.items() if value is not None}


SMALL = {"limit": 4, "max_new_tokens": 2}
"""For trials of which nothing but their end is looked at."""
MAIN = ("zero_shot", "icl", "rag", "lora", "full")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A store with one trial of each main method, and the rows that they ended with, by method."""
    store = ResultStore(str(tmp_path_factory.mktemp("finished") / "results"), tables())
    return store, {name: run(quick_trial(name), store) for name in MAIN}


@pytest.mark.parametrize("tuning_method", MAIN)
def test_every_method_ends_in_a_row_that_says_ok_with_its_fields_and_scores(finished, tuning_method):
    store, rows = finished
    row = rows[tuning_method]
    assert row["status"] == "ok", row["error"]
    assert len(store.read_rows()) == len(MAIN)
    (stored,) = (each for each in store.read_rows() if each["id"] == row["id"])
    assert stored["id"] == quick_trial(tuning_method).id
    assert stored["tuning_method"] == tuning_method
    assert 0 <= stored["em_at_1"] <= stored["em_at_2"] <= 1
    assert stored["em_at_10"] is None, "two candidates have no EM@10"
    assert stored["test_examples"] == 12
    assert (stored["best_eval_loss"] is not None) == (tuning_method in ("lora", "full"))
    assert (stored["trainable_params"] > 0) == (tuning_method in ("lora", "full"))


def test_the_saved_adapter_is_the_tuned_model_to_plain_peft(store, monkeypatch):
    spoken = {}
    real = running.answer

    def listening(context, model, *rest):
        ids = torch.tensor([[5, 6, 7, 8]])
        spoken["logits"] = model.eval()(input_ids=ids).logits.detach()
        return real(context, model, *rest)

    monkeypatch.setattr(running, "answer", listening)
    trial = quick_trial("lora", max_new_tokens=2)
    row = run(trial, store)
    assert (row["status"], row["adapter_reload_difference"]) == ("ok", pytest.approx(0, abs=1e-6))
    folder = Path(store.root) / "adapters" / trial.id
    assert json.loads((folder / "adapter_config.json").read_text())["peft_type"] == "LORA"
    assert any(
        tensor.any() for name, tensor in load_file(folder / "adapter_model.safetensors").items() if "lora_B" in name
    )
    base = AutoModelForCausalLM.from_pretrained(TOY_FOLDER, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(base, folder).eval()
    torch.testing.assert_close(loaded(input_ids=torch.tensor([[5, 6, 7, 8]])).logits, spoken["logits"])


def test_candidates_and_evaluations_are_kept_by_trial(finished):
    store, trial = finished[0], quick_trial("lora")
    candidates = store.read_rows("candidates", trial.id)
    assert len(candidates) == 12 * 2
    assert {candidate["rank"] for candidate in candidates} == {0, 1}
    assert all(candidate["reference"] for candidate in candidates)
    evaluations = store.read_rows("evals", trial.id)
    assert [evaluation["step"] for evaluation in evaluations] == [1, 2]


def test_a_trial_in_a_used_process_gives_the_numbers_of_a_fresh_one(store, finished):
    trial, fresh = quick_trial("lora"), finished[1]["lora"]
    bases = BaseCache()
    at_once = {"warmup_steps": 0}  # the first step changes the weights already
    for name, fields in (("full", at_once), ("lora", {"lora_r": 2, **at_once}), ("icl", {"num_shots": 2})):
        assert run(quick_trial(name, **SMALL, **fields), store, bases)["status"] == "ok"
    assert scores(run(trial, store, bases)) == scores(fresh)


def test_trials_of_one_model_load_it_once_unless_its_weights_were_changed(store, monkeypatch):
    from raypeft.models import loading

    loads = []
    real = loading.load_base
    monkeypatch.setattr(loading, "load_base", lambda *a, **k: loads.append(a[0]) or real(*a, **k))
    bases = BaseCache()
    for name, fields in (("zero_shot", {}), ("lora", {}), ("icl", {"num_shots": 2})):
        assert run(quick_trial(name, **SMALL, **fields), store, bases)["status"] == "ok"
    assert loads == ["toy"]


def test_a_dataset_without_its_columns_is_a_failed_row_that_names_them(store, tmp_path):
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    row = run(quick_trial("zero_shot", dataset="conala", dataset_path=str(tmp_path)), store)
    assert row["status"] == "failed"
    assert "must have the columns nl, cmd but lacks nl, cmd" in row["error"]
    assert store.read_rows()[0]["error"] == row["error"]


def test_prompts_that_are_all_longer_than_the_context_fail_the_trial_before_it_trains(store, tmp_path, monkeypatch):
    monkeypatch.setattr("raypeft.trial.run.tune", lambda *_: pytest.fail("it was trained"))
    row = run(quick_trial("lora", max_new_tokens=2048), store)
    assert row["status"] == "failed" and "must fit the model's context of 2048 tokens" in row["error"]


def test_a_test_prompt_longer_than_the_context_costs_its_example_and_not_the_trial(store, tmp_path):
    rows = [{"nl": "sort `x`", "cmd": "x"}, {"nl": "very " * 5000, "cmd": "y"}]
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    row = run(quick_trial("lora", dataset="conala", dataset_path=str(tmp_path)), store)
    assert row["status"] == "ok", row["error"]
    assert (row["test_too_long"], row["train_too_long"], row["validation_too_long"]) == (1, 1, 1)
    stored = store.read_rows("candidates", row["id"])
    assert {each["stop_reason"] for each in stored if each["example_id"] == "1"} == {"too_long"}
    assert not any(each["matches"] for each in stored if each["example_id"] == "1")
    assert len({each["example_id"] for each in store.read_rows("example_scores", row["id"])}) == 2


def test_a_prompt_longer_than_the_context_is_a_failed_row_that_names_the_example(store, tmp_path):
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"nl": "very " * 5000, "cmd": "x"}) + "\n")
    row = run(quick_trial("zero_shot", dataset="conala", dataset_path=str(tmp_path)), store)
    assert row["status"] == "failed"
    assert "must fit the model's context of" in row["error"]
    assert "example 0 needs" in row["error"]


LONG = [{"nl": f"{'very ' * 300}{row}", "cmd": f"x{row}"} for row in range(12)]


@pytest.fixture
def long_shots(tmp_path):
    """A folder whose training examples are so long that the toy model's context holds six of them."""
    (tmp_path / "data").mkdir()
    for split, rows in (("train", LONG), ("validation", LONG[:2]), ("test", [{"nl": "sort `x`", "cmd": "x"}] * 2)):
        (tmp_path / "data" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"dataset": "conala", "dataset_path": str(tmp_path / "data")}


@pytest.mark.parametrize("tuning_method", ["icl", "rag"])
def test_shots_that_do_not_fit_are_dropped_from_the_far_end_and_counted(store, long_shots, tuning_method):
    few, many = (run(quick_trial(tuning_method, num_shots=count, **long_shots), store) for count in (2, 12))
    assert (few["cut_examples"], many["cut_examples"]) == (0, 2), (few["error"], many["error"])
    assert many["max_prompt_tokens"] <= 2048 - 8
    near, all_kept = (store.read_rows("candidates", row["id"])[0] for row in (few, many))
    assert all_kept["dropped_shots"] == 12 - len(all_kept["shots"]) > 0
    if tuning_method == "rag":  # a random draw of two is not the beginning of a draw of twelve
        assert all_kept["shots"][:2] == near["shots"]


def test_shots_that_do_not_fit_fail_the_trial_where_that_is_asked_for(store, long_shots):
    row = run(quick_trial("rag", num_shots=12, on_overflow="error", **long_shots), store)
    assert row["status"] == "failed"
    assert "must fit the model's context of 2048 tokens" in row["error"]


def test_a_row_says_which_shots_were_found_and_by_what(finished):
    store, row = finished[0], finished[1]["rag"]
    assert row["embedding_resolved_revision"].startswith("words of the toy model@sha256:")
    assert row["retrieve_seconds"] > 0
    assert (row["cut_examples"], row["exact_duplicates"]) == (0, 0) and row["near_duplicates"] is not None
    lengths = [row[f"{name}_prompt_tokens"] for name in ("median", "p95", "max")]
    candidates = store.read_rows("candidates", row["id"])
    assert lengths == sorted(lengths) and lengths[-1] == max(each["prompt_tokens"] for each in candidates)
    known = {example.id for example in DATASETS["toy"].load(None, None)["train"]}
    assert all(len(set(each["shots"])) == 4 and set(each["shots"]) <= known for each in candidates)
    assert len({tuple(each["shots"]) for each in candidates}) > 1


def test_a_row_without_retrieval_says_nothing_of_it(finished):
    row = finished[1]["icl"]
    assert {row.get(name) for name in ("embedding_resolved_revision", "near_duplicates", "retrieve_seconds")} == {None}


def test_a_tuned_model_is_trained_without_the_shots_that_it_is_asked_with(store, finished):
    plain, shown = finished[1]["lora"], run(quick_trial("lora", num_shots=3, shot_source="retrieved"), store)
    assert shown["best_eval_loss"] == plain["best_eval_loss"]
    assert shown["mean_prompt_tokens"] > 2 * plain["mean_prompt_tokens"]
    assert len(store.read_rows("candidates", shown["id"])[0]["shots"]) == 3


@pytest.mark.parametrize("tuning_method", ["rag", "lora"])
def test_an_embedding_model_that_is_not_at_hand_fails_the_trial_before_it_trains(store, tuning_method):
    fields = {"num_shots": 2, "shot_source": "retrieved", "embedding_model": "nobody/no-such-model"}
    row = run(quick_trial(tuning_method, **fields), store)
    assert row["status"] == "failed" and row.get("train_seconds") is None
    assert "embedding_model must be toy, minilm, bm25, a folder, or the hub id of" in row["error"]
    assert "'nobody/no-such-model'" in row["error"]


def test_more_shots_than_training_examples_fail_the_trial(store):
    row = run(quick_trial("rag", num_shots=13), store)
    assert "num_shots must be at most the 12 training examples but got 13" in row["error"]


@pytest.mark.parametrize(
    ("tuning_method", "told", "stop"),
    [("icl", "### Response:\n```python\n", ("```",)), ("lora", "### Response:\n", ("<|endoftext|>", "</s>"))],
)
def test_under_paper_a_model_is_asked_as_the_papers_code_did(store, monkeypatch, tuning_method, told, stop):
    heard = {}

    def listening(model, tokenizer, prompts, search, *rest):
        heard.update(text=tokenizer.decode(prompts[0].prompt_ids), stop=search.stop)
        return batches(model, tokenizer, prompts, search, *rest)

    class Heard(Training):
        def __init__(self, model, train, recipe):
            heard.update(trained=train[0], recipe=recipe)
            super().__init__(model, train, recipe)

    monkeypatch.setattr(generation, "batches", listening)
    monkeypatch.setattr(loop, "Training", Heard)
    row = run(quick_trial(tuning_method, fidelity="paper"), store)
    assert row["status"] == "ok", row["error"]
    assert heard["text"].endswith(told) and heard["stop"] == stop
    assert heard["text"].startswith("\n### Instruction:") == (tuning_method == "lora")
    if tuning_method == "lora":
        assert heard["recipe"].as_paper
        asked, trained = (len(store.read_rows("candidates", row["id"])), heard["trained"])
        assert asked and len(trained) <= 128 and len(trained.answer_ids) <= 64


@pytest.mark.parametrize(("tuning_method", "base_stays"), [("full", False), ("lora", True)])
def test_tests_and_scores_begin_when_what_was_trained_is_gone(store, monkeypatch, tuning_method, base_stays):
    held, left, real_answer, real_judged, bases = [], [], running.answer, running.judged, BaseCache()

    def answer(context, model, *rest):
        held.extend(weakref.ref(each) for each in model.parameters() if each.requires_grad)
        return real_answer(context, model, *rest)

    def judged(*arguments):
        left.append((sum(each() is not None for each in held), bases.base is not None))
        return real_judged(*arguments)

    monkeypatch.setattr(running, "answer", answer)
    monkeypatch.setattr(running, "judged", judged)
    row = run(quick_trial(tuning_method, validation_limit=2), store, bases)
    assert row["status"] == "ok", row["error"]
    assert held and left == [(0, base_stays)]


def test_after_a_failed_trial_the_next_one_runs(store):
    bases = BaseCache()
    assert run(quick_trial("lora", target_modules=("nothing",), **SMALL), store, bases)["status"] == "failed"
    assert run(quick_trial("lora", **SMALL), store, bases)["status"] == "ok"


def test_running_out_of_gpu_memory_is_a_finding_with_its_own_status(store, monkeypatch):
    def full_card(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(running, "answer", full_card)
    row = run(quick_trial("zero_shot"), store)
    assert row["status"] == "oom"
    assert store.finished() == {row["id"]}


def test_the_row_says_by_what_a_training_came_to_its_end_whose_memory_ran_out(store, monkeypatch):
    sizes, original = [], Passes.__call__

    def call(self, batch, divisor):
        sizes.append(len(batch))
        if len(sizes) > 1 and len(batch) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return original(self, batch, divisor)

    monkeypatch.setattr(Passes, "__call__", call)
    row = run(quick_trial("lora"), store)
    assert row["status"] == "ok", row["error"]
    assert (row["gradient_checkpointing_used"], row["micro_batch_size"], row["steps"]) == (True, 2, 2)
    assert sizes == [8, 4, 4, 4, 2, 2]


def test_the_command_runs_one_trial_of_a_sweep_file(tmp_path, capsys):
    arguments = ["quickstart", "--index", "1", "--results", str(tmp_path), "defaults.limit=4", "defaults.num_beams=2"]
    assert main([*arguments, "defaults.num_return_sequences=2", "defaults.max_new_tokens=4"]) == 0
    assert "toy toy zero_shot" in capsys.readouterr().out
    assert len(list((tmp_path / "quickstart" / "trials").glob("*.parquet"))) == 1


def test_an_index_beyond_the_trials_ends_with_2_and_the_range(capsys):
    assert main(["quickstart", "--index", "99"]) == 2
    assert "--index must be 0 to" in capsys.readouterr().err


def test_the_command_on_a_finished_trial_keeps_the_old_row_aside(tmp_path):
    arguments = [
        "quickstart",
        "--index",
        "1",
        "--results",
        str(tmp_path),
        "defaults.limit=4",
        "defaults.max_new_tokens=4",
    ]
    assert main(arguments) == main(arguments) == 0
    shutil.rmtree(tmp_path / "quickstart" / "trials")
    assert len(list((tmp_path / "quickstart" / "superseded").rglob("trials/*.parquet"))) == 1


def test_candidates_that_were_only_generated_are_scored_later_to_the_same_numbers(store, finished):
    whole = finished[1]["icl"]
    row = run_and_record(TrialContext(quick_trial("icl"), "s", store, options=RunOptions(generate_only=True)))
    assert row["status"] == "generated"
    assert row.get("em_at_1") is None
    assert quick_trial("icl").id in store.finished()
    assert score_again(store) == 1
    (scored,) = store.read_rows()
    assert (scored["status"], scored["error"]) == ("ok", None)
    assert scores(scored) == scores(whole)


def test_a_trial_that_dies_while_it_generates_keeps_the_batches_it_had(store, monkeypatch):
    real, calls = Decoder.find, []

    def dies_at_the_second(*arguments):
        if not arguments[1][0].example.id.startswith("check"):
            calls.append(arguments)
        if len(calls) == 2:
            raise RuntimeError("killed")
        return real(*arguments)

    monkeypatch.setattr(Decoder, "find", dies_at_the_second)
    row = run_and_record(
        TrialContext(quick_trial("zero_shot"), "s", store, resources=Resources(generation_batch_size=2))
    )
    assert row["status"] == "failed"
    kept = pq.read_table(f"{store.root}/candidates.partial/{quick_trial('zero_shot').id}")
    assert len(set(kept.column("example_id").to_pylist())) == 2


@pytest.mark.parametrize(("most", "asked", "used"), [(12, 5, 5), (3, 5, 2), (12, 16, 16), (8, 16, 8)])
def test_the_row_says_how_many_examples_were_decoded_together(store, monkeypatch, most, asked, used):
    real = Decoder.find

    def find(*arguments):
        if len(arguments[1]) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(*arguments)

    monkeypatch.setattr(Decoder, "find", find)
    resources = Resources(generation_batch_size=asked)
    row = run_and_record(TrialContext(quick_trial("zero_shot"), "s", store, BASES, resources=resources))
    assert row["status"] == "ok", row["error"]
    assert row["generation_batch_size"] == used


def test_a_trial_on_a_dataset_with_tests_runs_them_and_stores_a_row_for_each(store):
    fields = {"model": "toy", "dataset": "toy_apps", "limit": 4, "max_new_tokens": 24, "num_train_epochs": 1}
    row = run(make_trial(fields | {"tuning_method": "lora"}), store)
    assert row["status"] == "ok", row["error"]
    tests = store.read_rows("tests", row["id"])
    assert len(tests) == 4 * 5 * 6, "problems, candidates, tests"
    assert row["avg_tests_passed"] == pytest.approx(sum(test["passed"] for test in tests) / len(tests))
    assert sum(row[f"{outcome}_tests"] for outcome in OUTCOMES) == len(tests)
    assert (row["problems_without_tests"], row["train_left_out"], row["test_examples"]) == (0, 0, 4)
    assert row["pass_at_1"] <= row["pass_at_2"] <= row["pass_at_5"] <= 1
    assert row["sandbox_tier"] in ("A", "B", "C")
    assert "em_at_1" not in row


def test_without_a_sandbox_a_trial_fails_before_it_trains(store):
    fields = {"model": "toy", "dataset": "toy_apps", "limit": 4, "tuning_method": "lora"}
    options = RunOptions(sandbox=SandboxOptions(tier="U"))
    row = run_and_record(TrialContext(make_trial(fields), "s", store, options=options))
    assert row["status"] == "failed"
    assert "sandbox: {allow_unsafe_execution: true}" in row["error"]
    assert "steps" not in row


def test_a_finished_trial_leaves_no_parts(finished):
    store, _ = finished
    assert not (Path(store.root) / "candidates.partial" / quick_trial("zero_shot").id).exists()
    assert all(row["log_probability"] < 0 for row in store.read_rows("candidates"))


KINDS = ("codegen2", "llama", "qwen2", "codegen", "t5")
PAIRS = [
    # Fast: each method with one class, and each class with two methods. tests/methods has all of them without decoding.
    pytest.param(kind, name, marks=() if (row - column) % len(KINDS) == 0 else pytest.mark.slow)
    for row, kind in enumerate(KINDS)
    for column, name in enumerate(METHODS)
]


@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_a_trial_of_every_method_on_every_class_of_models_ends_ok(kind, name, small_model, tmp_path):
    settings = {"embedding_model": "toy"} if name == "rag" else {}
    if METHODS[name].trains:
        settings["num_train_epochs"] = 1
    trial = Trial(
        model="codegen2-1B" if kind == "codegen2" else small_model(kind), model_path=small_model(kind), dataset="toy",
        limit=8, max_new_tokens=3, num_beams=2, num_return_sequences=2, method=METHODS[name](**settings),
    )  # fmt: skip
    small_store = ResultStore(str(tmp_path / "s"), tables())
    row = run_and_record(TrialContext(trial, "s", small_store))
    assert row["status"] == "ok", row["error"]
    if issubclass(METHODS[name], Adapter):
        files = {path.name for path in (tmp_path / "s" / "adapters" / trial.id).iterdir()}
        assert "adapter_config.json" in files
        assert ("raypeft.json" in files) == (kind == "codegen2")


def test_deterministic_algorithms_are_used_only_by_trials_that_ask_for_them(store):
    kinds = []
    for seed, options in enumerate((RunOptions(deterministic=True), RunOptions())):
        trial = quick_trial("zero_shot", seed=seed, **SMALL)
        kinds.append(run_and_record(TrialContext(trial, "test", store, BASES, options=options))["deterministic"])
    assert kinds == [True, False]


def test_a_store_without_a_place_for_what_is_measured_is_refused_before_anything_is_loaded(tmp_path):
    known = tables()
    known["trials"] = [column for column in known["trials"] if column.name != "em_at_1"]
    store = ResultStore(str(tmp_path / "results"), known)
    bases = BaseCache()
    row = run(quick_trial("lora"), store, bases)
    assert (row["status"], bases.base) == ("failed", None)
    assert "must have a column for all that a trial measures but lacks em_at_1" in row["error"]
    assert [stored["error"] for stored in store.read_rows()] == [row["error"]]


def test_a_row_that_cannot_be_written_is_replaced_by_one_that_says_why(store, monkeypatch):
    monkeypatch.setattr(running, "run_trial", lambda context: {"steps": 2**70, "em_at_1": 0.5})
    row = run(quick_trial("lora"), store)
    assert row["status"] == "failed"
    (stored,) = store.read_rows()
    assert stored["error"] == row["error"] and "OverflowError" in row["error"]
    assert (stored["lora_r"], stored["em_at_1"]) == (16, None)


def test_a_store_that_takes_nothing_any_more_ends_no_process(store, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(running, "run_trial", lambda context: {})
    monkeypatch.setattr(store, "write_rows", full)
    assert "No space left on device" in run(quick_trial("zero_shot"), store)["error"]


def test_without_decoding_a_trial_trains_and_measures_its_losses_alone(store):
    row = run(quick_trial("lora", decode=False), store)
    assert row["status"] == "ok", row["error"]
    assert row["test_loss"] > 0 and row["best_eval_loss"] > 0
    assert (row.get("em_at_1"), row.get("generate_seconds"), row["test_examples"]) == (None, None, 12)
    assert store.read_rows("candidates", row["id"]) == []
    values = [each["value"] for each in store.read_rows("example_scores", row["id"]) if each["score"] == "test_loss"]
    assert len(values) == 12
    assert sum(values) / 12 == pytest.approx(row["test_loss"])


def test_nothing_to_train_and_nothing_to_decode_is_refused_when_it_is_planned():
    with pytest.raises(ValueError, match="decode must be true for icl, which trains nothing, but got false"):
        quick_trial("icl", decode=False)


@pytest.mark.parametrize("place", ["/dev/null/x", "file:///tmp/r#1", "file:///tmp/a b"])
def test_a_place_that_can_hold_no_results_ends_with_2_and_its_name(capsys, place):
    assert main(["quickstart", "--results", place]) == 2
    assert f"{place}" in capsys.readouterr().err


def test_a_trial_on_declared_data_answers_in_the_room_of_its_longest_reference(tmp_path: Path) -> None:
    rows = [{"q": f"print the number {number}", "a": f"print({number})", "m": "one"} for number in range(24)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "s.yaml").write_text("""
name: s
datasets: {mine: {path: data.jsonl, prompt: q, answer: a}}
grids: [{model: toy, dataset: mine, tuning_method: {name: lora, num_train_epochs: 1}, num_beams: 2,
         num_return_sequences: 2}]
""")
    sweep = load_config(tmp_path / "s.yaml")
    plan = plan_sweep(sweep)
    (trial,) = plan.trials
    store = prepare_store(str(tmp_path / "results"), sweep, plan)
    row = run_and_record(TrialContext(trial, "s", store))
    assert (row["status"], row["error"]) == ("ok", None)
    assert 3 <= row["max_new_tokens_used"] <= 12 and row["references_too_long"] == 0
    assert score_again(store) == 1
    assert store.read_manifest().declarations.dataset("mine").untuned_stop == ("\n",)
    (tmp_path / "data.jsonl").write_text("{}\n")
    assert "changed since the sweep was planned" in run_and_record(TrialContext(trial, "s", store))["error"]


def test_the_row_says_how_candidates_were_decoded_and_the_check_is_made_once_a_base(store, monkeypatch):
    checks = []
    real = selfcheck.choose_path
    monkeypatch.setattr(selfcheck, "choose_path", lambda *a: checks.append(a[2]) or real(*a))
    bases = BaseCache()
    for name, fields in (("zero_shot", {}), ("lora", {}), ("full", {}), ("icl", {"num_shots": 2})):
        row = run(quick_trial(name, **SMALL, **fields), store, bases)
        assert (row["status"], row["decoding_path"], row["decoding_note"]) == ("ok", "shared", None), row["error"]
    assert len(checks) == 2, "full holds the weights in another way, and its base is loaded again for the last trial"
    run(quick_trial("prompt_tuning", num_train_epochs=1, **SMALL), store, bases)
    run(quick_trial("zero_shot", do_sample=True, num_beams=1, **SMALL), store, bases)
    assert len(checks) == 4, "virtual tokens and samples are decoded in ways of their own"
    context = TrialContext(quick_trial("zero_shot", **SMALL), "s", store, bases, options=RunOptions(graphs="auto"))
    assert run_and_record(context)["status"] == "ok"
    assert len(checks) == 5, "with graphs other kernels run"


def test_where_the_fast_path_is_wrong_the_trial_decodes_with_plain_generate_and_says_so(store, finished, monkeypatch):
    right = finished[1]["zero_shot"]
    monkeypatch.setattr(beam_attention.Seen, "hidden", lambda *_: (torch.tensor([False]), None))
    row = run(quick_trial("zero_shot"), store, BaseCache())
    assert (row["status"], row["decoding_path"]) == ("ok", "cached")
    assert row["decoding_note"].startswith("shared: its scores differ by")
    assert scores(row) == scores(right)


@pytest.mark.parametrize(
    ("model", "method", "message"),
    [
        ("rwkv", {"tuning_method": "full"}, "decode the model by beam search"),
        ("recurrent_gemma", {"tuning_method": "prefix_tuning"}, "no gradient reaches what it trains"),
    ],
)
def test_what_decoding_or_training_cannot_do_is_refused_before_training(
    store, tmp_path, monkeypatch, model, method, message
):
    monkeypatch.setattr("raypeft.trial.run.tune", lambda *_: pytest.fail("it was trained"))
    row = run(quick_trial(**method, model=make(model, tmp_path / "model")), store)
    assert row["status"] == "failed" and message in row["error"]


def test_a_number_that_no_file_can_hold_fails_its_trial_with_the_reason(store, monkeypatch):
    monkeypatch.setattr(running, "run_within_budget", lambda context: {"best_step": 2**70})
    row = run(quick_trial("zero_shot"), store)
    (stored,) = store.read_rows()
    assert row["status"] == stored["status"] == "failed"
    assert "1180591620717411303424" in stored["error"] or "large" in stored["error"]
    assert stored["attempts"] == 1


def test_a_full_disk_loses_the_trial_and_raises_nothing(store, monkeypatch):
    def full(name, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(running, "run_within_budget", lambda context: {})
    monkeypatch.setattr(store, "put", full)
    row = run(quick_trial("zero_shot"), store)
    assert row["status"] == "lost" and row["error"].startswith("its row could not be written: OSError: [Errno 28]")
    assert store.read_rows() == []


def test_a_disk_that_is_full_for_the_candidates_only_is_told_by_the_row(store, monkeypatch):
    def full(table, trial_id, number, rows):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "write_part", full)
    row = run(quick_trial("zero_shot"), store)
    (stored,) = store.read_rows()
    assert row["status"] == stored["status"] == "lost" and "No space left" in stored["error"]


def answers_of(store, row):
    return [(each["example_id"], each["text"]) for each in store.read_rows("candidates", row["id"])]


def test_an_untrained_trial_on_another_test_dataset_answers_it_as_a_trial_of_that_dataset(store):
    other = run(quick_trial("zero_shot", test_dataset="toy_apps", limit=6), store)
    own = run(quick_trial("zero_shot", dataset="toy_apps", limit=6), store)
    assert (other["status"], other["dataset"], other["test_dataset"]) == ("ok", "toy", "toy_apps")
    assert answers_of(store, other) == answers_of(store, own)
    assert "em_at_1" not in other and other["pass_at_1"] == own["pass_at_1"]
    assert other["test_resolved_revision"] == own["test_resolved_revision"]


def test_a_trial_trains_and_validates_on_one_dataset_and_is_tested_on_another(store):
    bases = BaseCache()
    plain = run(quick_trial("lora", validation_limit=5, limit=6), store, bases)
    more = {"num_beams": 3, "do_sample": False, "limit": 6}
    other = run(quick_trial("lora", validation_limit=5, test_dataset="toy_apps", **more), store, bases)
    assert other["status"] == "ok", other["error"]
    assert other["best_eval_loss"] == plain["best_eval_loss"], "it trained on the same"
    assert other["em_at_1_validation"] == plain["em_at_1_validation"], "and was validated on the same"
    assert other["pass_at_1"] is not None and other["test_loss"] != plain["test_loss"]
    assert {each["example_id"] for each in store.read_rows("tests", other["id"])}
    scored = other["pass_at_1"]
    assert score_again(store) == 2 and {row["id"]: row for row in store.read_rows()}[other["id"]]["pass_at_1"] == scored


def test_shots_are_of_the_dataset_that_is_trained_on(store):
    row = run(quick_trial("icl", num_shots=2, test_dataset="toy_apps"), store)
    known = {each.id for each in DATASETS["toy"].load(None, None)["train"]}
    assert row["status"] == "ok", row["error"]
    assert all(
        len(each["shots"]) == 2 and {*each["shots"]} <= known for each in store.read_rows("candidates", row["id"])
    )


def test_of_two_declared_datasets_one_is_trained_on_and_the_other_tested(store, tmp_path):
    for name, verb in (("mine", "sort"), ("theirs", "reverse")):
        rows = [{"q": f"{verb} list {n}", "a": f"x{n}.{verb}({n})"} for n in range(30)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "s.yaml").write_text("""
name: s
datasets:
  mine: {path: mine.jsonl, prompt: q, answer: a}
  theirs: {path: theirs.jsonl, prompt: q, answer: a}
grids: [{model: toy, dataset: mine, test_dataset: theirs, tuning_method: lora, num_train_epochs: 1, num_beams: 1,
         num_return_sequences: 1}]
""")
    (trial,) = plan_sweep(load_config(tmp_path / "s.yaml")).trials
    row = run(trial, store)
    assert row["status"] == "ok", row["error"]
    found = store.read_rows("candidates", trial.id)
    assert found and all(each["instruction"].startswith("reverse") for each in found)
    assert json.loads(row["test_declared"])["path"] == str(tmp_path / "theirs.jsonl")


MIX = {"dataset": "both", "declared": '{"mix": [{"name": "toy"}, {"name": "toy_apps"}]}'}


def test_a_mix_trains_on_the_prompts_of_each_of_its_datasets(store):
    base = BaseCache().get(*quick_trial("lora").base_key)

    def prompts(**fields):
        trial = quick_trial("lora", limit=None, **fields)
        encoded, _ = training_prompts(TrialContext(trial, "s", store), base, examples.load(trial)[0], virtual=0)
        return [(each.prompt_ids, each.answer_ids) for split in ("train", "validation") for each in encoded[split]]

    both = prompts(**MIX, test_dataset="toy")
    apart = prompts() + prompts(dataset="toy_apps")
    assert sorted(both) == sorted(apart)


def test_a_trial_on_a_mix_validates_on_the_dataset_that_it_is_tested_on(store):
    more = {"validation_limit": 5, "limit": None, "test_limit": 4}
    mixed = run(quick_trial("zero_shot", **more, **MIX, test_dataset="toy"), store)
    assert mixed["status"] == "ok", mixed["error"]
    whole = run(quick_trial("zero_shot", **more), store)
    assert mixed["validation_examples"] > whole["validation_examples"]
    names = [name for name in whole if name.endswith("_validation")]
    assert names and {name: mixed[name] for name in names} == {name: whole[name] for name in names}


def test_answers_of_a_mix_have_the_room_that_they_have_without_it(store, tmp_path):
    rows = [{"q": f"task {n}", "a": "x = " + "1 + " * (40 if n == 3 else n % 3) + "1"} for n in range(30)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "s.yaml").write_text("""
name: s
defaults: {model: toy, num_beams: 1, num_return_sequences: 1}
datasets: {own: {path: own.jsonl, prompt: q, answer: a}}
grids: [{dataset: [own, {mix: [own, toy]}], test_dataset: own, tuning_method: zero_shot}]
""")
    plain, mixed = (run(trial, store) for trial in plan_sweep(load_config(tmp_path / "s.yaml")).trials)
    assert plain["max_new_tokens_used"] == mixed["max_new_tokens_used"] > 80


def test_a_trained_mix_is_scored_on_one_of_its_datasets(store):
    more = {"num_beams": 3, "do_sample": False, "limit": 4}
    row = run(quick_trial("lora", **MIX, test_dataset="toy_apps", **more), store)
    assert row["status"] == "ok", row["error"]
    assert row["pass_at_1"] is not None and "em_at_1" not in row


def test_scores_of_a_users_levels_have_columns_and_are_declared_in_the_manifest(store, tmp_path):
    from raypeft.trial.declarations import write_manifest

    rows = [{"q": f"add {number}", "t": ["assert f(1) == 2"], "l": level} for number, level in enumerate("aab")]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "s.yaml").write_text("""name: s
datasets: {kata: {path: {test: test.jsonl}, prompt: q, tests: t, levels: l}}
grids: [{model: toy, dataset: kata, tuning_method: zero_shot, num_beams: 1, num_return_sequences: 1, max_new_tokens: 4}]
""")
    sweep = load_config(tmp_path / "s.yaml")
    made = plan_sweep(sweep)
    row = run_and_record(TrialContext(made.trials[0], "s", store))
    assert (row["status"], row["pass_at_1_a"], row["pass_at_1_b"]) == ("ok", 0.0, 0.0)
    assert {each["level"] for each in store.read_rows("tests")} == {"a", "b"}
    manifest = write_manifest(store, sweep, made)
    assert manifest.declarations.score("pass_at_1_b", "a test").description.endswith("b problems")
    assert "pass_at_1_b" in {column.name for column in manifest.tables["trials"]}
    assert score_again(store) == 1 and store.read_rows("trials")[0]["pass_at_1_a"] == 0.0
