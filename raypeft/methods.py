"""The tuning methods, simplest first: what each one trains, its fields and its defaults.

A method is one class here and its name in the union `TuningMethod` below; nothing else in raypeft tests a
method's name. A field's name is the row's column and the sweep file's key. Defaults are the paper's
(arXiv 2308.10462v3, section 4 and its replication package); where its code differs from its text, the text's stand here
and the code's in `paper_defaults`. Torch and PEFT are imported only when a method is applied.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from raypeft.architectures import Architecture
from raypeft.models import ModelFamily, Weights

if TYPE_CHECKING:
    from raypeft.loading import Base


class Method(BaseModel):
    """What every method has. `trains` says whether there is anything to train."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    trains: ClassVar[bool] = False
    base_weights: ClassVar[Weights] = "half"
    """How the base model's weights are held."""
    paper_defaults: ClassVar[dict[str, Any]] = {}
    """Fields whose default is another one under `fidelity: paper`."""
    name: str
    num_shots: int = Field(0, ge=0, le=16, description="training examples shown in the prompt before the query")
    icl_seed: int = Field(42, description="seed of the random choice of shots")

    @contextmanager
    def applied(self, base: Base) -> Iterator[Any]:
        """Give the model to train and to generate with; afterwards `base` serves the next trial unchanged.

        Raises whatever PEFT raises where the model has none of the modules that the method targets.
        """
        yield base.model

    def refusal(self, family: ModelFamily) -> str | None:
        """Why models of this family cannot take the method, as far as planning can know; None: they can."""
        return None

    def trainable_params(self, architecture: Architecture) -> int:
        """Parameters that are trained."""
        return 0

    def added_params(self, architecture: Architecture) -> int:
        """Parameters that the method adds to those of the base model."""
        return 0


class ZeroShot(Method):
    """The base model as it is, asked without examples."""

    name: Literal["zero_shot"] = "zero_shot"
    num_shots: int = Field(0, ge=0, le=0, description="training examples shown in the prompt before the query")


class Icl(Method):
    """In-context learning: the same random training examples before every query (RQ1 of the paper)."""

    name: Literal["icl"] = "icl"
    num_shots: int = Field(8, ge=1, le=16, description="training examples shown in the prompt before the query")


class TrainedMethod(Method):
    """The training fields, named as in `transformers.TrainingArguments`."""

    trains: ClassVar[bool] = True
    saves_adapter: ClassVar[bool] = False
    checkpoints: ClassVar[bool] = True
    """Whether gradient checkpointing is possible."""
    activations: ClassVar[Literal["full", "lora", "ia3", "virtual"]] = "full"
    """Which of the counts in `raypeft.memory` says what a layer keeps for the backward pass."""
    learning_rate: float = Field(gt=0, description="peak learning rate")
    num_train_epochs: float = Field(5, gt=0, description="passes over the training split; may be a fraction")
    per_device_train_batch_size: int = Field(8, ge=1, description="examples in one forward pass")
    gradient_accumulation_steps: int = Field(1, ge=1, description="forward passes in one optimiser step")
    optim: Literal["adafactor", "adamw_torch", "adamw_8bit", "paged_adamw_8bit"] = Field(
        "adafactor",
        description="adafactor has scale_parameter and relative_step off, as in the paper's code; the 8-bit ones are "
        "bitsandbytes'",
    )
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    warmup_steps: float = Field(0.05, ge=0, description="warm-up steps; below 1, a share of all steps")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        "linear", description="shape of the learning rate after warm-up"
    )
    eval_every_epochs: float = Field(0.2, gt=0, description="epochs between two evaluations")
    gradient_checkpointing: bool | None = Field(
        None, description="compute activations twice to hold fewer; null: where the memory budget asks for it"
    )

    @model_validator(mode="after")
    def _can_checkpoint(self) -> TrainedMethod:
        if self.gradient_checkpointing and not self.checkpoints:
            raise ValueError(f"gradient_checkpointing must be off for {self.name}, whose virtual tokens live in the "
                             f"key-value cache that checkpointing turns off, but got true")  # fmt: skip
        return self


class Full(TrainedMethod):
    """Full fine-tuning: every weight of the model."""

    # Updates of 5e-5 vanish in the 8 bits of a bfloat16 mantissa, so the weights are float32 on a GPU as well.
    base_weights: ClassVar[Weights] = "float32"
    name: Literal["full"] = "full"
    learning_rate: float = Field(5e-5, gt=0, description="peak learning rate")

    @contextmanager
    def applied(self, base: Base) -> Iterator[Any]:
        base.model.requires_grad_(True)
        try:
            yield base.model
        finally:
            # Undoing a full fine-tuning would need a second copy of the weights; loading them again does not.
            base.discard()

    def trainable_params(self, architecture: Architecture) -> int:
        return architecture.total_params


