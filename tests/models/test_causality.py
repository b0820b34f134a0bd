"""A model that sees later tokens is refused, whatever its type is called."""

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from raypeft.models.causality import check_causal
from raypeft.models.loading import load_base
from scripts.model_classes import CLASSES, make

ENCODER = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.3}


@pytest.mark.parametrize(
    ("model_type", "fields"),
    [
        ("xmod", ENCODER | {"default_language": "en_XX"}),
        ("gemma3_text", CLASSES["gemma3_text"] | {"use_bidirectional_attention": True}),
        ("xlnet", {"d_model": 64, "n_layer": 2, "n_head": 4, "d_inner": 128, "initializer_range": 0.3}),
    ],
)
def test_a_model_that_sees_later_tokens_is_refused(model_type, fields):
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, vocab_size=512, **fields))
    with pytest.raises(ValueError, match=f"is of the type {model_type}, whose answer to a token depends on the tokens"):
        check_causal(model)


@pytest.mark.parametrize("name", ["gpt2", "gemma3_text", "mamba", "falcon"])
def test_a_causal_model_passes(tmp_path, name):
    model = load_base(make(name, tmp_path)).model
    model.train()
    check_causal(model)
    assert model.training, "its mode is left as it was"
