"""CodeGen and CodeGen2; how a CodeGen2 checkpoint lies on disk is the matter of `raypeft.models.codegen2`."""

from __future__ import annotations

from typing import Any

from raypeft.models.architectures import Architecture, Linear, ModelClass, SavedActivations


def codegen(
    *, hidden_size: int, layers: int, heads: int, vocab_size: int = 51_200, context_length: int = 2_048
) -> Architecture:
    """CodeGen and CodeGen2: one norm a layer, fused q, k and v, biases in the feed-forward and in the untied head."""
    inner = 4 * hidden_size
    return Architecture(
        "codegen",
        hidden_size,
        layers,
        heads,
        hidden_size,
        vocab_size,
        (
            Linear("qkv_proj", hidden_size, 3 * hidden_size, layers),
            Linear("out_proj", hidden_size, hidden_size, layers),
            Linear("fc_in", hidden_size, inner, layers, bias=True, feed_forward=True),
            Linear("fc_out", inner, hidden_size, layers, bias=True, feed_forward=True),
        ),
        other_params=vocab_size * (2 * hidden_size + 1) + 2 * (layers + 1) * hidden_size,
        context_length=context_length,
    )


def _from_config(config: dict[str, Any]) -> Architecture:
    return codegen(
        hidden_size=config["n_embd"],
        layers=config["n_layer"],
        heads=config["n_head"],
        vocab_size=config["vocab_size"],
        context_length=config["n_positions"],
    )


# The feed-forward is four times as wide as the model and counted in the multiples of its width.
CODEGEN = ModelClass(
    model_types=("codegen",),
    attention_modules=("qkv_proj",),
    from_config=_from_config,
    saved={
        "full": SavedActivations(80, 0, 0, 6),
        "lora": SavedActivations(72, 0, 0, 6),
        "ia3": SavedActivations(92, 0, 0, 6),
        "virtual": SavedActivations(66, 0, 0, 6),
    },
    beams_share_prompt=True,
)
