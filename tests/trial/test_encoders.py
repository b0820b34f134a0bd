"""The form in which a trial asks, from the sweep's field to the stored candidates."""

import shutil
from types import SimpleNamespace

import pytest
from chat_templates import CHATML, LLAMA2, chat_tokenizer

from raypeft.data import DATASETS
from raypeft.models.loading import BaseCache
from raypeft.models.table import TOY_FOLDER
from raypeft.prompting.encoding import Encoder
from raypeft.prompting.forms import CORRECTED, NAMED
from raypeft.results.store import ResultStore
from raypeft.study.trials import make_trial
from raypeft.trial import run as running
from raypeft.trial.columns import tables
from raypeft.trial.context import TrialContext
from raypeft.trial.encoders import KEPT, check_form, trial_form
from raypeft.trial.run import run_and_record

QUICK = {"limit": 8, "max_new_tokens": 8, "num_beams": 2, "num_return_sequences": 2, "dataset": "toy"}


@pytest.fixture
def chat_model(tmp_path):
    """The toy model with a chat template."""
    folder = tmp_path / "chat"
    shutil.copytree(TOY_FOLDER, folder)
    (folder / "chat_template.jinja").write_text(LLAMA2)
    return str(folder)


def trial(**fields):
    trains = {"num_train_epochs": 1} if fields["tuning_method"] == "lora" else {}
    return make_trial({"model": "toy", **QUICK, **trains, **fields})


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dataset", ["toy", "apps"])
def test_a_named_form_is_the_same_for_every_dataset_in_training_and_in_generation(dataset, training):
    for name, form in NAMED.items():
        asked = make_trial({"model": "toy", "tuning_method": "lora", "dataset": dataset, "prompt_form": name})
        assert trial_form(asked, DATASETS[dataset], False, training) == form


def test_without_a_name_the_form_is_the_datasets_own():
    asked = {name: make_trial({"model": "toy", "tuning_method": "lora", "dataset": name}) for name in ("toy", "apps")}
    assert trial_form(asked["toy"], DATASETS["toy"], False) == CORRECTED
    assert trial_form(asked["apps"], DATASETS["apps"], False) == DATASETS["apps"].forms.corrected


@pytest.mark.parametrize(("kind", "tuning_method", "form"), [
    ("llama", "zero_shot", "fenced"), ("llama", "icl", "plain"), ("llama", "lora", "fenced"),
    ("t5", "zero_shot", "plain"), ("t5", "icl", "fenced"), ("t5", "lora", "plain"),
])  # fmt: skip
def test_decoders_and_encoder_decoders_are_asked_in_every_form_of_text(
    kind, tuning_method, form, small_model, tmp_path
):
    store = ResultStore(str(tmp_path / "results"), tables())
    asked = trial(model=small_model(kind), tuning_method=tuning_method, prompt_form=form)
    row = run_and_record(TrialContext(asked, "s", store))
    assert (row["status"], row["prompt_form"]) == ("ok", form), row["error"]
    assert len(store.read_rows("candidates", asked.id)) == 16


@pytest.mark.parametrize("tuning_method", ["zero_shot", "icl", "lora"])
def test_a_model_with_a_chat_template_is_asked_with_it(tuning_method, chat_model, tmp_path, monkeypatch):
    asked, real = [], running.answer
    monkeypatch.setattr(running, "answer", lambda *given: asked.extend(given[3]) or real(*given))
    store = ResultStore(str(tmp_path / "results"), tables())
    row = run_and_record(
        TrialContext(trial(model=chat_model, tuning_method=tuning_method, prompt_form="chat"), "s", store)
    )
    assert row["status"] == "ok", row["error"]
    text = chat_tokenizer(LLAMA2).decode(asked[0].prompt_ids)
    assert text.startswith("[INST] ") and text.endswith(f"[INST] {asked[0].example.nl} [/INST]")


@pytest.mark.parametrize(
    ("is_encoder_decoder", "template", "why"),
    [(False, None, "has no chat template"), (True, CHATML, "an encoder-decoder")],
)
def test_a_loaded_model_that_cannot_chat_is_refused(is_encoder_decoder, template, why):
    base = SimpleNamespace(is_encoder_decoder=is_encoder_decoder, tokenizer=SimpleNamespace(chat_template=template))
    asked = make_trial({"model": "owner/name", "dataset": "toy", "tuning_method": "lora", "prompt_form": "chat"})
    with pytest.raises(ValueError, match=f"must be plain or fenced for owner/name, .*{why}.* but got chat"):
        check_form(asked, base)


def test_a_trial_whose_model_turns_out_to_have_no_chat_template_fails_before_it_trains(tmp_path):
    store = ResultStore(str(tmp_path), tables())
    row = run_and_record(TrialContext(trial(tuning_method="lora", prompt_form="chat"), "s", store))
    assert row["status"] == "failed" and "has no chat template" in row["error"]
    assert "train_seconds" not in row


def test_a_template_of_the_users_own_asks_and_trains(tmp_path):
    store = ResultStore(str(tmp_path), tables())
    template = {"query": "# {nl}\n", "answer": "{code}\n# end", "stop": "\n#"}
    for tuning_method in ("icl", "lora"):
        asked = trial(tuning_method=tuning_method, prompt_template=template)
        row = run_and_record(TrialContext(asked, "s", store))
        assert row["status"] == "ok", row["error"]
        assert row["prompt_template"] == '{"query": "# {nl}\\n", "answer": "{code}\\n# end", "stop": ["\\n#"]}'
    assert store.read_rows()[0]["prompt_template"] == row["prompt_template"]
    assert all("\n#" not in each["text"] for each in store.read_rows("candidates"))


def test_trials_of_one_base_and_dataset_tokenise_it_once_and_train_as_alone(tmp_path, monkeypatch):
    real, encoded = Encoder.encode_answers, []
    monkeypatch.setattr(
        Encoder, "encode_answers", lambda self, found, *a: encoded.append(len(found)) or real(self, found, *a)
    )
    store, bases = ResultStore(str(tmp_path / "results"), tables()), BaseCache()

    def loss(tuning_method="lora", bases=bases, **fields):
        own = trial(**{"tuning_method": tuning_method, "num_train_epochs": 1, "decode": False, **fields})
        return run_and_record(TrialContext(own, "s", store, bases))["best_eval_loss"]

    losses = [loss(), loss(learning_rate=1e-2), loss("full")]
    assert encoded == [8, 8, 8], "train, validation and test, by the first trial"
    assert loss("full", BaseCache()) == losses[-1] and len(encoded) == 6, "and anew with another base"
    loss(limit=4)
    loss(prompt_form="fenced", limit=4)
    assert len(encoded) == 12, "other examples, and another form"
    assert len(bases.base.encoded) <= KEPT
