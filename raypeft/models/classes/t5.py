"""T5, and CodeT5+ up to 770M, which is built as T5 is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raypeft.models.architectures import Architecture, Linear, ModelClass, SavedActivations


@dataclass(frozen=True, kw_only=True, slots=True)
class T5Sizes:
    """The sizes of T5: an encoder and a decoder with cross-attention."""

    hidden_size: int
    intermediate_size: int
    layers: int
    """Of the encoder."""
    heads: int
    head_size: int = 64
    vocab_size: int = 32_100
    decoder_layers: int | None = None
    """None: as many as the encoder's."""
    tied: bool = True
    gated: bool = False
    buckets: int = 32
    """Of relative positions, of which each stack has one table."""


def t5(sizes: T5Sizes) -> Architecture:
    """The architecture of a T5."""
    hidden, inner, encoder_layers = sizes.hidden_size, sizes.intermediate_size, sizes.layers
    decoder_layers = sizes.decoder_layers or encoder_layers
    blocks, attentions = encoder_layers + decoder_layers, encoder_layers + 2 * decoder_layers
    width = sizes.heads * sizes.head_size
    opening = ("wi_0", "wi_1") if sizes.gated else ("wi",)
    return Architecture(
        "t5",
        hidden,
        decoder_layers,
        sizes.heads,
        width,
        sizes.vocab_size,
        (
            *(Linear(name, hidden, width, attentions) for name in ("q", "k", "v")),
            Linear("o", width, hidden, attentions),
            *(Linear(name, hidden, inner, blocks, feed_forward=True) for name in opening),
            Linear("wo", inner, hidden, blocks, feed_forward=True),
        ),
        other_params=sizes.vocab_size * hidden * (1 if sizes.tied else 2)
        + (2 * encoder_layers + 3 * decoder_layers + 2) * hidden
        + 2 * sizes.buckets * sizes.heads,
        encoder_layers=encoder_layers,
    )


def _from_config(config: dict[str, Any]) -> Architecture:
    sizes = T5Sizes(
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
    return t5(sizes)


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
