"""Llama and its relatives, which Transformers builds as it builds Llama: Qwen2 and Mistral."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raypeft.models.architectures import Architecture, Linear, ModelClass, SavedActivations


@dataclass(frozen=True, kw_only=True, slots=True)
class LlamaSizes:
    """The sizes of Llama and its relatives: gated feed-forward, RMS norms."""

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    vocab_size: int
    key_value_heads: int | None = None
    """None: as many as heads."""
    head_size: int | None = None
    """None: the hidden size over the heads."""
    tied: bool = False
    bias: bool = False
    """On q, k and v, as in Qwen2."""
    context_length: int = 16_384
    model_type: str = "llama"


def llama(sizes: LlamaSizes) -> Architecture:
    """The architecture of Llama or one of its relatives (Qwen2, Mistral)."""
    hidden, inner, layers = sizes.hidden_size, sizes.intermediate_size, sizes.layers
    head_size = sizes.head_size or hidden // sizes.heads
    query, key_value = sizes.heads * head_size, (sizes.key_value_heads or sizes.heads) * head_size
    return Architecture(
        sizes.model_type,
        hidden,
        layers,
        sizes.heads,
        key_value,
        sizes.vocab_size,
        (
            Linear("q_proj", hidden, query, layers, sizes.bias),
            Linear("k_proj", hidden, key_value, layers, sizes.bias),
            Linear("v_proj", hidden, key_value, layers, sizes.bias),
            Linear("o_proj", query, hidden, layers),
            Linear("gate_proj", hidden, inner, layers, feed_forward=True),
            Linear("up_proj", hidden, inner, layers, feed_forward=True),
            Linear("down_proj", inner, hidden, layers, feed_forward=True),
        ),
        other_params=sizes.vocab_size * hidden * (1 if sizes.tied else 2) + (2 * layers + 1) * hidden,
        context_length=sizes.context_length,
    )


def _from_config(config: dict[str, Any]) -> Architecture | None:
    if config.get("attention_bias") or config.get("mlp_bias"):
        return None
    sizes = LlamaSizes(
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
    return llama(sizes)


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
