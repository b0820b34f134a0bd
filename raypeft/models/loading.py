"""Loading a base model from the hub, a folder or a GGUF file, and the one base that a process holds.

    base = load_base("toy")
    base = load_base("SmolLM2-135M-Instruct", path="models/SmolLM2-135M-Instruct.Q4_1.gguf", weights="nf4")

Never runs code that came with a checkpoint (`trust_remote_code`).
"""

from __future__ import annotations

import gc
import pickle
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from raypeft import gpu
from raypeft.models.causality import check_causal
from raypeft.models.classes import from_config
from raypeft.models.folders import is_lfs_pointer, weight_files, weights_problem, weights_revision
from raypeft.models.kinds import model_problem
from raypeft.models.limits import context_length
from raypeft.models.loaded import check_finite, left_out
from raypeft.models.settling import settle_config, settle_tokens
from raypeft.models.table import INSTEAD, ModelFamily, Weights, downloaded, family_of, folder_problem, quantized_by

NO_ADAPTER = "raypeft-reads-no-adapter"
"""Where Transformers is told to look for an adapter, so that it does not load one that lies beside the weights."""
SCALES = (".SCB", "weight_scale", "_scale_inv", ".scales", ".qweight", ".qzeros", ".absmax", ".weight_packed")
"""How the names of tensors end that bitsandbytes, FP8, GPTQ, AWQ and compressed-tensors store beside quantised ones."""


