"""CodeGen2's layouts: the rows of qkv_proj, which layout a checkpoint has, and what its adapters say.

With RAYPEFT_REFERENCE the logits and tokens are held against what Salesforce's own code computed for a small random
checkpoint; without it an 8-block checkpoint is made from a native one by the inverse rule.
"""

import copy
import importlib
import json
import math
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoTokenizer, BitsAndBytesConfig, CodeGenConfig, CodeGenForCausalLM

from raypeft.models.codegen2 import (
    NATIVE_BLOCKS,
    PROBE,
    adapter_note,
    choose_blocks,
    possible_blocks,
    regroup,
    write_adapter_note,
)
from raypeft.models.table import TOY_FOLDER

NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}


def small_model(seed: int = 0, **sizes: int) -> CodeGenForCausalLM:
    torch.manual_seed(seed)
    shape = {"vocab_size": 1600, "n_positions": 256, "n_embd": 64, "n_layer": 2, "n_head": 8, "rotary_dim": 8} | sizes
    return CodeGenForCausalLM(CodeGenConfig(**shape, bos_token_id=0, eos_token_id=0)).eval()


def wild(model, deviation: float):
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=deviation)
    return model


def logits(model, ids=None):
    ids = torch.arange(40).view(2, 20) if ids is None else ids
    with torch.no_grad():
        return model(input_ids=ids).logits


def qkv_weights(model):
    return [block.attn.qkv_proj.weight for block in model.transformer.h]


def saved(model, folder: Path, blocks: int) -> Path:
    """The native model as a checkpoint that stores qkv_proj in `blocks` blocks."""
    stored = copy.deepcopy(model)
    regroup(stored, NATIVE_BLOCKS, to=blocks)
    stored.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(TOY_FOLDER)


