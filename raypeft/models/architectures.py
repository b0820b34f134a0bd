"""The sizes of models, known without weights and without torch: parameter counts in closed form.

    architecture = from_config(json.loads(Path("model/config.json").read_text()))
    architecture.total_params

What a method trains follows from the linear layers listed here (`raypeft.methods`), what it needs in memory from the
sizes (`raypeft.study.memory`). The counts equal those of the loaded models (tests/test_architectures.py).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ATTENTION = {
    "llama": ("q_proj", "k_proj", "v_proj"),
    "qwen2": ("q_proj", "k_proj", "v_proj"),
    "mistral": ("q_proj", "k_proj", "v_proj"),
    "codegen": ("qkv_proj",),
    "t5": ("q", "k", "v"),
}
"""The attention's input projections by model type: LoRA's targets in the paper."""


@dataclass(frozen=True, slots=True)
class Linear:
    """Linear layers of one name and shape, `count` of them in the whole model."""

    name: str
    inputs: int
    outputs: int
    count: int
    bias: bool = False
    feed_forward: bool = False

    @property
    def params(self) -> int:
        return self.count * self.outputs * (self.inputs + self.bias)


@dataclass(frozen=True, slots=True)
class Architecture:
    """What the closed formulas need. Widths in features, `context_length` in tokens (None: no fixed limit)."""

    model_type: str
    """Transformers' word: a key of ATTENTION."""
    hidden_size: int
    layers: int
    """Of the decoder, where virtual tokens get their keys and values."""
    heads: int
    key_value_width: int
    """Features of a token's keys in one decoder layer (fewer than `hidden_size` with grouped-query attention)."""
    vocab_size: int
    linears: tuple[Linear, ...]
    """Every linear layer but the output head."""
    other_params: int
    """Embeddings, an untied head, norms, position tables."""
    context_length: int | None = None
    encoder_layers: int = 0

    @property
    def is_encoder_decoder(self) -> bool:
        return self.encoder_layers > 0

    @property
    def linear_params(self) -> int:
        """Parameters of the linear layers, which are what quantisation shrinks."""
        return sum(linear.params for linear in self.linears)

    @property
    def total_params(self) -> int:
        return self.linear_params + self.other_params

    @property
    def attention_modules(self) -> tuple[str, ...]:
        return ATTENTION[self.model_type]

    @property
    def feed_forward_modules(self) -> tuple[str, ...]:
        return tuple(linear.name for linear in self.linears if linear.feed_forward)

    def targets(self, names: Iterable[str]) -> list[Linear]:
        """The linear layers that PEFT adapts for these `target_modules`; `all-linear` means every one."""
        wanted = set(names)
        return [linear for linear in self.linears if linear.name in wanted or "all-linear" in wanted]


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


def from_config(config: dict[str, Any]) -> Architecture | None:
    """The architecture that a Transformers config.json describes; None for a model type that is not known here."""
    kind = config.get("model_type")
    try:
        if kind in ("llama", "qwen2", "mistral"):
            return _llama_from(config, kind)
        if kind == "codegen":
            return codegen(
                hidden_size=config["n_embd"],
                layers=config["n_layer"],
                heads=config["n_head"],
                vocab_size=config["vocab_size"],
                context_length=config["n_positions"],
            )
        if kind == "t5":
            return _t5_from(config)
    except KeyError:
        return None  # relies on a default of Transformers' own
    return None


def _llama_from(config: dict[str, Any], kind: str) -> Architecture | None:
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
        bias=kind == "qwen2",
        context_length=config["max_position_embeddings"],
        model_type=kind,
    )


def _t5_from(config: dict[str, Any]) -> Architecture:
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


def from_folder(folder: Path) -> Architecture | None:
    """The architecture of a model's folder, from its config.json; None where that says nothing we know."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return from_config(config) if isinstance(config, dict) else None


def safetensors_params(folder: Path) -> int | None:
    """The parameters in a folder's .safetensors files by their headers alone; None where there are none."""
    total = 0
    for file in folder.glob("*.safetensors"):
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
        for name, tensor in header.items():
            if name != "__metadata__":
                count = 1
                for size in tensor["shape"]:
                    count *= size
                total += count
    return total or None