class Adapter(TrainedMethod):
    """A method that PEFT knows: the base stays frozen and the adapter is trained, saved and taken off again."""

    saves_adapter: ClassVar[bool] = True

    def peft_config(self, base: Base) -> Any:
        """The method as a `peft.PeftConfig` for this base model."""
        raise NotImplementedError

    @contextmanager
    def applied(self, base: Base) -> Iterator[Any]:
        from peft import get_peft_model

        model = get_peft_model(base.model, self.peft_config(base))
        try:
            yield model
        finally:
            base.restore(model)

    def save(self, model: Any, folder: Path) -> None:
        """Write the adapter in PEFT's format; `PeftModel.from_pretrained` puts it on the same base."""
        model.save_pretrained(str(folder))

    def trainable_params(self, architecture: Architecture) -> int:
        return self.added_params(architecture)


class LayerAdapter(Adapter):
    """An adapter on chosen linear layers."""

    target_modules: tuple[str, ...] | None = Field(
        None,
        description="names of the layers that get an adapter, or all-linear; null: the model family's (for lora q, k "
        "and v, for ia3 the feed-forward as well)",
    )

    @model_validator(mode="after")
    def _targets_something(self) -> LayerAdapter:
        if self.target_modules is not None and not self.target_modules:
            raise ValueError("target_modules must name at least one module but got an empty list")
        return self

    def names(self, architecture: Architecture) -> tuple[str, ...]:
        """The layers that are adapted: the field's, else the paper's."""
        return self.target_modules or architecture.attention_modules

    def targets(self, architecture: Architecture | None) -> list[str] | str | None:
        """`target_modules` as PEFT takes it; None, for a model unknown here: PEFT's own table decides."""
        names = self.names(architecture) if architecture else self.target_modules
        if names == ("all-linear",):
            return "all-linear"
        return list(names) if names else None

    def refusal(self, family: ModelFamily) -> str | None:
        if family.architecture is None or not self.target_modules:
            return None
        known = {linear.name for linear in family.architecture.linears} | {"all-linear"}
        strange = [name for name in self.target_modules if name.rpartition(".")[2] not in known]
        if not strange:
            return None
        menu = ", ".join(linear.name for linear in family.architecture.linears)
        return f"target_modules must name layers of {family.name} ({menu}) but got {', '.join(strange)}"


