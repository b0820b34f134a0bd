"""The tuning methods, simplest first: what each one trains, its fields and its defaults.

A method is one class here and its name in the union `TuningMethod` below; nothing else in raypeft tests a
method's name. A field's name is the row's column and the sweep file's key. Defaults are the paper's
(arXiv 2308.10462v3, section 4 and its replication package). Torch and PEFT are imported only when a method is applied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from raypeft.models import Base


class Method(BaseModel):
    """What every method has. `trains` says whether there is anything to train."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    trains: ClassVar[bool] = False
    needs_float32_weights: ClassVar[bool] = False
    name: str
    num_shots: int = Field(0, ge=0, le=16, description="training examples shown in the prompt before the query")
    icl_seed: int = Field(42, description="seed of the random choice of shots")

    @contextmanager
    def applied(self, base: Base) -> Iterator[Any]:
        """Give the model to train and to generate with; afterwards `base` serves the next trial unchanged.

        Raises whatever PEFT raises where the model has none of the modules that the method targets.
        """
        yield base.model


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
    learning_rate: float = Field(gt=0, description="peak learning rate")
    num_train_epochs: float = Field(5, gt=0, description="passes over the training split; may be a fraction")
    per_device_train_batch_size: int = Field(8, ge=1, description="examples in one forward pass")
    gradient_accumulation_steps: int = Field(1, ge=1, description="forward passes in one optimiser step")
    optim: Literal["adafactor", "adamw_torch"] = Field(
        "adafactor", description="adafactor has scale_parameter and relative_step off, as in the paper's code"
    )
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    warmup_steps: float = Field(0.05, ge=0, description="warm-up steps; below 1, a share of all steps")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        "linear", description="shape of the learning rate after warm-up"
    )
    eval_every_epochs: float = Field(0.2, gt=0, description="epochs between two evaluations")


class Full(TrainedMethod):
    """Full fine-tuning: every weight of the model."""

    # Updates of 5e-5 vanish in the 8 bits of a bfloat16 mantissa, so the weights are float32 on a GPU as well.
    needs_float32_weights: ClassVar[bool] = True
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


class Lora(Adapter):
    """Low-rank adaptation (Hu et al., arXiv 2106.09685) of the attention's q, k and v projections."""

    name: Literal["lora"] = "lora"
    learning_rate: float = Field(3e-4, gt=0, description="peak learning rate")
    lora_r: int = Field(16, ge=1, description="rank of the update matrices")
    lora_alpha: float = Field(32, gt=0, description="scaling: the update is multiplied by lora_alpha / lora_r")
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="dropout on the adapter's input")
    target_modules: tuple[str, ...] | None = Field(
        None, description="names of the modules that get an adapter; None: the model family's q, k, v"
    )

    @model_validator(mode="after")
    def _targets_something(self) -> Lora:
        if self.target_modules is not None and not self.target_modules:
            raise ValueError("target_modules must name at least one module but got an empty list")
        return self

    def peft_config(self, base: Base) -> Any:
        from peft import LoraConfig

        targets = self.target_modules or base.family.attention_modules
        return LoraConfig(
            task_type=base.family.task_type,
            r=self.lora_r,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            target_modules=list(targets) if targets else None,
        )


TuningMethod = Annotated[ZeroShot | Icl | Full | Lora, Field(discriminator="name")]
METHODS: dict[str, type[Method]] = {
    method.model_fields["name"].default: method for method in (ZeroShot, Icl, Full, Lora)
}
