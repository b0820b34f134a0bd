"""What configurations say of lengths, in the words of their classes."""

import pytest
from transformers import AutoConfig

from raypeft.models.limits import context_length, rope_switch

FACTORS = {"short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
TEXT = {"max_position_embeddings": 512, "hidden_size": 64, "num_attention_heads": 4, "head_dim": 16}


@pytest.mark.parametrize(
    ("model_type", "fields", "length"),
    [
        ("llama", {"max_position_embeddings": 512}, 512),
        ("gpt2", {"n_positions": 128}, 128),
        ("mpt", {"max_seq_len": 128}, 128),
        ("gemma3", {"text_config": TEXT, "vision_config": {"hidden_size": 32}}, 512),
        ("led", {"max_encoder_position_embeddings": 128, "max_decoder_position_embeddings": 64}, 64),
        ("t5gemma", {"encoder": TEXT, "decoder": TEXT}, 512),
        ("t5", {"n_positions": 512}, None),
        ("xlnet", {}, None),
        ("mamba", {}, None),
    ],
)
def test_the_longest_sequence_is_known_whatever_its_name(model_type, fields, length):
    assert context_length(AutoConfig.for_model(model_type, **fields)) == length


@pytest.mark.parametrize(
    ("model_type", "fields", "length"),
    [
        ("phi3", {"original_max_position_embeddings": 64, "rope_scaling": {"type": "longrope", **FACTORS}}, 64),
        ("phi3", {}, None),
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}}, None),
    ],
)
def test_the_length_at_which_longrope_changes_its_factors_is_known(model_type, fields, length):
    config = AutoConfig.for_model(model_type, **TEXT, **fields) if model_type != "phi3" else AutoConfig.for_model(
        "phi3", hidden_size=64, num_attention_heads=4, max_position_embeddings=512, **fields)  # fmt: skip
    assert rope_switch(config) == length
