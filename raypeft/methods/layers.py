"""Adapters on chosen linear layers: LoRA and its variants, QLoRA, IA3."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from raypeft.methods.method import NAME
from raypeft.methods.projections import attention, feed_forward, linear_names_of
from raypeft.methods.targets import (
    ALL_LINEAR,
    check_names,
    check_rank,
    linear_names,
    must_be_given,
    rank_problem,
    towers_pattern,
    unknown_layers,
)
from raypeft.methods.trained import LEARNING_RATE, Adapter
from raypeft.mistakes import nearest
from raypeft.models.architectures import Activations, Architecture
from raypeft.models.classes import class_of
from raypeft.models.folders import safetensors_shapes
from raypeft.models.table import ModelFamily, Weights

if TYPE_CHECKING:
    from torch.nn import Parameter

    from raypeft.models.loading import Base


def _names(value: Any) -> Any:
    """`all-linear`, as PEFT has it, means the same as the list of this one name."""
    return (value,) if isinstance(value, str) else value


def _layers_of(family: ModelFamily) -> list[str]:
    """The names of a model's linear layers, as far as they are known before it is loaded."""
    if family.architecture:
        return [linear.name for linear in family.architecture.linears]
    shapes = safetensors_shapes(family.folder) if family.folder else None
    return linear_names_of(shapes) if shapes else []


class LayerAdapter(Adapter):
    """An adapter on chosen linear layers."""

    target_modules: Annotated[tuple[str, ...] | None, BeforeValidator(_names)] = Field(
        None,
        description="Names of the layers that get an adapter, or all-linear. null: the usual layers of the model class "
        "(LoRA: query, key and value projections; IA3: the feed-forward layers as well)",
    )

    @model_validator(mode="after")
    def _targets_something(self) -> LayerAdapter:
        if self.target_modules is not None and not self.target_modules:
            raise ValueError("target_modules must name at least one module but got an empty list")
        return self

    def names(self, architecture: Architecture) -> tuple[str, ...]:
        """Names of the adapted layers: `target_modules`, or else the usual layers of the model class."""
        return self.target_modules or class_of(architecture).attention_modules

    def targets(self, architecture: Architecture | None) -> list[str] | str | None:
        """`target_modules` for PEFT. None for a model that raypeft does not know: PEFT then uses its own table."""
        names = self.names(architecture) if architecture else self.target_modules
        if names == (ALL_LINEAR,):
            return ALL_LINEAR
        return list(names) if names else None

    def refusal(self, family: ModelFamily) -> str | None:
        # PEFT takes it for a name beside others. Rows of older versions that have both can still be read.
        if ALL_LINEAR in (self.target_modules or ()) and self.target_modules != (ALL_LINEAR,):
            return (f"target_modules must be {ALL_LINEAR} alone, or names without it, but got "
                    f"{', '.join(self.target_modules or ())}")  # fmt: skip
        layers = _layers_of(family)
        if not layers:
            return None
        if not self.target_modules:
            # The tables of PEFT, which planning does not load, name no decoder without a usual attention layer.
            is_found = family.architecture or self.found(layers) or attention(layers)
            return None if is_found else must_be_given(self.name, family.name, layers)
        known = {*layers, ALL_LINEAR}
        strange = [name for name in self.target_modules if name.rpartition(".")[2] not in known]
        if not strange:
            return None
        menu = ", ".join(layers)
        hints = "".join(dict.fromkeys(nearest(name, known) for name in strange))
        return f"target_modules must name layers of {family.name} ({menu}) but got {', '.join(strange)}{hints}"

    def found(self, layers: Iterable[str]) -> list[str]:
        """The usual layers among the linear layers of a model of a class that is not known."""
        return attention(layers)

    def checked_targets(self, base: Base, table: Iterable[str]) -> list[str] | str | None:
        """`targets` of a loaded model. `table` has the model types for which PEFT knows the usual layers.

        For a model that neither raypeft nor PEFT knows they are found by the names of its layers. Raises ValueError
        where a name is no layer of the model, or where no usual layer is found.
        """
        targets = self.targets(base.family.architecture)
        if targets is None and base.model.config.model_type not in table:
            return self.found(linear_names(base.model)) or unknown_layers(base.model, self.name)
        if targets is None:
            return None
        if not isinstance(targets, str):
            check_names(targets, base.model)
        return targets


