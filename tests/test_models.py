"""Loading base models: the embedded one, folders, GGUF files, and what is refused."""

import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from raypeft.models import MODELS, TOY_FOLDER, family_of, is_known, load_base


def test_the_toy_model_is_small_and_loads_with_plain_transformers():
    model = AutoModelForCausalLM.from_pretrained(TOY_FOLDER)
    tokenizer = AutoTokenizer.from_pretrained(TOY_FOLDER)
    assert sum(parameter.numel() for parameter in model.parameters()) < 5_000_000
    assert sum(file.stat().st_size for file in TOY_FOLDER.iterdir()) < 10_000_000
    assert tokenizer.decode(tokenizer("x = {'a': [1, 2]}\n")["input_ids"]) == "x = {'a': [1, 2]}\n"


def test_a_base_is_frozen_float32_on_a_cpu_and_knows_its_context():
    base = load_base("toy")
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert base.model.dtype == (torch.bfloat16 if torch.cuda.is_available() else torch.float32)
    assert base.context_length == base.model.config.max_position_embeddings


def test_eos_and_pad_are_the_tokenizers_in_every_config():
    base = load_base("toy")
    for config in (base.model.config, base.model.generation_config):
        assert config.eos_token_id == base.tokenizer.eos_token_id
        assert config.pad_token_id == base.tokenizer.pad_token_id


def test_the_revision_of_local_weights_changes_with_the_weights_only(tmp_path):
    first = load_base("toy").revision
    shutil.copytree(TOY_FOLDER, tmp_path / "copy")
    assert load_base("toy", str(tmp_path / "copy")).revision == first
    weights = load_file(tmp_path / "copy" / "model.safetensors")
    name = next(iter(weights))
    save_file(weights | {name: weights[name] + 1}, tmp_path / "copy" / "model.safetensors", metadata={"format": "pt"})
    assert load_base("toy", str(tmp_path / "copy")).revision != first


def test_a_tokenizer_without_an_end_of_sequence_token_is_refused(tmp_path):
    shutil.copytree(TOY_FOLDER, tmp_path / "copy")
    tokenizer = AutoTokenizer.from_pretrained(TOY_FOLDER)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path / "copy")
    with pytest.raises(ValueError, match="has no end-of-sequence token"):
        load_base("toy", str(tmp_path / "copy"))


def test_a_model_file_that_is_no_gguf_is_refused(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"a folder, a hub id or a \.gguf file but got"):
        load_base("toy", str(tmp_path / "model.bin"))


def test_a_checkpoints_sampling_defaults_do_not_reach_our_decoding(tmp_path):
    shutil.copytree(TOY_FOLDER, tmp_path / "copy")
    (tmp_path / "copy" / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.3, "top_k": 3}')
    defaults = load_base("toy", str(tmp_path / "copy")).model.generation_config
    assert not defaults.do_sample
    assert defaults.temperature in (None, 1.0)


@pytest.mark.slow
def test_a_gguf_file_loads_with_its_tokenizer():
    path = os.environ.get("RAYPEFT_GGUF")
    if not path:
        pytest.skip("RAYPEFT_GGUF names no GGUF file")
    base = load_base("SmolLM2-135M-Instruct", path)
    prompt = base.tokenizer("The capital of France is", return_tensors="pt")
    said = base.model.generate(**prompt, max_new_tokens=3, do_sample=False)
    assert "Paris" in base.tokenizer.decode(said[0])


@pytest.mark.parametrize("model", [*MODELS, "Qwen/Qwen2.5-Coder-0.5B", str(TOY_FOLDER)])
def test_names_hub_ids_and_existing_paths_are_known(model):
    assert is_known(model)


@pytest.mark.parametrize("model", ["tpy", "/no/such/folder", "./no/such"])
def test_anything_else_is_unknown(model):
    assert not is_known(model)


def test_a_model_outside_the_table_leaves_the_targets_to_peft():
    assert family_of("Qwen/Qwen2.5-Coder-0.5B").attention_modules is None