class Lora(LayerAdapter):
    """Low-rank adaptation (Hu et al., arXiv 2106.09685) of the attention's q, k and v projections.

    Its variants keep PEFT's names: DoRA (arXiv 2402.09353), rank-stabilised scaling (2312.03732), and initialisation by
    the base's own weights, PiSSA (2404.02948) or OLoRA (2406.01775).
    """

    activations: ClassVar[Literal["full", "lora", "ia3", "virtual"]] = "lora"
    name: Literal["lora"] = "lora"
    learning_rate: float = Field(3e-4, gt=0, description="peak learning rate")
    lora_r: int = Field(16, ge=1, description="rank of the update matrices")
    lora_alpha: float = Field(32, gt=0, description="scaling: the update is multiplied by lora_alpha / lora_r")
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="dropout on the adapter's input")
    use_dora: bool = Field(False, description="train the magnitude of the weights apart from their direction (DoRA)")
    use_rslora: bool = Field(False, description="scale by lora_alpha / sqrt(lora_r) instead")
    init_lora_weights: Literal["default", "gaussian", "orthogonal", "pissa", "pissa_niter_16", "olora"] = Field(
        "default", description="how the matrices start; default: A random, B zero"
    )

    @property
    def changes_base(self) -> bool:
        """PiSSA and OLoRA subtract from the base's weights what the adapter starts with."""
        return self.init_lora_weights.startswith(("pissa", "olora"))

    def peft_config(self, base: Base) -> Any:
        from peft import LoraConfig

        return LoraConfig(
            task_type=base.task_type,
            r=self.lora_r,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            target_modules=self.targets(base.family.architecture),
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
            # PEFT turns what was trained into an adapter of the unchanged base by its difference from this start.
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

    def added_params(self, architecture: Architecture) -> int:
        return sum(
            linear.count * (self.lora_r * (linear.inputs + linear.outputs) + self.use_dora * linear.outputs)
            for linear in architecture.targets(self.names(architecture))
        )


class Qlora8bit(Lora):
    """LoRA on a base in bitsandbytes' int8 (Dettmers et al., arXiv 2208.07339)."""

    base_weights: ClassVar[Weights] = "int8"
    name: Literal["qlora_8bit"] = "qlora_8bit"  # type: ignore[assignment]

    @model_validator(mode="after")
    def _starts_apart_from_the_base(self) -> Qlora8bit:
        if self.changes_base:
            raise ValueError(f"init_lora_weights must not need the base's own weights, which are quantised, but got "
                             f"{self.init_lora_weights}")  # fmt: skip
        return self


class Qlora4bit(Qlora8bit):
    """LoRA on a base in nf4 with double quantisation (Dettmers et al., arXiv 2305.14314)."""

    base_weights: ClassVar[Weights] = "nf4"
    name: Literal["qlora_4bit"] = "qlora_4bit"  # type: ignore[assignment]


class Ia3(LayerAdapter):
    """Learned rescaling of attention and feed-forward activations (Liu et al., arXiv 2205.05638)."""

    paper_defaults: ClassVar[dict[str, Any]] = {"learning_rate": 3e-3}
    activations: ClassVar[Literal["full", "lora", "ia3", "virtual"]] = "ia3"
    name: Literal["ia3"] = "ia3"
    learning_rate: float = Field(3e-4, gt=0, description="peak learning rate")

    def names(self, architecture: Architecture) -> tuple[str, ...]:
        return self.target_modules or architecture.attention_modules + architecture.feed_forward_modules

    def peft_config(self, base: Base) -> Any:
        from peft import IA3Config

        architecture = base.family.architecture
        targets = self.targets(architecture)
        feed_forward = None
        if architecture and isinstance(targets, list):
            feed_forward = [name for name in targets if name in architecture.feed_forward_modules]
        return IA3Config(task_type=base.task_type, target_modules=targets, feedforward_modules=feed_forward)

    def added_params(self, architecture: Architecture) -> int:
        # Feed-forward layers are rescaled where activations enter them, those of the attention where they leave.
        return sum(
            linear.count * (linear.inputs if linear.feed_forward else linear.outputs)
            for linear in architecture.targets(self.names(architecture))
        )


class PromptTuning(Adapter):
    """Trained embeddings before the prompt (Lester et al., arXiv 2104.08691)."""

    activations: ClassVar[Literal["full", "lora", "ia3", "virtual"]] = "virtual"
    name: Literal["prompt_tuning"] = "prompt_tuning"
    learning_rate: float = Field(3e-3, gt=0, description="peak learning rate")
    num_virtual_tokens: int = Field(20, ge=1, description="trained tokens before the prompt")
    prompt_tuning_init: Literal["TEXT", "RANDOM"] = Field("TEXT", description="what the virtual tokens start as")
    prompt_tuning_init_text: str = Field(
        "Generate Python code given a natural language instruction.",
        description="the text whose embeddings the virtual tokens start as, repeated or cut to their number",
    )

    def peft_config(self, base: Base) -> Any:
        from peft import PromptTuningConfig

        text = self.prompt_tuning_init == "TEXT"
        return PromptTuningConfig(
            task_type=base.task_type,
            num_virtual_tokens=self.num_virtual_tokens,
            prompt_tuning_init=self.prompt_tuning_init,
            prompt_tuning_init_text=self.prompt_tuning_init_text if text else None,
            tokenizer_name_or_path=base.tokenizer.name_or_path if text else None,
        )

    @contextmanager
    def applied(self, base: Base) -> Iterator[Any]:
        # PEFT loads the tokenizer by name, which fails for a GGUF file and for a hub out of reach.
        with tempfile.TemporaryDirectory(prefix="raypeft-tokenizer-") as folder:
            own_name = base.tokenizer.name_or_path
            base.tokenizer.save_pretrained(folder)
            base.tokenizer.name_or_path = folder
            try:
                with super().applied(base) as model:
                    base.tokenizer.name_or_path = own_name
                    for config in model.peft_config.values():
                        if config.tokenizer_name_or_path:
                            config.tokenizer_name_or_path = own_name
                    yield model
            finally:
                base.tokenizer.name_or_path = own_name

    def added_params(self, architecture: Architecture) -> int:
        # PEFT gives an encoder-decoder a second set, for the decoder, although its prompt tuning never reads it.
        sets = 2 if architecture.is_encoder_decoder else 1
        return sets * self.num_virtual_tokens * architecture.hidden_size


class PrefixTuning(Adapter):
    """Trained keys and values before the prompt in every layer (Li & Liang, arXiv 2101.00190)."""

    checkpoints: ClassVar[bool] = False
    paper_defaults: ClassVar[dict[str, Any]] = {"num_virtual_tokens": 10}
    activations: ClassVar[Literal["full", "lora", "ia3", "virtual"]] = "virtual"
    name: Literal["prefix_tuning"] = "prefix_tuning"
    learning_rate: float = Field(3e-2, gt=0, description="peak learning rate")
    num_virtual_tokens: int = Field(20, ge=1, description="trained tokens before the prompt")

    def peft_config(self, base: Base) -> Any:
        from peft import PrefixTuningConfig

        return PrefixTuningConfig(task_type=base.task_type, num_virtual_tokens=self.num_virtual_tokens)

    def added_params(self, architecture: Architecture) -> int:
        return self.num_virtual_tokens * architecture.layers * 2 * architecture.key_value_width


TuningMethod = Annotated[
    ZeroShot | Icl | Full | Lora | Qlora8bit | Qlora4bit | Ia3 | PromptTuning | PrefixTuning,
    Field(discriminator="name"),
]
METHODS: dict[str, type[Method]] = {
    method.model_fields["name"].default: method
    for method in (ZeroShot, Icl, Full, Lora, Qlora8bit, Qlora4bit, Ia3, PromptTuning, PrefixTuning)
}
