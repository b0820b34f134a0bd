"""A class of models is one record: what is known of one that a test adds, from its sizes to its memory."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from raypeft.methods import Full, Ia3, Lora, ZeroShot
from raypeft.models.architectures import Architecture, Linear, ModelClass, SavedActivations
from raypeft.models.classes import MODEL_CLASSES, class_of, from_config
from raypeft.models.table import MODELS, family_of
from raypeft.study.config import Trial
from raypeft.study.memory import predict
from raypeft.study.options import Resources
from raypeft.study.plan import parameter_counts

WIDTH, LAYERS, VOCABULARY = 64, 3, 1_000


def sizes_of(config: dict[str, object]) -> Architecture:
    """A decoder with one fused projection and one feed-forward layer."""
    width = int(str(config["width"]))
    linears = (Linear("mix", width, 3 * width, LAYERS), Linear("inner", width, 2 * width, LAYERS, feed_forward=True))
    return Architecture("made_up", width, LAYERS, 4, width, VOCABULARY, linears, other_params=VOCABULARY * width)


MADE_UP = ModelClass(
    model_types=("made_up",),
    attention_modules=("mix",),
    from_config=sizes_of,
    saved={
        "full": SavedActivations(40, 0, 0, 0),
        "lora": SavedActivations(20, 0, 0, 0),
        "ia3": SavedActivations(10, 0, 0, 0),
        "virtual": SavedActivations(5, 0, 0, 0),
    },
    beams_share_prompt=True,
)


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The folder of a model of a class that is registered for this test only."""
    monkeypatch.setitem(MODEL_CLASSES, "made_up", MADE_UP)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "made_up", "width": WIDTH}))
    return str(tmp_path)


def test_without_its_record_nothing_is_known_of_a_class(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "made_up", "width": WIDTH}))
    assert family_of(str(tmp_path)).architecture is None


def test_an_added_class_has_its_parameters_counted(made_up: str) -> None:
    base = LAYERS * 5 * WIDTH * WIDTH + VOCABULARY * WIDTH
    full, lora = (Trial(model=made_up, dataset="toy", method=method) for method in (Full(), Lora(lora_r=8)))
    assert parameter_counts(full) == {"trainable_params": base, "total_params": base}
    adapter = LAYERS * 8 * (WIDTH + 3 * WIDTH)
    assert parameter_counts(lora) == {"trainable_params": adapter, "total_params": base + adapter}


def test_adapters_go_to_an_added_classes_own_modules(made_up: str) -> None:
    family = family_of(made_up)
    assert family.architecture is not None
    assert Lora().targets(family.architecture) == ["mix"]
    assert Ia3().targets(family.architecture) == ["mix", "inner"]
    told = Lora(target_modules=("q_proj",)).refusal(family)
    assert told is not None and "(mix, inner) but got q_proj" in told


def test_the_memory_of_training_follows_an_added_classes_own_counts(
    made_up: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial(model=made_up, dataset="toy", method=Lora(), max_length=64)

    def needed() -> float:
        prediction = predict(trial, Resources(gpu_memory_gb=1_000))
        assert prediction is not None and prediction.train_gb is not None
        return prediction.train_gb * 2**30

    before = needed()
    more = {**MADE_UP.saved, "lora": SavedActivations(20 + 7, 0, 0, 0)}
    monkeypatch.setitem(MODEL_CLASSES, "made_up", replace(MADE_UP, saved=more))
    assert needed() - before == pytest.approx(7 * WIDTH * LAYERS * 8 * 64)


def test_beams_that_share_their_prompt_need_less_memory(made_up: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(model=made_up, dataset="conala", method=ZeroShot(), num_beams=10)

    def needed() -> float:
        prediction = predict(trial, Resources(gpu_memory_gb=1_000))
        assert prediction is not None
        return prediction.generate_gb

    shared = needed()
    monkeypatch.setitem(MODEL_CLASSES, "made_up", replace(MADE_UP, beams_share_prompt=False))
    assert needed() > shared


def test_every_model_of_the_table_is_of_a_class_whose_attention_it_has() -> None:
    for family in MODELS.values():
        assert family.architecture is not None
        names = {linear.name for linear in family.architecture.linears}
        assert names.issuperset(class_of(family.architecture).attention_modules)


def test_every_class_answers_to_its_own_model_types() -> None:
    for model_type, model_class in MODEL_CLASSES.items():
        assert model_type in model_class.model_types


@pytest.mark.parametrize("model_type", [None, 3, ["llama"], "something_new"])
def test_a_config_of_no_known_type_has_no_architecture(model_type: object) -> None:
    assert from_config({"model_type": model_type}) is None
