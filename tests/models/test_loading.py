"""Loading base models: the embedded one, every class, GGUF files, quantised weights, and what is refused."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import CONFIGS
from transformers import AutoModelForCausalLM, AutoTokenizer

from raypeft.decoding.generation import Search, generate
from raypeft.methods import Lora
from raypeft.models.classes import class_of
from raypeft.models.loading import load_base
from raypeft.models.table import TOY_FOLDER
from raypeft.prompting.encoding import Encoder
from raypeft.records import Example


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


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_class_of_the_table_loads_frozen_with_its_layers_known(kind, small_model):
    base = load_base(small_model(kind))
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert base.is_encoder_decoder == (kind == "t5")
    assert base.context_length == (None if kind == "t5" else 512)
    assert class_of(base.family.architecture).attention_modules


@pytest.mark.slow
def test_a_gguf_file_can_be_quantised_by_bitsandbytes():
    path = os.environ.get("RAYPEFT_GGUF")
    if not path:
        pytest.skip("RAYPEFT_GGUF names no GGUF file")
    base = load_base("SmolLM2-135M-Instruct", path, weights="nf4")
    prompt = base.tokenizer("The capital of France is", return_tensors="pt")
    said = base.model.generate(**prompt, max_new_tokens=3, do_sample=False)
    assert "Paris" in base.tokenizer.decode(said[0])


@pytest.mark.parametrize("weights", ["int8", "nf4"])
def test_quantised_weights_stand_for_nearly_the_same_model(weights, small_model):
    folder, ids = small_model("llama"), torch.tensor([[5, 6, 7, 8, 9, 10]])
    exact = load_base(folder).model(ids).logits
    rough = load_base(folder, weights=weights).model(ids).logits
    correlation = torch.corrcoef(torch.stack([exact.flatten(), rough.flatten()]))[0, 1]
    assert not torch.equal(exact, rough)
    assert correlation > 0.9


def test_nf4_weights_still_pass_gradients_on_after_an_evaluation(small_model):
    model = load_base(small_model("llama"), weights="nf4").model
    ids = torch.tensor([[5, 6, 7, 8]])
    model.eval()
    with torch.inference_mode():
        model(ids)
    embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
    model(inputs_embeds=embedded).logits.sum().backward()
    assert embedded.grad.abs().sum() > 0


def test_a_config_that_names_another_eos_than_the_tokenizer_is_overruled(tmp_path):
    # codegen2-1B's does: 2, which its tokenizer reads as '#'.
    shutil.copytree(TOY_FOLDER, tmp_path / "copy")
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config | {"eos_token_id": 2}))
    (tmp_path / "copy" / "generation_config.json").unlink(missing_ok=True)  # it would have the say
    base = load_base("toy", str(tmp_path / "copy"))
    assert base.model.generation_config.eos_token_id == base.tokenizer.eos_token_id != 2
    assert base.stored_end_ids == (2,), "the paper's code left it in place"


def test_a_config_without_an_end_of_sequence_has_the_tokenizers(tmp_path):
    shutil.copytree(TOY_FOLDER, tmp_path / "copy")
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config | {"eos_token_id": None}))
    (tmp_path / "copy" / "generation_config.json").unlink(missing_ok=True)
    base = load_base("toy", str(tmp_path / "copy"))
    assert base.stored_end_ids == (base.tokenizer.eos_token_id,)


def test_a_checkpoint_with_fewer_layers_than_its_config_is_refused(tmp_path):
    shutil.copytree(TOY_FOLDER, tmp_path / "copy")
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    config |= {"num_hidden_layers": config["num_hidden_layers"] + 1, "layer_types": None}
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"must match its config\.json but \d+ weights are missing"):
        load_base("toy", str(tmp_path / "copy"))


def test_a_checkpoint_with_more_layers_than_its_config_is_refused(tmp_path):
    shutil.copytree(TOY_FOLDER, tmp_path / "copy")
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    config |= {"num_hidden_layers": config["num_hidden_layers"] - 1, "layer_types": None}
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="weights have no place"):
        load_base("toy", str(tmp_path / "copy"))


def test_a_folder_without_a_tokenizer_is_refused_by_name(tmp_path):
    shutil.copytree(TOY_FOLDER, tmp_path / "copy")
    for file in (tmp_path / "copy").glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ValueError, match="must hold a tokenizer"):
        load_base("toy", str(tmp_path / "copy"))


def test_quantising_without_bitsandbytes_is_refused_with_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ValueError, match=r"need bitsandbytes.*pip install bitsandbytes"):
        load_base("toy", weights="nf4")


def test_a_codegen2_checkpoint_is_regrouped_and_says_so(small_model):
    base = load_base("codegen2-1B", small_model("codegen2"))
    assert "8 blocks" in base.notes
    assert "regrouped from 8 to 4" in base.adapter_note["README.md"]


def test_a_codegen_checkpoint_of_the_first_generation_is_left_alone(small_model):
    base = load_base("codegen-350M-mono", small_model("codegen"))
    assert base.notes is None
    assert base.adapter_note is None


def test_t5_is_held_in_bfloat16_or_float32_never_in_float16(small_model):
    # Its activations exceed float16's range.
    for weights in ("half", "float32"):
        assert load_base(small_model("t5"), weights=weights).model.dtype in (torch.bfloat16, torch.float32)


def save_quantized(kind, source, folder):
    """The model of `source` as a checkpoint that is quantised already."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    if kind == "int8":
        load_base(source, weights="int8").model.save_pretrained(folder)
        return
    weights = load_file(f"{source}/model.safetensors")
    for name in [name for name in weights if name.endswith("proj.weight")]:
        scale = weights[name].abs().max() / 448
        weights[name] = (weights[name] / scale).to(torch.float8_e4m3fn)
        weights[f"{name}_scale_inv"] = scale.reshape(1, 1)
    save_file(weights, f"{folder}/model.safetensors", metadata={"format": "pt"})
    scheme = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    change_config(folder, quantization_config=scheme)


