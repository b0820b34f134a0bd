"""The layers that an adapter goes to, checked against a loaded model. Planning checks those of the known classes.

check_names(["q_proj", "v_proj"], model)
check_rank(64, ["q_proj", "v_proj"], model)

PEFT passes over names that match nothing as long as one name matches, and reports a rank that is too large for PiSSA
or OLoRA only when it saves the trained adapter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from raypeft.mistakes import nearest

ALL_LINEAR = "all-linear"


def check_names(names: Sequence[str], model: Any) -> None:
    """Raise ValueError where one of `names` is no layer of `model`, by its whole name or the end of it, as in PEFT."""
    modules = [name for name, _ in model.named_modules()]
    strange = [each for each in names if not any(_is(name, each) for name in modules)]
    if strange:
        known = linear_names(model)
        hints = "".join(dict.fromkeys(nearest(each, known) for each in strange))
        raise ValueError(f"target_modules must name layers of the model ({', '.join(known)}) but got "
                         f"{', '.join(strange)}{hints}")  # fmt: skip


def unknown_layers(model: Any, method: str) -> NoReturn:
    """Raise ValueError: target_modules must be given."""
    raise ValueError(must_be_given(method, f"a model of the type {model.config.model_type}", linear_names(model)))


def must_be_given(method: str, model: str, layers: Sequence[str]) -> str:
    """Why a method has no layers to adapt in a model, and which there are to choose from."""
    return (f"target_modules must be given, since neither raypeft nor PEFT knows the usual layers of {method} for "
            f"{model}: one or more of {', '.join(layers)}, or all-linear")  # fmt: skip


def check_rank(rank: int, names: Sequence[str], model: Any) -> None:
    """Raise ValueError where `rank` exceeds the smaller side of a targeted linear layer of `model`."""
    for name, inputs, outputs in _linears(model):
        is_target = any(_is(name, each) or each == ALL_LINEAR for each in names)
        if is_target and (problem := rank_problem(rank, name.rpartition(".")[2], inputs, outputs)):
            raise ValueError(problem)


def rank_problem(rank: int, layer: str, inputs: int, outputs: int) -> str | None:
    """Why a layer of this size has no initialisation of this rank from its own weights. None if it has."""
    if rank <= min(inputs, outputs):
        return None
    return (f"lora_r must be at most the smaller side of each layer that init_lora_weights splits, but got {rank} for "
            f"{layer}, which is {inputs} by {outputs}")  # fmt: skip


def linear_names(model: Any) -> list[str]:
    """The last parts of the names of the linear layers that text goes through, each once, without the output head."""
    head, towers = model.get_output_embeddings(), towers_pattern(model)
    names = [name for name, *_ in _linears(model, but=head) if not (towers and re.fullmatch(towers, name))]
    return [*dict.fromkeys(name.rpartition(".")[2] for name in names)]


def towers_pattern(model: Any) -> str | None:
    """A regular expression for the names of what a model has beside its text model, such as a vision tower.

    Text never goes through it, so that an adapter there would have parameters and learn nothing. None: the whole model
    is one for text.
    """
    if model.config.is_encoder_decoder or model.config.get_text_config() is model.config:
        return None
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    text = next((name for name, module in model.named_modules() if module is decoder), "")
    towers = dict.fromkeys(_beside(name, text) for name, *_ in _linears(model, but=head) if text)
    return "|".join(rf"{re.escape(tower)}(\..*)?" for tower in towers if tower) or None


def _beside(name: str, text: str) -> str | None:
    """The beginning of a module's name by which it parts from that of the text model; None for one inside of it."""
    parts = name.split(".")
    for place, part in enumerate(text.split(".")):
        if place >= len(parts) or parts[place] != part:
            return ".".join(parts[: place + 1])
    return None


def _linears(model: Any, but: Any = None) -> Iterator[tuple[str, int, int]]:
    """(name, inputs, outputs) of each linear layer. Conv1D of Transformers, as in GPT-2, is one as well."""
    import torch
    from transformers.pytorch_utils import Conv1D

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and module is not but:
            yield name, module.in_features, module.out_features
        elif isinstance(module, Conv1D):
            yield name, module.nx, module.nf


def _is(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")
