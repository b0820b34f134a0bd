"""The table of model families, and loading a base model from the hub, a folder or a GGUF file.

    base = load_base("toy")
    base = load_base("SmolLM2-135M-Instruct", path="models/SmolLM2-135M-Instruct.Q4_1.gguf")

Planning reads the table only; torch and Transformers are imported when a model is loaded.
"""

from __future__ import annotations

import gc
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOY_FOLDER = Path(__file__).parent / "data" / "toy_model"


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """What raypeft knows of a model before it is loaded."""

    name: str
    home: str
    """Where its weights come from when the sweep names no path: a hub id or a folder."""
    attention_modules: tuple[str, ...] | None = ("q_proj", "k_proj", "v_proj")
    """LoRA's targets in the paper: the attention's input projections. None: PEFT's own table decides."""
    task_type: str = "CAUSAL_LM"
    """PEFT's word for the kind of model."""


MODELS: dict[str, ModelFamily] = {
    family.name: family
    for family in (
        ModelFamily("toy", str(TOY_FOLDER)),
        ModelFamily("SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M"),
        ModelFamily("SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ModelFamily("SmolLM2-360M", "HuggingFaceTB/SmolLM2-360M"),
        ModelFamily("SmolLM2-360M-Instruct", "HuggingFaceTB/SmolLM2-360M-Instruct"),
        ModelFamily("SmolLM2-1.7B", "HuggingFaceTB/SmolLM2-1.7B"),
        ModelFamily("SmolLM2-1.7B-Instruct", "HuggingFaceTB/SmolLM2-1.7B-Instruct"),
    )
}


def is_known(model: str) -> bool:
    """Whether `model` can be resolved: a name of the table, a hub id (`owner/name`) or something on this disk."""
    hub_id = model.count("/") == 1 and not model.startswith((".", "/", "~"))
    return model in MODELS or hub_id or Path(model).expanduser().exists()


def family_of(model: str) -> ModelFamily:
    """The table's entry, or one made up for a hub id or a path, with PEFT's own table for the target modules."""
    return MODELS.get(model) or ModelFamily(model, model, attention_modules=None)


@dataclass(slots=True)
class Base:
    """A loaded base model that several trials use in turn. `intact` is False once a trial has changed its weights."""

    family: ModelFamily
    model: Any
    tokenizer: Any
    revision: str
    """The hub's commit, or the hash of the local weights."""
    intact: bool = True

    @property
    def context_length(self) -> int:
        """The longest sequence that the model takes, in tokens."""
        return int(self.model.config.max_position_embeddings)

    def restore(self, adapted: Any) -> None:
        """Take a PEFT adapter off again, without merging it."""
        self.model = adapted.unload()
        # PEFT leaves its configuration behind and warns, at the next trial, of an adapter that is gone.
        if hasattr(self.model, "peft_config"):
            del self.model.peft_config

    def discard(self) -> None:
        """Mark the weights as changed, so that the next trial loads them again, and free them."""
        self.intact = False
        self.model = None
        gc.collect()


def load_base(model: str, path: str | None = None, revision: str | None = None, float32: bool = False) -> Base:
    """Load `model` for training or generation, in float32 on a CPU and in bfloat16 on a GPU unless `float32`.

    `path` overrides where the weights come from: a folder, a hub id, or a GGUF file (which Transformers dequantises).

    Raises OSError (from Transformers) where there is nothing to load, and ValueError where the tokenizer is missing.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    family = family_of(model)
    source = Path(path or family.home).expanduser()
    where = {"pretrained_model_name_or_path": path or family.home, "revision": revision or "main"}
    if source.is_file():
        if source.suffix != ".gguf":
            raise ValueError(f"model path must be a folder, a hub id or a .gguf file but got {source}")
        where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    elif source.is_dir():
        where = {"pretrained_model_name_or_path": str(source)}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded = AutoModelForCausalLM.from_pretrained(
        **where, dtype=torch.bfloat16 if device == "cuda" and not float32 else torch.float32
    ).to(device)
    if "gguf_file" in where:
        loaded.is_quantized = False  # the weights are ordinary ones by now, but Transformers' Trainer would refuse them
    tokenizer = AutoTokenizer.from_pretrained(**where)
    _settle_special_tokens(loaded, tokenizer)
    loaded.requires_grad_(False)
    return Base(family, loaded, tokenizer, _revision(source, loaded))


@dataclass(slots=True)
class BaseCache:
    """The one base model that a process holds. Trials of the same base, one after the other, load it once."""

    key: tuple[Any, ...] | None = None
    base: Base | None = None

    def get(self, model: str, path: str | None = None, revision: str | None = None, float32: bool = False) -> Base:
        """What `load_base` gives, loaded only if another base is held or a trial has changed this one's weights."""
        key = (model, path, revision, float32)
        if self.key != key or self.base is None or not self.base.intact:
            self.drop()
            self.base = load_base(*key)
            self.key = key
        return self.base

    def drop(self) -> None:
        """Forget the base and free its memory."""
        self.key = self.base = None
        gc.collect()


def _settle_special_tokens(model: Any, tokenizer: Any) -> None:
    """Set eos and pad where model and tokenizer disagree: the tokenizer's eos is what training appends."""
    if tokenizer.eos_token_id is None:
        raise ValueError(f"the tokenizer of {tokenizer.name_or_path} has no end-of-sequence token; set eos_token in it")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    for config in (model.config, model.generation_config):
        config.eos_token_id = tokenizer.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id
    # A checkpoint's own sampling defaults (temperature, top_p) must not leak into our decoding.
    model.generation_config = type(model.generation_config).from_model_config(model.config)


def _revision(source: Path, model: Any) -> str:
    """The hub's commit of a downloaded model, or `sha256:` and twelve digits of the local weights."""
    if not source.exists():
        return str(getattr(model.config, "_commit_hash", None))
    files = [source] if source.is_file() else sorted([*source.glob("*.safetensors"), *source.glob("*.bin")])
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:12]}"