def change_config(folder, **changes):
    file = Path(folder) / "config.json"
    config = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


@pytest.mark.parametrize(("kind", "scheme"), [("int8", "bitsandbytes"), ("fp8", "fp8")])
def test_a_checkpoint_that_is_quantised_already_is_refused_whatever_config_json_says(
    tmp_path, small_model, kind, scheme
):
    save_quantized(kind, small_model("llama"), tmp_path)
    for weights in ("half", "int8", "nf4"):
        with pytest.raises(ValueError, match=rf"must hold plain weights but .* are quantised \({scheme}\)"):
            load_base(str(tmp_path), weights=weights)
    change_config(tmp_path, quantization_config=None)
    with pytest.raises(ValueError, match=r"must hold plain weights but stores .* as (I8|F8_E4M3)"):
        load_base(str(tmp_path))


@pytest.mark.parametrize("codes", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_codes_in_a_file_of_pytorchs_own_format_are_no_weights_either(tmp_path, small_model, codes):
    folder = shutil.copytree(small_model("llama"), tmp_path / "bin")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    ids = torch.tensor([[5, 6, 7, 8]])
    assert torch.equal(load_base(str(folder)).model(ids).logits, load_base(small_model("llama")).model(ids).logits)
    name = next(name for name in weights if name.endswith("proj.weight"))
    torch.save({**weights, name: weights[name].to(codes)}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=rf"must hold plain weights but stores {name} as {codes}"):
        load_base(str(folder))


def test_an_adapter_beside_the_weights_is_left_out_and_the_notes_say_so(tmp_path, small_model):
    folder, ids = small_model("llama"), torch.tensor([[5, 6, 7, 8]])
    shutil.copytree(folder, tmp_path / "both")
    base = load_base(folder)
    plain = base.model(ids).logits
    with Lora(init_lora_weights="orthogonal").applied(base) as adapted:
        assert not torch.equal(adapted(ids).logits, plain)
        adapted.save_pretrained(tmp_path / "both")
    both = load_base(str(tmp_path / "both"))
    assert torch.equal(both.model(ids).logits, plain)
    assert both.notes == "the adapter beside the weights (adapter_config.json) was left out"


def test_a_pad_token_beyond_the_embedding_gives_way_to_eos_and_the_notes_say_so(tmp_path):
    shutil.copytree(TOY_FOLDER, tmp_path / "copy")
    tokenizer = AutoTokenizer.from_pretrained(TOY_FOLDER)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(tmp_path / "copy")
    change_config(tmp_path / "copy", pad_token_id=1536)
    base = load_base(str(tmp_path / "copy"))
    assert base.tokenizer.pad_token_id == base.model.config.pad_token_id == base.tokenizer.eos_token_id
    assert base.notes == "padded with eos, since the model has 1536 tokens and the tokenizer's pad token the id 1536"


def test_an_end_of_sequence_token_beyond_the_embedding_is_refused(tmp_path):
    shutil.copytree(TOY_FOLDER, tmp_path / "copy")
    tokenizer = AutoTokenizer.from_pretrained(TOY_FOLDER)
    tokenizer.add_special_tokens({"eos_token": "[END]"})
    tokenizer.save_pretrained(tmp_path / "copy")
    with pytest.raises(ValueError, match="must be one of the model's 1536 tokens but has the id 1536"):
        load_base(str(tmp_path / "copy"))


@pytest.mark.parametrize(("change", "first"), [({"vocab_size": 1600}, "1536x64 and not 1600x64"),
                                               ({"num_attention_heads": 8}, "64x64 and not 64x128")])  # fmt: skip
def test_weights_of_other_shapes_than_the_config_says_are_refused(tmp_path, small_model, change, first):
    shutil.copytree(small_model("llama"), tmp_path / "copy")
    change_config(tmp_path / "copy", **change)
    with pytest.raises(ValueError, match=f"must match its config.json but . weights have another shape .*{first}"):
        load_base(str(tmp_path / "copy"))


def test_an_adapter_or_a_trainers_state_beside_the_weights_makes_no_other_revision(tmp_path, small_model):
    shutil.copytree(small_model("llama"), tmp_path / "copy")
    revision = load_base(small_model("llama")).revision
    save_file({"a": torch.zeros(1)}, tmp_path / "copy" / "adapter_model.safetensors")
    (tmp_path / "copy" / "optimizer.bin").write_bytes(b"x")
    assert load_base(str(tmp_path / "copy")).revision == revision


SWITCHES = [
    {"attn_implementation": "flash_attention_2"},
    {"_attn_implementation": "flash_attention_2"},
    {"use_cache": False},
    {"return_dict": False},
    {"output_hidden_states": True},
    {"output_attentions": True},
    {"guidance_scale": 2.0},
    {"repetition_penalty": 3.0, "no_repeat_ngram_size": 1, "suppress_tokens": [5, 6, 7]},
    {"forced_bos_token_id": 9, "forced_eos_token_id": 9, "do_sample": True, "num_beam_groups": 2, "min_new_tokens": 7},
]


@pytest.mark.parametrize("kind", ["codegen", "llama", "t5"])
def test_what_a_checkpoint_says_of_caches_outputs_and_decoding_changes_no_candidate(tmp_path, small_model, kind):
    examples = [Example("a", "sort list `xs` by length", "x"), Example("b", "reverse it and print each element", "x")]

    def candidates(folder):
        base = load_base(folder)
        prompts = [Encoder(base.tokenizer, base.is_encoder_decoder).encode(each) for each in examples]
        search = Search(max_new_tokens=6, num_beams=3, num_return_sequences=3)
        return generate(base.model, base.tokenizer, prompts, search)

    expected = candidates(small_model(kind))
    for number, switches in enumerate(SWITCHES):
        folder = tmp_path / str(number)
        shutil.copytree(small_model(kind), folder)
        change_config(folder, **switches)
        if "use_cache" not in switches:
            (folder / "generation_config.json").write_text(json.dumps(switches))
        assert candidates(str(folder)) == expected, switches


def edited(folder, kind, small_model, change):
    """A copy of a small model whose stored tensors `change` has edited."""
    shutil.copytree(small_model(kind), folder)
    weights = load_file(folder / "model.safetensors")
    save_file(change(weights), folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_no_finite_numbers_are_refused_by_their_name(tmp_path, small_model, value):
    def change(weights):
        weights["transformer.h.1.ln_1.weight"][-1] = value
        return weights

    copy = edited(tmp_path / "copy", "codegen", small_model, change)
    with pytest.raises(ValueError, match=r"must be finite numbers but transformer\.h\.1\.ln_1\.weight are not"):
        load_base(copy)


def test_tensors_without_a_place_are_left_out_and_the_notes_name_them(tmp_path, small_model):
    names = [f"model.layers.{layer}.self_attn.q_proj.lora_{part}" for layer in (0, 1) for part in "AB"]

    def change(weights):
        return weights | {name: torch.ones(2) for name in names}

    notes = load_base(edited(tmp_path / "copy", "llama", small_model, change)).notes
    assert notes == (f"4 tensors of the checkpoint have no place in the model and were left out ({', '.join(names[:3])}"
                     f" and 1 more)")  # fmt: skip


def test_a_start_of_answers_that_generation_config_json_alone_has_is_kept(tmp_path, small_model):
    shutil.copytree(small_model("t5"), tmp_path / "copy")
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    del config["decoder_start_token_id"]
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config))
    stored = json.loads((tmp_path / "copy" / "generation_config.json").read_text())
    (tmp_path / "copy" / "generation_config.json").write_text(json.dumps(stored | {"decoder_start_token_id": 7}))
    base = load_base(str(tmp_path / "copy"))
    assert base.model.generation_config.decoder_start_token_id == base.model.config.decoder_start_token_id == 7