@pytest.fixture(scope="module")
def trained(tokenizer):
    """A native model that knows the probe by heart (about a second)."""
    model = small_model().train()
    ids = torch.tensor([tokenizer(PROBE)["input_ids"]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(75):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def reference():
    """What Salesforce's code computed, and the checkpoint it did it with, regrouped on the native class."""
    file = Path(os.environ.get("RAYPEFT_REFERENCE", "/nowhere")) / "codegen2_remote.pt"
    if not file.is_file():
        pytest.skip("RAYPEFT_REFERENCE names no folder with codegen2_remote.pt")
    known = torch.load(file, weights_only=True)
    sizes = {key: known["cfg"][key] for key in CodeGenConfig().to_dict() if key in known["cfg"]}
    model = CodeGenForCausalLM(CodeGenConfig(**sizes)).eval()
    missing, unexpected = model.load_state_dict(known["sd"], strict=False)
    assert not missing
    assert all(name.endswith("causal_mask") for name in unexpected)
    known["untouched"] = logits(model, known["ids"])
    regroup(model, 8)
    return SimpleNamespace(model=model, **known)


def test_the_reference_checkpoint_untouched_computes_something_else(reference):
    assert (reference.untouched[0] - reference.lo[0]).abs().max() > 1


def test_logits_of_an_unpadded_row_are_those_of_salesforces_code(reference):
    torch.testing.assert_close(logits(reference.model, reference.ids[:1]), reference.lo_np, atol=1e-5, rtol=0)


@pytest.mark.parametrize("positions", ["from the first column", "from the first real token"])
def test_logits_of_a_left_padded_batch_are_those_of_salesforces_code(reference, positions):
    # Its forward pass counts positions from the first column. Rotary positions are relative, so both are the same.
    real = reference.am.bool()
    position_ids = None if positions == "from the first column" else (reference.am.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        ours = reference.model(input_ids=reference.ids, attention_mask=reference.am, position_ids=position_ids).logits
    torch.testing.assert_close(ours[real], reference.lo[real], atol=1e-5, rtol=0)
    assert (~real).any()


def test_greedy_tokens_of_a_padded_batch_are_those_of_salesforces_code(reference):
    length = reference.gg.shape[1] - reference.ids.shape[1]
    search = {"max_new_tokens": length, "do_sample": False, "pad_token_id": 2}
    ours = reference.model.generate(reference.ids, attention_mask=reference.am, **search)
    assert torch.equal(ours, reference.gg)


def test_ten_beams_are_those_of_salesforces_code(reference):
    length = reference.gb.shape[1] - reference.ids.shape[1]
    search = {"num_beams": 10, "num_return_sequences": 10, "do_sample": False, "pad_token_id": 2}
    ours = reference.model.generate(reference.ids[:1], max_new_tokens=length, **search)
    assert torch.equal(ours, reference.gb)


def by_the_rule(weight):
    """Rows that are stored in eight blocks, in four: the rule measured on Salesforce's code."""
    channels = len(weight) // 3
    rule = weight.view(8, 3, channels // 8, -1).permute(1, 0, 2, 3).reshape(3, 4, channels // 4, -1)
    return rule.permute(1, 0, 2, 3).reshape(weight.shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("blocks", [1, 2, 4, 8, 16])
def test_regrouping_and_its_inverse_are_the_identity_bit_for_bit(blocks, dtype):
    model = small_model(n_head=16).to(dtype)
    before = [weight.clone() for weight in qkv_weights(model)]
    regroup(model, blocks)
    for weight, stored in zip(qkv_weights(model), before, strict=True):
        assert weight.dtype == dtype
        assert torch.equal(weight, stored) == (blocks == NATIVE_BLOCKS)
    regroup(model, NATIVE_BLOCKS, to=blocks)
    assert all(torch.equal(*pair) for pair in zip(before, qkv_weights(model), strict=True))


def test_fewer_than_one_block_is_refused():
    with pytest.raises(ValueError, match="at least 1 but got 0"):
        regroup(small_model(), 0)


def test_an_eight_block_checkpoint_computes_something_else_until_it_is_regrouped(tmp_path):
    native = wild(small_model(), 0.2)
    saved(native, tmp_path, blocks=8)
    loaded = CodeGenForCausalLM.from_pretrained(tmp_path).eval()
    assert not torch.allclose(logits(loaded), logits(native), atol=1e-3)
    regroup(loaded, 8)
    assert torch.equal(logits(loaded), logits(native))


def test_regrouping_moves_rows_by_the_rule_in_place_and_leaves_its_files_alone(tmp_path):
    file = saved(small_model(), tmp_path, blocks=8) / "model.safetensors"
    before = file.read_bytes()
    model = CodeGenForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    weights = [(weight, weight.data_ptr(), weight.clone()) for weight in qkv_weights(model)]
    regroup(model, 8)
    for weight, address, stored in weights:
        assert weight.data_ptr() == address
        assert torch.equal(weight, by_the_rule(stored))
    assert file.read_bytes() == before


def test_four_blocks_leave_a_model_as_it_is():
    model = small_model()
    before = [weight.clone() for weight in qkv_weights(model)]
    regroup(model, 4)
    assert all(torch.equal(*pair) for pair in zip(before, qkv_weights(model), strict=True))


def test_a_model_whose_heads_do_not_divide_is_refused_and_left_as_it_is():
    model = small_model(n_head=4)
    before = [weight.clone() for weight in qkv_weights(model)]
    with pytest.raises(ValueError, match=r"in 8 blocks needs .* but got n_head=4, n_embd=64"):
        regroup(model, 8)
    assert all(torch.equal(*pair) for pair in zip(before, qkv_weights(model), strict=True))


def test_only_a_loaded_codegen_model_without_an_adapter_is_regrouped():
    with pytest.raises(ValueError, match="regrouping is for CodeGenForCausalLM but got Linear"):
        model = torch.nn.Linear(2, 2)
        model.config = SimpleNamespace(model_type="llama")
        regroup(model, 8)
    with pytest.raises(ValueError, match="no values"):
        regroup(small_model().to("meta"), 8)
    model = small_model()
    get_peft_model(model, LoraConfig(target_modules=["qkv_proj"]))
    with pytest.raises(ValueError, match="carries an adapter already"):
        regroup(model, 8)


@pytest.mark.parametrize(("n_embd", "n_head", "expected"), [
    pytest.param(2048, 16, [4, 8], id="1B"),
    pytest.param(4096, 16, [4, 8], id="3.7B and 7B"),
    pytest.param(64, 4, [4], id="four heads"),
    pytest.param(96, 6, [], id="heads that the class itself cannot split"),
])  # fmt: skip
def test_which_block_counts_a_shape_can_take(n_embd, n_head, expected):
    config = CodeGenConfig(n_embd=n_embd, n_head=n_head)
    assert possible_blocks(config) == expected


@pytest.mark.parametrize("blocks", [4, 8])
@pytest.mark.parametrize("default", [4, 8])
def test_the_block_count_of_a_trained_checkpoint_is_found_whatever_the_default(trained, tokenizer, blocks, default):
    model = copy.deepcopy(trained)
    regroup(model, NATIVE_BLOCKS, to=blocks)
    layout = choose_blocks(model, tokenizer, default=default)
    assert (layout.blocks, layout.decided_by) == (blocks, "loss")
    assert layout.losses[blocks] < 1 < layout.losses[12 - blocks]
    assert torch.equal(logits(model), logits(trained))


@pytest.mark.parametrize("default", [4, 8])
@pytest.mark.parametrize("deviation", [0.02, 0.2, 1.0])
def test_a_random_checkpoint_gets_the_default_and_says_so(tokenizer, default, deviation):
    model = wild(small_model(), deviation)
    native = copy.deepcopy(model)
    layout = choose_blocks(model, tokenizer, default=default)
    assert (layout.blocks, layout.decided_by) == (default, "default")
    assert set(layout.losses) == {4, 8}
    regroup(native, default)
    assert torch.equal(logits(model), logits(native))


def test_a_random_checkpoint_gets_the_default_even_where_chance_sets_the_losses_far_apart(tokenizer):
    layout = choose_blocks(wild(small_model(), 3.0), tokenizer)
    assert abs(layout.losses[4] - layout.losses[8]) > 1
    assert layout.decided_by == "default"


def test_losses_too_close_to_tell_give_the_default(trained, tokenizer):
    model = copy.deepcopy(trained)
    for block in model.transformer.h:
        block.attn.out_proj.weight *= 0.1  # what attention computes hardly matters any more
    layout = choose_blocks(model, tokenizer, default=8)
    assert (layout.blocks, layout.decided_by) == (8, "default")
    assert 0.2 < layout.losses[8] - layout.losses[4] < 1


def test_a_candidate_that_the_heads_do_not_allow_is_passed_over(tokenizer):
    assert set(choose_blocks(small_model(n_head=4), tokenizer).losses) == {4}


def test_a_default_that_the_heads_do_not_allow_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"but got 8: of \[4, 8\], n_head=4 and n_embd=64 allow \[4\]"):
        choose_blocks(small_model(n_head=4), tokenizer, default=8)


def test_a_tokenizer_of_another_model_is_refused(tokenizer):
    with pytest.raises(ValueError, match="must fit the model's vocabulary of 300 but gave token"):
        choose_blocks(small_model(vocab_size=300), tokenizer)


def test_a_broken_checkpoint_gets_the_default_and_says_so(trained, tokenizer):
    model = copy.deepcopy(trained)
    model.lm_head.weight.fill_(math.nan)
    layout = choose_blocks(model, tokenizer, default=8)
    assert (layout.blocks, layout.decided_by) == (8, "default")
    assert set(layout.losses.values()) == {math.inf}


def test_choosing_is_without_dropout_and_leaves_the_mode_of_the_model(trained, tokenizer):
    model = copy.deepcopy(trained).train()
    for block in model.transformer.h:
        block.mlp.dropout.p = 0.9
    assert choose_blocks(model, tokenizer).losses == choose_blocks(copy.deepcopy(trained), tokenizer).losses
    assert model.training


def test_a_layout_in_words_says_both_losses(trained, tokenizer):
    layout = choose_blocks(copy.deepcopy(trained), tokenizer)
    assert all(f"{loss:.2f}" in str(layout) for loss in layout.losses.values())


@pytest.mark.parametrize("quantization", [NF4, {"load_in_8bit": True}], ids=["nf4, double", "int8"])
@pytest.mark.parametrize("n_embd", [64, 512])
def test_a_quantised_checkpoint_regrouped_is_the_native_one_quantised(tmp_path, quantization, n_embd):
    # With 512 channels the scales of the scales move along; with 64 they do not divide and are taken off.
    native = small_model(n_embd=n_embd, n_layer=1)
    load = {"quantization_config": BitsAndBytesConfig(**quantization), "device_map": "cpu"}
    ours = CodeGenForCausalLM.from_pretrained(saved(native, tmp_path / "8", blocks=8), **load).train()
    theirs = CodeGenForCausalLM.from_pretrained(saved(native, tmp_path / "4", blocks=4), **load).train()
    regroup(ours, 8)
    for our_weight, their_weight in zip(qkv_weights(ours), qkv_weights(theirs), strict=True):
        assert torch.equal(our_weight.data, their_weight.data)
    assert torch.equal(logits(ours), logits(theirs))


@pytest.mark.parametrize("quantization", [NF4, {"load_in_8bit": True}], ids=["nf4, double", "int8"])
def test_the_block_count_of_a_quantised_checkpoint_is_found(tmp_path, trained, tokenizer, quantization):
    load = {"quantization_config": BitsAndBytesConfig(**quantization), "device_map": "cpu"}
    model = CodeGenForCausalLM.from_pretrained(saved(trained, tmp_path, blocks=8), **load)
    layout = choose_blocks(model, tokenizer)
    assert (layout.blocks, layout.decided_by) == (8, "loss")


def test_an_adapter_is_valid_in_plain_peft_on_the_regrouped_base_only(tmp_path):
    saved(small_model(), tmp_path / "base", blocks=8)
    base = CodeGenForCausalLM.from_pretrained(tmp_path / "base")
    regroup(base, 8)
    adapted = get_peft_model(base, LoraConfig(target_modules=["qkv_proj"], init_lora_weights=False)).eval()
    expected = logits(adapted)
    adapted.save_pretrained(tmp_path / "adapter")
    write_adapter_note(tmp_path / "adapter", adapter_note(8))

    fresh = CodeGenForCausalLM.from_pretrained(tmp_path / "base")
    untouched = PeftModel.from_pretrained(copy.deepcopy(fresh), tmp_path / "adapter").eval()
    assert not torch.allclose(logits(untouched), expected, atol=1e-4)
    regroup(fresh, 8)
    assert torch.equal(logits(PeftModel.from_pretrained(fresh, tmp_path / "adapter").eval()), expected)


def test_a_saved_adapter_says_which_base_it_needs_and_keeps_what_was_there(tmp_path):
    (tmp_path / "README.md").write_text("---\nlibrary_name: peft\n---\n\nA card.\n")
    (tmp_path / "raypeft.json").write_text('{"trial": "abc"}')
    for _ in range(2):
        write_adapter_note(tmp_path, adapter_note(8))
    card, facts = (tmp_path / "README.md").read_text(), json.loads((tmp_path / "raypeft.json").read_text())
    assert card.startswith("---\nlibrary_name: peft\n---\n\nA card.\n\n## The base of this adapter\n")
    assert card.count("regrouped from 8 to 4 blocks") == 1
    assert (facts["trial"], facts["qkv_proj_blocks"]) == ("abc", 8)
    assert "regrouped from 8 to 4 blocks" in facts["note"]


def test_the_functions_that_the_note_sends_readers_to_exist():
    for name in re.findall(r"`(raypeft[.\w]+)", adapter_note(8)["README.md"]):
        module, function = name.rsplit(".", 1)
        assert callable(getattr(importlib.import_module(module), function))


def test_an_adapter_of_a_native_base_has_nothing_to_say():
    assert adapter_note(4) == {}
