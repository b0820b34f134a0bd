"""The table of models: where each one's weights come from, its sizes, and which layers adapters go to.

    family_of("codegen2-1B").architecture.total_params

Planning reads this file only; weights are loaded by `raypeft.models.loading`. A model outside the table (a hub id, a
folder, a GGUF file) works as well; what can be known of it comes from its config.json.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from raypeft.models.architectures import Architecture
from raypeft.models.classes import from_folder
from raypeft.models.classes.codegen import codegen
from raypeft.models.classes.llama import LlamaSizes, llama
from raypeft.models.classes.t5 import T5Sizes, t5
from raypeft.models.folders import has_chat_template, lfs_pointers, read_config, safetensors_params, weights_problem
from raypeft.models.kinds import model_problem

Weights = Literal["half", "float32", "int8", "nf4"]
"""How a base is held: bfloat16 on a GPU (float32 on a CPU), float32 anywhere, or quantised by bitsandbytes."""

TOY_FOLDER = Path(__file__).parents[1] / "data" / "toy_model"


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """What raypeft knows of a model before it is loaded."""

    name: str
    home: str
    """Where its weights come from when the sweep names no path: a hub id or a folder."""
    architecture: Architecture | None = None
    """None for a model outside the table whose config.json is not at hand, or of a kind not known here."""
    qkv_blocks: int | None = None
    """CodeGen2 only: into how many blocks its checkpoint groups q, k and v (`raypeft.models.codegen2`)."""
    folder: Path | None = None
    """Where its config.json is at hand, and with it perhaps its weights."""


def _smollm2(
    size: str, hidden_size: int, intermediate_size: int, layers: int, heads: int, kv: int
) -> list[ModelFamily]:
    sizes = llama(
        LlamaSizes(
            hidden_size=hidden_size,
            intermediate_size=intermediate_size,
            layers=layers,
            heads=heads,
            key_value_heads=kv,
            vocab_size=49_152,
            tied=True,
            context_length=8_192,
        )
    )
    return [
        ModelFamily(f"SmolLM2-{size}{kind}", f"HuggingFaceTB/SmolLM2-{size}{kind}", sizes) for kind in ("", "-Instruct")
    ]


def _qwen(size: str, hidden_size: int, intermediate_size: int, layers: int, heads: int, kv: int) -> list[ModelFamily]:
    large = size == "7B"  # the only one with an output head of its own, and with a vocabulary padded further
    sizes = llama(
        LlamaSizes(
            hidden_size=hidden_size,
            intermediate_size=intermediate_size,
            layers=layers,
            heads=heads,
            key_value_heads=kv,
            vocab_size=152_064 if large else 151_936,
            tied=not large,
            bias=True,
            context_length=32_768,
            model_type="qwen2",
        )
    )
    names = [f"Qwen2.5-Coder-{size}{kind}" for kind in ("", "-Instruct")]
    return [ModelFamily(name, f"Qwen/{name}", sizes) for name in names]


def _codellama(size: str, kind: str, sizes: Architecture) -> ModelFamily:
    name = f"CodeLlama-{size}{kind}-hf"
    return ModelFamily(name, f"codellama/{name}", sizes)


def _llama_7b(vocab_size: int) -> Architecture:
    return llama(LlamaSizes(hidden_size=4_096, intermediate_size=11_008, layers=32, heads=32, vocab_size=vocab_size))


MODELS: dict[str, ModelFamily] = {
    family.name: family
    for family in (
        ModelFamily("toy", str(TOY_FOLDER), from_folder(TOY_FOLDER)),
        ModelFamily(
            "codet5p-220m",
            "Salesforce/codet5p-220m",
            t5(T5Sizes(hidden_size=768, intermediate_size=3_072, layers=12, heads=12)),
        ),
        ModelFamily(
            "codet5p-770m",
            "Salesforce/codet5p-770m",
            t5(T5Sizes(hidden_size=1_024, intermediate_size=4_096, layers=24, heads=16)),
        ),
        ModelFamily(
            "codegen-350M-mono", "Salesforce/codegen-350M-mono", codegen(hidden_size=1_024, layers=20, heads=16)
        ),
        ModelFamily("codegen2-1B", "Salesforce/codegen2-1B", codegen(hidden_size=2_048, layers=16, heads=16), 8),
        ModelFamily("codegen2-3_7B", "Salesforce/codegen2-3_7B", codegen(hidden_size=4_096, layers=16, heads=16), 8),
        # Said to be grouped as Transformers' class expects it; the checkpoint itself decides when it is loaded.
        ModelFamily("codegen2-7B", "Salesforce/codegen2-7B", codegen(hidden_size=4_096, layers=32, heads=16), 4),
        _codellama("7b", "", _llama_7b(32_016)),
        _codellama("7b", "-Instruct", _llama_7b(32_016)),
        _codellama("7b", "-Python", _llama_7b(32_000)),
        _codellama(
            "13b",
            "-Python",
            llama(LlamaSizes(hidden_size=5_120, intermediate_size=13_824, layers=40, heads=40, vocab_size=32_000)),
        ),
        _codellama(
            "34b",
            "-Python",
            llama(
                LlamaSizes(
                    hidden_size=8_192,
                    intermediate_size=22_016,
                    layers=48,
                    heads=64,
                    key_value_heads=8,
                    vocab_size=32_000,
                )
            ),
        ),
        *_smollm2("135M", 576, 1_536, 30, 9, 3),
        *_smollm2("360M", 960, 2_560, 32, 15, 5),
        *_smollm2("1.7B", 2_048, 8_192, 24, 32, 32),
        *_qwen("0.5B", 896, 4_864, 24, 14, 2),
        *_qwen("1.5B", 1_536, 8_960, 28, 12, 2),
        *_qwen("3B", 2_048, 11_008, 36, 16, 2),
        *_qwen("7B", 3_584, 18_944, 28, 28, 4),
    )
}
"""Sizes are those of each model's own config.json; the counts that follow are those of the loaded models."""