@dataclass(slots=True)
class Base:
    """A loaded base model that several trials use in turn. `intact` is False once a trial has changed its weights."""

    family: ModelFamily
    model: Any
    tokenizer: Any
    revision: str
    """The hub's commit, or the hash of the local weights."""
    notes: str | None = None
    """What loading had to decide or change."""
    adapter_note: dict[str, str] | None = None
    """What `raypeft.models.codegen2` adds to the folder of every adapter saved on this base, where rows were moved."""
    stored_end_ids: tuple[int, ...] = ()
    """What the checkpoint's own configuration takes for the end of sequence, which need not be the tokenizer's."""
    intact: bool = True
    decoding: dict[Any, Any] = field(default_factory=dict)
    """How each kind of search and of virtual tokens is decoded on this base (`raypeft.trial.searching.chosen_path`)."""
    encoded: dict[Any, Any] = field(default_factory=dict)
    """The training examples of earlier trials as token ids (`raypeft.trial.encoders.encoded_once`)."""

    @property
    def is_encoder_decoder(self) -> bool:
        return bool(self.model.config.is_encoder_decoder)

    @property
    def task_type(self) -> str:
        """PEFT's word for the kind of model."""
        return "SEQ_2_SEQ_LM" if self.is_encoder_decoder else "CAUSAL_LM"

    @property
    def context_length(self) -> int | None:
        """The longest sequence that the model takes, in tokens. None: there is no end."""
        return context_length(self.model.config)

    @property
    def token_count(self) -> int:
        """How many tokens the model has an embedding for."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    def restore(self, adapted: Any) -> None:
        """Take a PEFT adapter off again, without merging it."""
        prompt_learning = adapted.active_peft_config.is_prompt_learning
        self.model = adapted.get_base_model() if prompt_learning else adapted.unload()
        # PEFT leaves its configuration behind and warns, at the next trial, of an adapter that is gone.
        if hasattr(self.model, "peft_config"):
            del self.model.peft_config

    def discard(self) -> None:
        """Mark the weights as changed, so that the next trial loads them again, and free them."""
        self.intact = False
        self.model = None
        gc.collect()


def load_base(model: str, path: str | None = None, revision: str | None = None, weights: Weights = "half") -> Base:
    """Load `model` for training or generation, its weights held as `weights` says.

    `path` overrides where the weights come from: a folder, a hub id, or a GGUF file (which Transformers dequantises).

    Raises OSError (from Transformers) where there is nothing to load, and ValueError where a folder is incomplete, a
    checkpoint does not match its config, or the tokenizer has no end-of-sequence token.
    """
    from transformers import AutoTokenizer

    family = family_of(model, path)
    source = Path(path or family.home).expanduser()
    where = _where(source, path or family.home, revision)
    loaded, left = _load_weights(where, weights)
    check_causal(loaded)
    tokenizer = AutoTokenizer.from_pretrained(**where)
    stored = loaded.generation_config.eos_token_id
    notes = [_adapter_note(where), left, settle_tokens(loaded, tokenizer)]
    loaded.requires_grad_(False)
    if family.architecture is None:
        # Of a model that planning could not know, the loaded config tells which layers adapters go to.
        family = replace(family, architecture=from_config(loaded.config.to_dict()))
    base = Base(family, loaded, tokenizer, _revision(source, loaded), "; ".join(filter(None, notes)) or None)
    ends = tokenizer.eos_token_id if stored is None else stored
    base.stored_end_ids = tuple(ends) if isinstance(ends, list) else (ends,)
    if loaded.config.model_type == "codegen" and not family.name.startswith("codegen-"):
        _settle_qkv(base)
    return base


def _where(source: Path, name: str, revision: str | None) -> dict[str, str]:
    """The arguments of `from_pretrained` that say where to load from."""
    if source.is_file():
        if source.suffix != ".gguf":
            raise ValueError(f"model path must be a folder, a hub id or a .gguf file but got {source}")
        with source.open("rb") as stream:
            if is_lfs_pointer(stream.read(100)):
                raise ValueError(f"{source} must be a GGUF file but is a Git LFS pointer to one; run `git lfs pull`")
        return {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    if source.is_dir():
        if problem := folder_problem(str(source)):
            raise ValueError(f"model folder {source} {problem}")
        _check_pickled(source)
        return {"pretrained_model_name_or_path": str(source)}
    return {"pretrained_model_name_or_path": name, "revision": revision or "main"}


def _check_pickled(folder: Path) -> None:
    """Raise ValueError where weights in PyTorch's own format (.bin) are the codes of a quantised model.

    Planning looks at the headers of .safetensors files; these files are read by torch alone, which leaves their tensors
    on the disk. One that it cannot read so, as of before PyTorch 1.6, is left to Transformers.
    """
    import torch

    for file in [each for each in weight_files(folder) if each.suffix == ".bin"]:
        try:
            tensors = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
        except (RuntimeError, ValueError, OSError, EOFError, pickle.UnpicklingError):
            continue
        for name, tensor in tensors.items():
            if name.endswith(".weight") and not (tensor.is_floating_point() and tensor.element_size() > 1):
                raise ValueError(f"{folder} must hold plain weights but stores {name} as {tensor.dtype}, as "
                                 f"quantised checkpoints do; {INSTEAD}")  # fmt: skip


def _load_weights(where: dict[str, str], weights: Weights) -> tuple[Any, str | None]:
    """The model, and what the row says of tensors that it has no place for."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    quantized = weights in ("int8", "nf4")
    if quantized and "gguf_file" in where:
        # Transformers quantises only checkpoints that are not quantised themselves: a copy of plain weights is one.
        with tempfile.TemporaryDirectory(prefix="raypeft-gguf-") as folder:
            plain, left = _load_weights(where, "half")
            plain.save_pretrained(folder)
            return _load_weights({"pretrained_model_name_or_path": folder}, weights)[0], left
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = gpu.half() if device == "cuda" and weights != "float32" else torch.float32
    config = AutoConfig.from_pretrained(**where)
    if "gguf_file" not in where and (scheme := quantized_by(config.to_dict())):
        raise ValueError(f"{where['pretrained_model_name_or_path']} must hold plain weights but its config.json says "
                         f"that they are quantised ({scheme}); {INSTEAD}")  # fmt: skip
    if problem := model_problem(config.to_dict()):
        raise ValueError(f"{where['pretrained_model_name_or_path']} {problem}")
    settle_config(config)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    loaded, report = kind.from_pretrained(
        **where,
        **({} if "gguf_file" in where else {"config": config}),
        adapter_kwargs={"subfolder": NO_ADAPTER},
        dtype=dtype,
        device_map={"": device},
        quantization_config=_quantization(weights, dtype) if quantized else None,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # `_check_complete` names them
    )
    settle_config(loaded.config)
    _check_complete(where, report)
    check_finite(where["pretrained_model_name_or_path"], loaded)
    for module in loaded.modules() if weights == "nf4" else ():
        # On CPUs with AVX-512 bitsandbytes packs the weights at the first evaluation into a form that passes no
        # gradients on (0.50): training after it would go on without learning anything.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    if "gguf_file" in where:
        # The weights are ordinary ones by now, but Transformers would neither train nor save them.
        loaded.is_quantized, loaded.hf_quantizer = False, None
        if hasattr(loaded.config, "quantization_config"):
            del loaded.config.quantization_config
    return loaded, left_out(report["unexpected_keys"])


