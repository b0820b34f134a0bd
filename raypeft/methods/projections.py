"""The usual layers of LoRA and IA3 by the names that model classes give them.

    attention(["q_proj", "k_proj", "v_proj", "o_proj", "down_proj"])      # q_proj, k_proj, v_proj

For classes that neither raypeft nor PEFT lists. The paper adapts the projections to queries, keys and values (arXiv
2308.10462, section 4.3), and IA3 the feed-forward layers as well. Transformers' classes use few names for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

ATTENTION = frozenset({
    "q_proj", "k_proj", "v_proj", "qkv_proj", "qkv", "query", "key", "value", "query_key_value", "Wqkv", "c_attn", "q",
    "k", "v", "wq", "wk", "wv", "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "in_proj_qkvz",
})  # fmt: skip
"""Names of the layers that make queries, keys and values."""
FEED_FORWARD = frozenset({
    "gate_proj", "up_proj", "down_proj", "gate_up_proj", "fc1", "fc2", "fc_in", "fc_out", "c_fc", "wi", "wi_0", "wi_1",
    "wo", "w1", "w2", "w3", "dense_h_to_4h", "dense_4h_to_h", "gate_linear", "up_linear", "down_linear",
})  # fmt: skip
"""Names of feed-forward layers."""
NO_LAYERS = frozenset({
    "embed_tokens", "embed_positions", "wte", "wpe", "lm_head", "shared", "embed_in", "embed_out", "word_embeddings",
    "tok_embeddings", "relative_attention_bias", "embeddings",
})  # fmt: skip
"""Names of tensors of two dimensions that are no linear layers."""


def attention(names: Iterable[str]) -> list[str]:
    """Those of `names` that make queries, keys and values, in their order."""
    return [name for name in names if name in ATTENTION]


def feed_forward(names: Iterable[str]) -> list[str]:
    """Those of `names` that are feed-forward layers, in their order."""
    return [name for name in names if name in FEED_FORWARD]


def linear_names_of(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The last parts of the names of linear layers, each once, by the shapes of a checkpoint's tensors."""
    layers = [name.removesuffix(".weight").rpartition(".")[2] for name, shape in shapes.items()
              if name.endswith(".weight") and len(shape) == 2]  # fmt: skip
    return [*dict.fromkeys(layer for layer in layers if layer not in NO_LAYERS and not layer.isdecimal())]
