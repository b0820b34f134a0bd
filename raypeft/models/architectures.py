"""What planning knows of a class of models, as records: linear layers, sizes, and what holds for every size.

    architecture = family_of("codegen2-1B").architecture
    architecture.total_params, class_of(architecture).attention_modules

The classes themselves (Llama, CodeGen, T5) are files of `raypeft.models.classes`. What a method trains follows from the
linear layers listed here (`raypeft.methods`), what it needs in memory from the sizes and the class
(`raypeft.study.memory`). The counts equal those of the loaded models (tests/models/test_architectures.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Activations = Literal["full", "lora", "ia3", "virtual"]
"""What a layer keeps for the backward pass depends on what is trained: all weights, LoRA's matrices, IA3's factors, or
virtual tokens only."""


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
    """Transformers' word, by which `class_of` finds the class."""
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
    def feed_forward_modules(self) -> tuple[str, ...]:
        return tuple(linear.name for linear in self.linears if linear.feed_forward)

    def targets(self, names: Iterable[str]) -> list[Linear]:
        """The linear layers that PEFT adapts for these `target_modules`; `all-linear` means every one.

        Of a name with dots (`self_attn.q_proj`) only the last part counts, so that what it leaves out is counted too.
        """
        wanted = {name.rpartition(".")[2] for name in names}
        return [linear for linear in self.linears if linear.name in wanted or "all-linear" in wanted]


@dataclass(frozen=True, slots=True)
class SavedActivations:
    """Bytes that one layer keeps of one token for the backward pass, as multiples of the layer's sizes.

    The numbers of a class are counted, not estimated: the storages that autograd keeps in a bfloat16 autocast forward
    pass, with the operations in float32 that CUDA's autocast keeps there (torch.autograd.graph.saved_tensors_hooks on a
    CPU, torch 2.13, Transformers 5.23), solved for the sizes.
    """

    hidden: float
    feed_forward: float
    key_value: float
    scores: float
    """Of heads x attended tokens; 0 where attention is fused and keeps no scores."""


@dataclass(frozen=True, slots=True)
class ModelClass:
    """What holds for models of one class at every size. `raypeft.models.classes` lists the classes."""

    model_types: tuple[str, ...]
    """Transformers' words in config.json (`model_type`) for the models of this class."""
    attention_modules: tuple[str, ...]
    """The attention's input projections: LoRA's targets in the paper."""
    from_config: Callable[[dict[str, Any]], Architecture | None]
    """The sizes that a config.json gives; None for a variant whose sizes are not known here. A KeyError means that the
    config relies on a default of Transformers' own, and nothing is known either."""
    saved: Mapping[Activations, SavedActivations]
    beams_share_prompt: bool
    """Whether the beams of an example attend to one copy of its prompt (`raypeft.decoding.beam_attention`)."""