def _quantization(weights: Weights, compute_dtype: Any) -> Any:
    """bitsandbytes' settings of the paper: LLM.int8 (arXiv 2208.07339); nf4, double quantisation (arXiv 2305.14314)."""
    from transformers import BitsAndBytesConfig

    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise ValueError(f"{weights} weights need bitsandbytes, which cannot be imported here ({error}); "
                         f"pip install bitsandbytes") from error  # fmt: skip
    if weights == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def _check_complete(where: dict[str, str], report: dict[str, Any]) -> None:
    """Raise ValueError where not all weights of a model are those of its checkpoint, by Transformers' `report`.

    Transformers fills what a checkpoint lacks with random numbers, passes over what it does not know, and takes codes
    of quantised weights for numbers.
    """
    name = where["pretrained_model_name_or_path"]
    missing, unexpected, other = (sorted(report[f"{kind}_keys"]) for kind in ("missing", "unexpected", "mismatched"))
    if scales := [key for key in unexpected if key.endswith(SCALES)]:
        raise ValueError(f"{name} must hold plain weights but holds the scales of quantised ones (the first: "
                         f"{scales[0]}); {INSTEAD}")  # fmt: skip
    shapes = [f"{key}, which is {'x'.join(map(str, stored))} and not {'x'.join(map(str, wanted))}"
              for key, stored, wanted in other]  # fmt: skip
    left_over = [key for key in unexpected if key.endswith((".weight", ".bias"))]
    if missing or left_over or other:
        problems = [f"{len(keys)} weights {what} (the first: {keys[0]})"
                for keys, what in ((shapes, "have another shape"), (missing, "are missing"),
                                   (left_over, "have no place")) if keys]  # fmt: skip
        raise ValueError(f"the checkpoint of {name} must match its config.json but {' and '.join(problems)}")
    # A folder was looked at before it was loaded (`_where`); what comes from the hub is at hand only now.
    folder = downloaded(name, where["revision"]) if "revision" in where else None
    if folder and (problem := weights_problem(folder)):
        raise ValueError(f"{name} {problem}")


def _adapter_note(where: dict[str, str]) -> str | None:
    """What the row says of an adapter beside the weights, which `_load_weights` leaves out."""
    from transformers.utils.peft_utils import find_adapter_config_file

    found = find_adapter_config_file(where["pretrained_model_name_or_path"], revision=where.get("revision"))
    return "the adapter beside the weights (adapter_config.json) was left out" if found else None


def _settle_qkv(base: Base) -> None:
    """Bring a CodeGen2 checkpoint into the order that Transformers' CodeGen class reads (`raypeft.models.codegen2`)."""
    from raypeft.models.codegen2 import adapter_note, choose_blocks

    layout = choose_blocks(base.model, base.tokenizer, default=base.family.qkv_blocks or 4)
    base.notes = "; ".join(filter(None, [str(layout), base.notes]))
    base.adapter_note = adapter_note(layout.blocks)


def _revision(source: Path, model: Any) -> str:
    """The hub's commit of a downloaded model, or `sha256:` and twelve digits of the local weights."""
    if not source.exists():
        return str(getattr(model.config, "_commit_hash", None))
    return weights_revision(source)


@dataclass(slots=True)
class BaseCache:
    """The one base model that a process holds. Trials of the same base, one after the other, load it once."""

    key: tuple[Any, ...] | None = None
    base: Base | None = None
    decoding: dict[tuple[Any, ...], dict[Any, Any]] = field(default_factory=dict)
    """`Base.decoding` of every base that was held: it does not change where a base is loaded again."""
    encoded: dict[Any, Any] = field(default_factory=dict)
    encoded_of: tuple[Any, ...] | None = None
    """`Base.encoded` of the last base, and which that is."""

    def get(self, model: str, path: str | None = None, revision: str | None = None, weights: Weights = "half") -> Base:
        """What `load_base` gives, loaded only if another base is held or a trial has changed this one's weights."""
        key = (model, path, revision, weights)
        self.make_room(*key)
        if self.base is None:
            self.base = load_base(model, path, revision, weights)
            self.key = key
            held = (*key, self.base.revision)
            self.base.decoding = self.decoding.setdefault(held, {})
            # Token ids do not depend on how the weights are held.
            reads = (model, path, self.base.revision)
            self.encoded_of, self.encoded = reads, self.encoded if self.encoded_of == reads else {}
            self.base.encoded = self.encoded
        return self.base

    def make_room(self, model: str, path: str | None, revision: str | None, weights: Weights) -> None:
        """Drop the base that is held unless `get` would give it."""
        if self.base is not None and (self.key != (model, path, revision, weights) or not self.base.intact):
            self.drop()

    def drop(self) -> None:
        """Forget the base and free its memory."""
        self.key = self.base = None
        gc.collect()
