"""T5, and CodeT5+ up to 770M, which is built as T5 is."""

from __future__ import annotations

from typing import Any

from raypeft.models.architectures import Architecture, Linear, ModelClass, SavedActivations


def t5(
    *,
    hidden_size: int,
    intermediate_size: int,
    layers: int,
    heads: int,
    head_size: int = 64,
    vocab_size: int = 32_100,
    decoder_layers: int | None = None,
    tied: bool = True,
    gated: bool = False,
    buckets: int = 32,
) -> Architecture:
    """T5: an encoder and a decoder with cross-attention, relative positions of which each stack has one table."""
    decoder_layers = decoder_layers or layers
    blocks, attentions, width = layers + decoder_layers, layers + 2 * decoder_layers, heads * head_size
    wi = [Linear(f"wi_{part}", hidden_size, intermediate_size, blocks, feed_forward=True) for part in (0, 1)]
    return Architecture(
        "t5",
        hidden_size,
        decoder_layers,
        heads,
        width,
        vocab_size,
        (
            *(Linear(name, hidden_size, width, attentions) for name in ("q", "k", "v")),
            Linear("o", width, hidden_size, attentions),
            *(wi if gated else [Linear("wi", hidden_size, intermediate_size, blocks, feed_forward=True)]),
            Linear("wo", intermediate_size, hidden_size, blocks, feed_forward=True),
        ),
        other_params=vocab_size * hidden_size * (1 if tied else 2)
        + (2 * layers + 3 * decoder_layers + 2) * hidden_size
        + 2 * buckets * heads,
        encoder_layers=layers,
    )


def _from_config(config: dict[str, Any]) -> Architecture:
    return t5(
        hidden_size=config["d_model"],
        intermediate_size=config["d_ff"],
        layers=config["num_layers"],
        heads=config["num_heads"],
        head_size=config["d_kv"],
        vocab_size=config["vocab_size"],
        decoder_layers=config.get("num_decoder_layers"),
        tied=config.get("tie_word_embeddings", True),
        gated=str(config.get("feed_forward_proj", "relu")).startswith("gated"),
        buckets=config.get("relative_attention_num_buckets", 32),
    )


# The activations are those of one block, encoder and decoder alike.
T5 = ModelClass(
    model_types=("t5",),
    attention_modules=("q", "k", "v"),
    from_config=_from_config,
    saved={
        "full": SavedActivations(57, 6, 0, 18),
        "lora": SavedActivations(65, 4, 0, 18),
        "ia3": SavedActivations(51, 8, 0, 18),
        "virtual": SavedActivations(30, 4, 0, 18),
    },
    beams_share_prompt=False,
)
