"""Parameter counts in closed form, against loaded models and against the exact counts of the paper's models."""

import json

import pytest
from safetensors.torch import save_file
from small_models import CONFIGS, make_small_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from raypeft.methods import METHODS, Full, Ia3, Lora, PrefixTuning, PromptTuning
from raypeft.models.classes import from_config, from_folder
from raypeft.models.folders import safetensors_params
from raypeft.models.table import MODELS, TOY_FOLDER, total_params

COUNTED = (Full(), Lora(), Lora(lora_r=8), Ia3(), PromptTuning(), PrefixTuning(num_virtual_tokens=10), PrefixTuning())
EXACT = {
    "codet5p-220m": (222882048, 2654208, 1327104, 175104, 30720, 184320, 368640),
    "codet5p-770m": (737639424, 7077888, 3538944, 466944, 40960, 491520, 983040),
    "codegen-350M-mono": (356712448, 1310720, 655360, 163840, 20480, 409600, 819200),
    "codegen2-1B": (1015306240, 2097152, 1048576, 262144, 40960, 655360, 1310720),
    "codegen2-3_7B": (3641174016, 4194304, 2097152, 524288, 81920, 1310720, 2621440),
    "codegen2-7B": (6862858240, 8388608, 4194304, 1048576, 81920, 2621440, 5242880),
    "CodeLlama-7b-hf": (6738546688, 12582912, 6291456, 1007616, 81920, 2621440, 5242880),
    "CodeLlama-7b-Instruct-hf": (6738546688, 12582912, 6291456, 1007616, 81920, 2621440, 5242880),
    "CodeLlama-7b-Python-hf": (6738415616, 12582912, 6291456, 1007616, 81920, 2621440, 5242880),
    "CodeLlama-13b-Python-hf": (13015864320, 19660800, 9830400, 1576960, 102400, 4096000, 8192000),
    "CodeLlama-34b-Python-hf": (33743970304, 26738688, 13369344, 2334720, 163840, 983040, 1966080),
}
"""Counted on models built from their own configs with PEFT; Table 3 of the paper prints them rounded."""

VARIANTS = [
    *((kind, {}) for kind in CONFIGS),
    ("llama", {"tie_word_embeddings": True, "head_dim": 32}),
    ("t5", {"feed_forward_proj": "gated-gelu", "num_decoder_layers": 3, "tie_word_embeddings": False}),
    ("qwen2", {"tie_word_embeddings": False}),
]


@pytest.mark.parametrize("model", EXACT)
def test_the_counts_of_the_papers_models_are_exact(model):
    architecture = MODELS[model].architecture
    assert tuple(method.trainable_params(architecture) for method in COUNTED) == EXACT[model]
    assert architecture.total_params == EXACT[model][0]


@pytest.mark.parametrize(("kind", "changes"), VARIANTS)
def test_the_total_is_that_of_the_loaded_model(kind, changes, tmp_path):
    folder = make_small_model(kind, tmp_path / "model", **changes)
    loader = AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM
    loaded = loader.from_pretrained(folder)
    assert from_folder(tmp_path / "model").total_params == sum(each.numel() for each in loaded.parameters())


def test_known_laptop_models_have_the_totals_of_their_model_cards():
    totals = {name: MODELS[name].architecture.total_params for name in ("SmolLM2-135M", "Qwen2.5-Coder-0.5B")}
    assert totals == {"SmolLM2-135M": 134_515_008, "Qwen2.5-Coder-0.5B": 494_032_768}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_counts_what_it_trains_for_every_model_of_the_table(name):
    for family in MODELS.values():
        trained = METHODS[name]().trainable_params(family.architecture)
        assert (trained > 0) == METHODS[name].trains


def test_dora_adds_a_magnitude_for_every_output():
    llama = MODELS["CodeLlama-7b-hf"].architecture
    assert Lora(use_dora=True).added_params(llama) - Lora().added_params(llama) == 32 * 3 * 4096


def test_an_unknown_model_type_has_no_architecture_but_its_weights_can_be_counted(tmp_path):
    import torch

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "something_new"}))
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5)}, tmp_path / "model.safetensors")
    assert from_folder(tmp_path) is None
    assert safetensors_params(tmp_path) == 17
    assert total_params("mine", str(tmp_path)) == 17


def test_a_model_of_which_nothing_is_at_hand_has_no_count():
    assert total_params("owner/never-seen") is None


def test_a_config_that_leaves_sizes_to_transformers_defaults_is_not_guessed():
    assert from_config({"model_type": "llama", "hidden_size": 64}) is None


def test_the_toy_folder_is_read_from_its_own_config():
    config = AutoConfig.from_pretrained(TOY_FOLDER).to_dict()
    assert from_config(config) == MODELS["toy"].architecture