class Lora(LayerAdapter):
    """LoRA: low-rank adaptation (Hu et al., arXiv 2106.09685), by default of the query, key and value projections.

    Its variants have PEFT's names: DoRA (arXiv 2402.09353), rank-stabilised scaling (2312.03732), LoRA+ (2402.12354),
    and initialisation from the base model's weights by PiSSA (2404.02948) or OLoRA (2406.01775).
    """

    activations: ClassVar[Activations] = "lora"
    advice: ClassVar[str] = "; other target_modules, or a lora_dropout of 0, may do"
    name: Literal["lora"] = Field("lora", description=NAME)
    learning_rate: float = Field(3e-4, gt=0, description=LEARNING_RATE)
    lora_r: int = Field(16, ge=1, description="Rank of the update matrices")
    lora_alpha: float = Field(32, gt=0, description="Scaling factor: the update is multiplied by lora_alpha / lora_r")
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="Dropout probability on the adapter's input")
    use_dora: bool = Field(False, description="DoRA: train the magnitude and the direction of the weights separately")
    use_rslora: bool = Field(False, description="Rank-stabilised LoRA: scale by lora_alpha / sqrt(lora_r) instead")
    loraplus_lr_ratio: float = Field(
        1.0, ge=1, description="LoRA+: the B matrices learn at so many times the learning_rate. 1: all at the same rate"
    )
    init_lora_weights: Literal["default", "gaussian", "orthogonal", "pissa", "pissa_niter_16", "olora"] = Field(
        "default", description="Initialisation of the LoRA matrices. default: A is random, B is zero"
    )

    @property
    def changes_base(self) -> bool:
        """Whether initialisation changes the base weights. PiSSA and OLoRA subtract the initial adapter from them."""
        return self.init_lora_weights.startswith(("pissa", "olora"))

    def learning_rate_of(self, name: str, parameter: Parameter) -> float:
        # DoRA's magnitudes, of one dimension, learn with B, as in PEFT's create_loraplus_optimizer.
        is_faster = "lora_B" in name or parameter.ndim == 1
        return self.learning_rate * (self.loraplus_lr_ratio if is_faster else 1.0)

    @model_validator(mode="after")
    def _is_even_where_orthogonal(self) -> Lora:
        if self.init_lora_weights == "orthogonal" and self.lora_r % 2:
            raise ValueError(f"lora_r must be even where init_lora_weights is orthogonal but got {self.lora_r}")
        return self

    def refusal(self, family: ModelFamily) -> str | None:
        if problem := super().refusal(family):
            return problem
        if family.architecture is None or not self.changes_base:
            return None
        layers = family.architecture.targets(self.names(family.architecture))
        problems = (rank_problem(self.lora_r, each.name, each.inputs, each.outputs) for each in layers)
        return next((problem for problem in problems if problem), None)

    def peft_config(self, base: Base) -> Any:
        from peft import LoraConfig
        from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as USUAL

        targets = self.checked_targets(base, USUAL)
        if self.changes_base:
            names = USUAL[base.model.config.model_type] if targets is None else targets
            check_rank(self.lora_r, [names] if isinstance(names, str) else names, base.model)
        return LoraConfig(
            task_type=base.task_type,
            r=self.lora_r,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            target_modules=targets,
            exclude_modules=towers_pattern(base.model),
            use_dora=self.use_dora,
            use_rslora=self.use_rslora,
            init_lora_weights=True if self.init_lora_weights == "default" else self.init_lora_weights,
        )

    @contextmanager
    def applied(self, base: Base) -> Iterator[Any]:
        if not self.changes_base:
            with super().applied(base) as model:
                yield model
            return
        with tempfile.TemporaryDirectory(prefix="raypeft-init-") as folder, super().applied(base) as model:
            # PEFT needs the initial adapter to convert the trained one into an adapter for the unchanged base model.
            model.peft_config["default"].init_lora_weights = True
            model.save_pretrained(folder)
            model.initial_adapter = folder
            try:
                yield model
            finally:
                base.intact = False

    def save(self, model: Any, folder: Path) -> None:
        initial = getattr(model, "initial_adapter", None)
        model.save_pretrained(str(folder), path_initial_model_for_weight_conversion=initial)
        if initial and self.use_dora:
            _add_magnitudes(model, folder)

    def added_params(self, architecture: Architecture) -> int:
        return sum(
            linear.count * (self.lora_r * (linear.inputs + linear.outputs) + self.use_dora * linear.outputs)
            for linear in architecture.targets(self.names(architecture))
        )


