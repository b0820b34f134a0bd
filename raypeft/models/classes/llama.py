"""Llama and its relatives, which Transformers builds as it builds Llama: Qwen2 and Mistral."""

from __future__ import annotations

from typing import Any

from raypeft.models.architectures import Architecture, Linear, ModelClass, SavedActivations


def llama(
    *,
    hidden_size: int,
    intermediate_size: int,
    layers: int,
    heads: int,
    vocab_size: int,
    key_value_heads: int | None = None,
    head_size: int | None = None,
    tied: bool = False,
    bias: bool = False,
    context_length: int = 16_384,
    model_type: str = "llama",
) -> Architecture:
    """Llama and its relatives (Qwen2, Mistral): gated feed-forward, RMS norms. `bias`: on q, k and v, as in Qwen2."""
    head_size = head_size or hidden_size // heads
    key_value = (key_value_heads or heads) * head_size
    return Architecture(
        model_type,
        hidden_size,
        layers,
        heads,
        key_value,
        vocab_size,
        (
            Linear("q_proj", hidden_size, heads * head_size, layers, bias),
            Linear("k_proj", hidden_size, key_value, layers, bias),
            Linear("v_proj", hidden_size, key_value, layers, bias),
            Linear("o_proj", heads * head_size, hidden_size, layers),
            Linear("gate_proj", hidden_size, intermediate_size, layers, feed_forward=True),
            Linear("up_proj", hidden_size, intermediate_size, layers, feed_forward=True),
            Linear("down_proj", intermediate_size, hidden_size, layers, feed_forward=True),
        ),
        other_params=vocab_size * hidden_size * (1 if tied else 2) + (2 * layers + 1) * hidden_size,
        context_length=context_length,
    )


def _from_config(config: dict[str, Any]) -> Architecture | None:
    if config.get("attention_bias") or config.get("mlp_bias"):
        return None
    return llama(
        hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        key_value_heads=config.get("num_key_value_heads"),
        head_size=config.get("head_dim"),
        vocab_size=config["vocab_size"],
        tied=config.get("tie_word_embeddings", False),
        bias=config["model_type"] == "qwen2",
        context_length=config["max_position_embeddings"],
        model_type=config["model_type"],
    )


LLAMA = ModelClass(
    model_types=("llama", "qwen2", "mistral"),
    attention_modules=("q_proj", "k_proj", "v_proj"),
    from_config=_from_config,
    saved={
        "full": SavedActivations(30, 8, 4, 0),
        "lora": SavedActivations(30, 6, 4, 0),
        "ia3": SavedActivations(22, 10, 8, 0),
        "virtual": SavedActivations(12, 6, 4, 0),
    },
    beams_share_prompt=True,
)
