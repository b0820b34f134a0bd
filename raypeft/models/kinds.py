"""What the model type in a config.json tells of decoding and tuning before anything is loaded.

    problem(config, "prefix_tuning", beams=True)

Found with tiny models of these types (docs/models.md). A type that is not here is tried when it is loaded
(`raypeft.decoding.selfcheck`, `raypeft.training.probe`), and so are these, since libraries learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENCODERS = frozenset({
    "albert", "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "deberta", "deberta-v2",
    "distilbert", "electra", "ernie", "esm", "flaubert", "megatron-bert", "mpnet", "modernbert", "nomic_bert",
    "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm", "xlm-roberta", "xlm-roberta-xl",
    "xlnet", "xmod",
})  # fmt: skip
"""Models that see a text from both sides, and write none, unless `is_decoder` is set."""
BIDIRECTIONAL = "use_bidirectional_attention"
"""The switch by which Gemma 3 becomes a model for embeddings."""
STATES = frozenset({
    "bamba", "falcon_h1", "falcon_mamba", "granitemoehybrid", "jamba", "lfm2", "lfm2_moe", "mamba", "mamba2",
    "nemotron_h", "olmo_hybrid", "qwen3_next", "qwen3_5_text", "recurrent_gemma", "rwkv", "xlstm", "zamba", "zamba2",
})  # fmt: skip
"""Models with layers that keep a state in place of keys and values, which is what prefix tuning trains."""
SQUEEZED = frozenset({"deepseek_v2", "deepseek_v3", "falcon", "mpt"})
"""Models whose keys and values have other shapes than PEFT's prefix tuning makes (latent or multi-query attention), or
whose config does not say theirs in words that PEFT knows."""
SLOW = STATES - {"rwkv"} | {"gpt_neo", "mpt"}
"""Models that `generate` decodes by itself, without the prompts of a batch read beforehand."""


def model_problem(config: Mapping[str, Any]) -> str | None:
    """Why a model can answer nothing, by its config.json. None if it may."""
    kind = config.get("model_type")
    if any(each.get(BIDIRECTIONAL) in (True, "all") for each in (config, config.get("text_config") or {})):
        return (f"must be a causal language model or an encoder-decoder, but its config.json sets {BIDIRECTIONAL}, so "
                f"that it sees a text from both sides, as a model for embeddings does")  # fmt: skip
    if kind in ENCODERS and not config.get("is_decoder"):
        return (f"must be a causal language model or an encoder-decoder but is of the type {kind}, an encoder, which "
                f"writes no text")  # fmt: skip
    return None


def problem(config: Mapping[str, Any], method: str, beams: bool) -> str | None:
    """Why a method, or a search with beams, cannot be used with a model of this config.json. None if it may be."""
    kind = config.get("model_type")
    if kind in STATES | SQUEEZED and method == "prefix_tuning":
        what = "keep a state in place of keys" if kind in STATES else "have keys of a shape that PEFT does not make"
        return (f"must be another method for models of the type {kind}, whose layers {what}: prefix tuning trains keys "
                f"and values; lora and full need none")  # fmt: skip
    if kind == "rwkv" and beams:
        return "num_beams must be 1 for models of the type rwkv, whose state Transformers cannot give to beams"
    return None


def is_slow(config: Mapping[str, Any]) -> bool:
    """Whether Transformers' `generate` has to decode a model by itself, as far as its config.json tells."""
    return config.get("model_type") in SLOW