def _add_magnitudes(model: Any, folder: Path) -> None:
    """Add what a saved adapter lacks of a model's trained tensors: PEFT converts A and B alone, without DoRA's
    magnitudes, which are the same for the unchanged base model."""
    from peft import get_peft_model_state_dict
    from peft.utils import SAFETENSORS_WEIGHTS_NAME
    from safetensors.torch import load_file, save_file

    file = folder / SAFETENSORS_WEIGHTS_NAME
    trained = {name: tensor.cpu().contiguous() for name, tensor in get_peft_model_state_dict(model).items()}
    save_file(trained | load_file(file), file, metadata={"format": "pt"})


class Qlora8bit(Lora):
    """LoRA on a base model quantised to 8 bits by bitsandbytes (LLM.int8, Dettmers et al., arXiv 2208.07339)."""

    base_weights: ClassVar[Weights] = "int8"
    name: Literal["qlora_8bit"] = Field("qlora_8bit", description=NAME)  # type: ignore[assignment]

    @model_validator(mode="after")
    def _starts_apart_from_the_base(self) -> Qlora8bit:
        if self.changes_base:
            raise ValueError(f"init_lora_weights must not need the base's own weights, which are quantised, but got "
                             f"{self.init_lora_weights}")  # fmt: skip
        return self


class Qlora4bit(Qlora8bit):
    """QLoRA: LoRA on a base model in 4-bit nf4 with double quantisation (Dettmers et al., arXiv 2305.14314)."""

    base_weights: ClassVar[Weights] = "nf4"
    name: Literal["qlora_4bit"] = Field("qlora_4bit", description=NAME)  # type: ignore[assignment]


class Ia3(LayerAdapter):
    """IA3: learned rescaling of attention and feed-forward activations (Liu et al., arXiv 2205.05638)."""

    paper_defaults: ClassVar[dict[str, Any]] = {"learning_rate": 3e-3}
    activations: ClassVar[Activations] = "ia3"
    name: Literal["ia3"] = Field("ia3", description=NAME)
    learning_rate: float = Field(3e-4, gt=0, description=LEARNING_RATE)

    def names(self, architecture: Architecture) -> tuple[str, ...]:
        return self.target_modules or class_of(architecture).attention_modules + architecture.feed_forward_modules

    def found(self, layers: Iterable[str]) -> list[str]:
        layers = list(layers)
        return [*attention(layers), *feed_forward(layers)] if feed_forward(layers) else []

    def peft_config(self, base: Base) -> Any:
        from peft import IA3Config
        from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as FEED_FORWARD
        from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as USUAL

        architecture, model_type = base.family.architecture, base.model.config.model_type
        targets = self.checked_targets(base, USUAL)
        if targets is None:
            return IA3Config(task_type=base.task_type)
        layers = linear_names(base.model)
        inner = architecture.feed_forward_modules if architecture else tuple(feed_forward(layers))
        if not inner and model_type not in FEED_FORWARD:
            raise ValueError(f"ia3 must know which layers are feed-forward, whose inputs it rescales, but a model of "
                             f"the type {model_type} has none of a usual name ({', '.join(layers)}); lora needs "
                             f"none")  # fmt: skip
        # Named one by one or all together, the same layers get the same factors.
        names = inner if isinstance(targets, str) else targets
        rescaled = [each for each in names if each.rpartition(".")[2] in inner]
        return IA3Config(
            task_type=base.task_type,
            target_modules=targets,
            exclude_modules=towers_pattern(base.model),
            feedforward_modules=rescaled,
        )

    def added_params(self, architecture: Architecture) -> int:
        # IA3 rescales the inputs of feed-forward layers and the outputs of attention layers.
        return sum(
            linear.count * (linear.inputs if linear.feed_forward else linear.outputs)
            for linear in architecture.targets(self.names(architecture))
        )
