"""The layers that adapters go to: named in the model's own words, with a rank that they have room for."""

from pathlib import Path

import pytest
import torch
from peft.utils import constants
from pydantic import ValidationError
from safetensors.torch import save_file
from transformers import (
    AutoTokenizer,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Phi3Config,
    Phi3ForCausalLM,
    RwkvConfig,
    RwkvForCausalLM,
)

from raypeft.methods import Ia3, Lora, Method, PromptTuning
from raypeft.methods.projections import attention
from raypeft.models.kinds import ENCODERS
from raypeft.models.loading import load_base
from raypeft.models.table import TOY_FOLDER, family_of
from raypeft.trial.tune import counted_params


@pytest.fixture(scope="module")
def phi3(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that neither raypeft nor PEFT's table knows."""
    folder = tmp_path_factory.mktemp("phi3")
    tokenizer = AutoTokenizer.from_pretrained(TOY_FOLDER)
    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=4,
        eos_token_id=0, pad_token_id=1, bos_token_id=0,
    )  # fmt: skip
    Phi3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def apply(method: Method, model: str) -> int:
    with method.applied(load_base(model)) as adapted:
        return counted_params(adapted)["trainable_params"]


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of a class of which nobody knows the usual layers, with names that no other class has."""
    folder = tmp_path_factory.mktemp("strange")
    tokenizer = AutoTokenizer.from_pretrained(TOY_FOLDER)
    torch.manual_seed(0)
    config = RwkvConfig(vocab_size=len(tokenizer), hidden_size=64, attention_hidden_size=64, num_hidden_layers=2,
                        eos_token_id=0, bos_token_id=0)  # fmt: skip
    RwkvForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def adapted(method: Method, model: str) -> list[str] | None:
    with method.applied(load_base(model)) as made:
        return counted_params(made)["adapted_layers"]


def test_the_usual_layers_of_an_unknown_class_are_found_by_their_names(phi3: str) -> None:
    assert adapted(Lora(), phi3) == ["qkv_proj"]
    assert adapted(Ia3(), phi3) == ["down_proj", "gate_up_proj", "qkv_proj"]


def test_the_row_names_the_layers_with_an_adapter(phi3: str) -> None:
    assert adapted(Lora(target_modules="all-linear"), phi3) == ["down_proj", "gate_up_proj", "o_proj", "qkv_proj"]
    assert adapted(Lora(), "toy") == ["k_proj", "q_proj", "v_proj"]
    assert adapted(PromptTuning(num_virtual_tokens=2), "toy") is None


def test_ia3_rescales_the_inputs_of_feed_forward_layers_of_an_unknown_class(phi3: str) -> None:
    with Ia3().applied(load_base(phi3)) as model:
        sizes = {
            name.split(".")[-3]: parameter.numel() for name, parameter in model.named_parameters() if "ia3" in name
        }
    assert sizes == {"qkv_proj": 3 * 64, "gate_up_proj": 64, "down_proj": 96}


def test_ia3_is_refused_for_a_model_without_feed_forward_layers_of_a_usual_name(strange: str) -> None:
    with pytest.raises(ValueError, match="a model of the type rwkv has none of a usual name"):
        apply(Ia3(target_modules=("key",)), strange)


def test_a_misspelt_layer_of_an_unknown_class_is_refused_before_anything_is_loaded(phi3: str) -> None:
    problem = Lora(target_modules=("qkv_prj",)).refusal(family_of(phi3))
    assert problem and "(down_proj, gate_up_proj, o_proj, qkv_proj) but got qkv_prj; did you mean qkv_proj?" in problem
    assert Lora(target_modules=("o_proj",)).refusal(family_of(phi3)) is None


def test_a_class_without_usual_layers_is_refused_with_all_its_layers_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "unheard_of"}')
    tensors = {f"blocks.0.{name}.weight": torch.zeros(4, 4) for name in ("mixer", "projector")}
    save_file(tensors, tmp_path / "model.safetensors")
    family = family_of(str(tmp_path))
    for method in (Lora(), Ia3()):
        assert "target_modules must be given" in str(problem := method.refusal(family))
        assert str(problem).endswith("one or more of mixer, projector, or all-linear")
    assert Lora(target_modules=("mixer",)).refusal(family) is None


def test_the_usual_layers_of_a_class_that_only_its_weights_tell_of_are_no_reason_to_refuse(phi3: str) -> None:
    assert Lora().refusal(family_of(phi3)) is None and Ia3().refusal(family_of(phi3)) is None


def test_every_decoder_whose_layers_peft_knows_has_a_usual_attention_layer() -> None:
    known = constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    assert {kind for kind, layers in known.items() if not attention(layers)} <= ENCODERS


def test_a_name_that_matches_nothing_is_refused_beside_one_that_does(phi3: str) -> None:
    with pytest.raises(ValueError, match="but got q_proj; did you mean qkv_proj"):
        apply(Lora(target_modules=("o_proj", "q_proj")), phi3)


def test_a_misspelt_name_is_refused_with_the_nearest_before_anything_is_loaded() -> None:
    problem = Lora(target_modules=("q_prj",)).refusal(family_of("toy"))
    assert problem and "q_prj; did you mean q_proj?" in problem


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_16", "olora"])
def test_a_rank_above_a_layers_smaller_side_is_refused_where_the_layer_is_split(start: str, phi3: str) -> None:
    method = Lora(init_lora_weights=start, lora_r=193)
    assert "must be at most the smaller side" in str(method.refusal(family_of("toy")))
    with pytest.raises(ValueError, match=r"lora_r must be at most the smaller side.*193 for o_proj, which is 64 by"):
        apply(Lora(init_lora_weights=start, lora_r=193, target_modules=("o_proj",)), phi3)


@pytest.mark.parametrize(
    "method",
    [
        Lora(init_lora_weights="pissa", lora_r=192),
        Lora(init_lora_weights="olora", lora_r=192),
        Lora(init_lora_weights="gaussian", lora_r=700),
        Lora(init_lora_weights="orthogonal", lora_r=600),
        Lora(lora_r=700, use_dora=True, target_modules="all-linear"),
        Lora(target_modules=("self_attn.q_proj",)),
        Ia3(target_modules="all-linear"),
        Ia3(target_modules=("self_attn.q_proj", "mlp.down_proj")),
    ],
)
def test_the_planned_number_of_parameters_is_that_of_the_loaded_adapter(method: Lora | Ia3) -> None:
    family = family_of("toy")
    assert family.architecture and method.refusal(family) is None
    assert apply(method, "toy") == method.trainable_params(family.architecture)


def test_an_odd_rank_has_no_orthogonal_start() -> None:
    with pytest.raises(ValidationError, match="lora_r must be even where init_lora_weights is orthogonal but got 7"):
        Lora(init_lora_weights="orthogonal", lora_r=7)


def test_all_linear_stands_alone_since_peft_takes_it_for_a_name_beside_others() -> None:
    told = Ia3(target_modules=("all-linear", "q_proj")).refusal(family_of("toy", None))
    assert told == "target_modules must be all-linear alone, or names without it, but got all-linear, q_proj"


def test_one_name_means_the_list_of_it() -> None:
    assert Lora(target_modules="all-linear") == Lora(target_modules=("all-linear",))


def test_virtual_tokens_need_a_text_to_begin_with_unless_they_begin_at_random() -> None:
    with pytest.raises(ValidationError, match="prompt_tuning_init_text must have words"):
        PromptTuning(prompt_tuning_init_text=" ")
    assert PromptTuning(prompt_tuning_init="RANDOM", prompt_tuning_init_text="")


@pytest.fixture(scope="module")
def with_tower(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model for text and images: its vision tower has layers of the same names as its text model."""
    folder = tmp_path_factory.mktemp("tower")
    tokenizer = AutoTokenizer.from_pretrained(TOY_FOLDER)
    torch.manual_seed(0)
    text = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}  # fmt: skip
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 28, "patch_size": 14}  # fmt: skip
    config = Gemma3Config(text_config=text, vision_config=vision, eos_token_id=0, pad_token_id=1)
    Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("method", [Lora(), Lora(target_modules="all-linear"), Lora(target_modules=("q_proj",)), Ia3()])
def test_what_text_never_goes_through_gets_no_adapter(with_tower: str, method: Method) -> None:
    with method.applied(load_base(with_tower)) as model:
        trained = [name for name, each in model.named_parameters() if each.requires_grad]
    assert trained and all("language_model" in name for name in trained)