_HUB_ID = re.compile(r"\b[\w.-]+\b/\b[\w.-]{1,96}\b(?<!\.git)", re.ASCII)
"""As `validate_repo_id` of huggingface_hub 1.x has it, which raises an error of its own for anything else."""


def is_known(model: str) -> bool:
    """Whether `model` can be resolved: a name of the table, a hub id (`owner/name`) or something on this disk."""
    return model in MODELS or _is_hub_id(model) or Path(model).expanduser().exists()


def _is_hub_id(model: str) -> bool:
    """Whether the hub could hold a model of that name: `$HOME/model` and `my models/llama` are paths with a mistake."""
    return _HUB_ID.fullmatch(model) is not None and "--" not in model and ".." not in model


def family_of(model: str, path: str | None = None) -> ModelFamily:
    """The table's entry, by name or hub id, else one made up; a config.json at hand (folder, hub cache) has the say.

    Reads at most that one small file, and again only where it has changed.
    """
    by_home = {family.home: family for family in MODELS.values()}
    family = MODELS.get(model) or by_home.get(model) or ModelFamily(model, model)
    folder = config_folder(path or family.home)
    found = from_folder(folder) if folder else None
    return replace(family, architecture=found or family.architecture, folder=folder) if folder else family


_LOOKED_UP: ContextVar[dict[str, Path | None] | None] = ContextVar("looked_up", default=None)


@contextmanager
def looked_up_once() -> Iterator[None]:
    """Within it, the place of each model is looked up once: a plan of thousands of trials asks seven times for each."""
    known = _LOOKED_UP.get()
    token = _LOOKED_UP.set({} if known is None else known)
    try:
        yield
    finally:
        _LOOKED_UP.reset(token)


def config_folder(source: str) -> Path | None:
    """The folder with the config.json of a local model, or of a hub id that was downloaded before."""
    known = _LOOKED_UP.get()
    if known is None:
        return _config_folder(source)
    if source not in known:
        known[source] = _config_folder(source)
    return known[source]


def _config_folder(source: str) -> Path | None:
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    return downloaded(source) if _is_hub_id(source) and not folder.exists() else None


def downloaded(hub_id: str, revision: str = "main") -> Path | None:
    """The folder of the hub's cache with a model's config.json, if it was downloaded before."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(hub_id, "config.json", revision=revision)
    return Path(cached).parent if isinstance(cached, str) else None


def config_of(model: str, path: str | None = None) -> dict[str, Any]:
    """The config.json of a model whose files are at hand, as plain data; empty where there is none."""
    folder = config_folder(path or family_of(model, path).home)
    found = _config(folder) if folder else None
    return found if isinstance(found, dict) else {}


def total_params(model: str, path: str | None = None) -> int | None:
    """Parameters of the base model, unquantised; None where neither table, config.json nor weights are at hand."""
    family = family_of(model, path)
    if family.architecture:
        return family.architecture.total_params
    folder = config_folder(path or family.home)
    return safetensors_params(folder) if folder else None


def chat_refusal(model: str, path: str | None = None) -> str | None:
    """Why a model cannot be asked with a chat template, as far as its files at hand tell. None if it can.

    Raises nothing: what only the loaded tokenizer shows, `raypeft.trial.encoders.check_form` finds.
    """
    family = family_of(model, path)
    folder = config_folder(path or family.home)
    lacks_template = folder is not None and has_chat_template(folder) is False
    is_encoder_decoder = family.architecture is not None and family.architecture.is_encoder_decoder
    return chat_problem(model, is_encoder_decoder, not lacks_template)


def chat_problem(model: str, is_encoder_decoder: bool, has_template: bool) -> str | None:
    """Why such a model cannot be asked with a chat template. None if it can."""
    if is_encoder_decoder:
        return f"prompt_form must be plain or fenced for {model}, an encoder-decoder, but got chat"
    if has_template:
        return None
    return (f"prompt_form must be plain or fenced for {model}, whose tokenizer has no chat template, but got chat; "
            f"an instruction-tuned model has one")  # fmt: skip


TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json")


INSTEAD = (
    "give the checkpoint that it was made from, or a GGUF file; qlora_8bit and qlora_4bit quantise it when it is loaded"
)


def quantized_by(config: Any) -> str | None:
    """The scheme (gptq, awq, bitsandbytes, fp8, ...) by which a config.json says its weights are quantised, if any."""
    found = config.get("quantization_config") if isinstance(config, dict) else None
    if not found:
        return None
    named = found.get("quant_method") if isinstance(found, dict) else None
    return str(named or "quantization_config")


def _config(folder: Path) -> Any:
    try:
        return read_config(folder)
    except (OSError, ValueError):
        return None


def folder_problem(source: str) -> str | None:
    """What a local model folder lacks to be loaded, or None. Anything else than a folder is not looked into."""
    folder = Path(source).expanduser()
    if not folder.is_dir():
        return None
    if not (folder / "config.json").is_file():
        return "must hold a config.json but has none"
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        return f"must hold a tokenizer (one of {', '.join(TOKENIZER_FILES)}) but has none"
    if pointers := lfs_pointers(folder):
        return (f"must hold the files themselves but {', '.join(pointers)} is a Git LFS pointer; run `git lfs pull` in "
                f"its repository")  # fmt: skip
    if scheme := quantized_by(_config(folder)):
        return f"must hold plain weights but config.json says that they are quantised ({scheme}); {INSTEAD}"
    config = _config(folder)
    if isinstance(config, dict) and (problem := model_problem(config)):
        return problem
    return weights_problem(folder)
