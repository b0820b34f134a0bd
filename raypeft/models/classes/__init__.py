"""The classes of models that planning knows, and the architecture of a model by its config.json.

    architecture = from_folder(Path("models/SmolLM2-135M"))
    class_of(architecture).attention_modules

A class is one file here, with the record `ModelClass` at its end, and its name in `MODEL_CLASSES`; nothing else in
planning tests a model's type. A model of any other class can be loaded and tuned all the same: its parameters and its
memory are then not known beforehand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raypeft.models.architectures import Architecture, ModelClass
from raypeft.models.classes.codegen import CODEGEN
from raypeft.models.classes.llama import LLAMA
from raypeft.models.classes.t5 import T5
from raypeft.models.folders import read_config

MODEL_CLASSES: dict[str, ModelClass] = {
    model_type: model_class
    for model_class in (
        LLAMA,
        CODEGEN,
        T5,
    )
    for model_type in model_class.model_types
}
"""The class of every model type that is known."""


def class_of(architecture: Architecture) -> ModelClass:
    """The class of a model whose sizes are known."""
    return MODEL_CLASSES[architecture.model_type]


def from_config(config: dict[str, Any]) -> Architecture | None:
    """The architecture that a Transformers config.json describes; None for a model type that is not known here."""
    model_class = MODEL_CLASSES.get(str(config.get("model_type")))
    try:
        return model_class.from_config(config) if model_class else None
    except KeyError:
        return None  # relies on a default of Transformers' own


def from_folder(folder: Path) -> Architecture | None:
    """The architecture of a model's folder, from its config.json; None where that says nothing we know."""
    try:
        config = read_config(folder)
    except (OSError, ValueError):
        return None
    return from_config(config) if isinstance(config, dict) else None
