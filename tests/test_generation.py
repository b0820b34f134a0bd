"""Decoding against `generate` of Transformers, one example at a time, as the paper's code calls it."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from raypeft import beam_attention
from raypeft.data import DATASETS
from raypeft.generation import common_prefix, generate
from raypeft.loading import load_base
from raypeft.prompts import encode, pick_shots

SEARCH = {"num_beams": 6, "num_return_sequences": 4, "max_new_tokens": 20}


@pytest.fixture(scope="module")
def base():
    torch.set_num_threads(2)
    return load_base("toy")


@pytest.fixture(scope="module")
def splits():
    return DATASETS["toy"].load(None, None)


def queries(base, splits, num_shots, count=7):
    shots = pick_shots(splits["train"], num_shots, 42)
    return [encode(example, base.tokenizer, shots) for example in splits["test"][:count]]


def plain_texts(model, tokenizer, prompts, stop):
    """What Transformers generates for one prompt after the other."""
    texts = []
    for prompt in prompts:
        ids = torch.tensor([prompt.prompt_ids])
        ends = {"stop_strings": list(stop), "tokenizer": tokenizer} if stop else {}
        rows = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, **SEARCH, **ends)
        decoded = [tokenizer.decode(row[ids.shape[1] :], skip_special_tokens=True) for row in rows]
        texts.append([text.split("\n")[0] if stop else text for text in decoded])
    return texts


def tiny_codegen(base):
    """A small random CodeGen: its attention is not written against the interface, so the usual cache serves it."""
    config = AutoConfig.for_model(
        "codegen", vocab_size=len(base.tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=1024, rotary_dim=4
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    model.generation_config.eos_token_id = model.config.eos_token_id = base.tokenizer.eos_token_id
    model.generation_config.pad_token_id = model.config.pad_token_id = base.tokenizer.pad_token_id
    return model


def tuned_toy():
    """The toy model with a LoRA adapter that changes what it says."""
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    return get_peft_model(load_base("toy").model, config).eval()


@pytest.mark.parametrize("num_shots", [0, 3])
@pytest.mark.parametrize("stop", [("\n",), ()])
def test_candidates_are_those_of_transformers_for_each_prompt_alone(base, splits, num_shots, stop):
    prompts = queries(base, splits, num_shots)
    found = generate(base.model, base.tokenizer, prompts, stop=stop, batch_size=3, **SEARCH)
    assert [[each.text for each in beams] for beams in found] == plain_texts(base.model, base.tokenizer, prompts, stop)


@pytest.mark.parametrize("make_model", [tuned_toy, tiny_codegen], ids=["lora", "codegen"])
def test_an_adapter_and_a_model_with_its_own_attention_decode_as_transformers_does(base, splits, make_model):
    model = make_model() if make_model is tuned_toy else make_model(base)
    prompts = queries(base, splits, 2, count=4)
    found = generate(model, base.tokenizer, prompts, stop=("\n",), batch_size=3, **SEARCH)
    expected = plain_texts(model, base.tokenizer, prompts, ("\n",))
    assert [[each.text for each in beams] for beams in found] == expected


def test_only_models_that_call_attention_through_the_interface_get_the_shared_cache(base):
    assert beam_attention.supports(base.model)
    assert not beam_attention.supports(tiny_codegen(base))


def test_the_batch_size_changes_no_candidate(base, splits):
    prompts = queries(base, splits, 4)
    alone, together = (
        generate(base.model, base.tokenizer, prompts, stop=("\n",), batch_size=size, **SEARCH) for size in (1, 7)
    )
    assert alone == together


def test_results_stand_in_the_order_of_the_prompts(base, splits):
    prompts = queries(base, splits, 0)
    found = generate(base.model, base.tokenizer, prompts, batch_size=2, **SEARCH)
    assert [beams[0].example_id for beams in found] == [prompt.example.id for prompt in prompts]
    assert [each.rank for each in found[0]] == [0, 1, 2, 3]


def test_a_candidate_tells_why_it_ends_and_how_long_it_is(base, splits):
    prompts = queries(base, splits, 0)
    for beams in generate(base.model, base.tokenizer, prompts, stop=("\n",), **SEARCH):
        for candidate in beams:
            assert "\n" not in candidate.text
            assert candidate.stop_reason in ("eos", "stop", "length")
            assert (candidate.token_count == 20) >= (candidate.stop_reason == "length")


def test_memory_running_out_halves_the_batch_and_loses_nothing(base, splits, monkeypatch):
    prompts = queries(base, splits, 0)
    expected = generate(base.model, base.tokenizer, prompts, **SEARCH)
    real, sizes = base.model.generate, []

    def scarce(**arguments):
        sizes.append(len(arguments["input_ids"]))
        if sizes[-1] > 2:
            raise torch.cuda.OutOfMemoryError("too much")
        return real(**arguments)

    monkeypatch.setattr(base.model, "generate", scarce)
    assert generate(base.model, base.tokenizer, prompts, batch_size=7, **SEARCH) == expected
    assert sizes[:3] == [7, 3, 1]


def test_progress_is_reported_up_to_the_last_example(base, splits):
    seen = []
    prompts = queries(base, splits, 0)
    generate(base.model, base.tokenizer, prompts, batch_size=3, report=lambda *said, **_: seen.append(said), **SEARCH)
    assert seen == [("generate", 0, 7), ("generate", 3, 7), ("generate", 6, 7), ("generate", 7, 7)]


@pytest.mark.parametrize(
    ("sequences", "expected"),
    [([[1, 2, 3, 4], [1, 2, 9, 9]], [1, 2]), ([[1, 2, 3], [1, 2, 3]], [1]), ([[1, 2, 3]], []), ([[1, 2], [2, 2]], [])],
)
def test_the_common_prefix_leaves_two_tokens_of_every_prompt(sequences, expected):
    assert common_prefix(sequences) == expected


def test_a_stop_string_of_several_characters_is_refused(base, splits):
    with pytest.raises(ValueError, match="single characters but got"):
        generate(base.model, base.tokenizer, queries(base, splits, 0), stop=("```",), **SEARCH)
