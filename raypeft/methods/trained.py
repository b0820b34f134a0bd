"""Methods that train: the fields they share, full fine-tuning, and what PEFT's adapters have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from raypeft.methods.method import NAME, Method
from raypeft.methods.optimizers import OPTIMIZERS, known_optimizer
from raypeft.models.architectures import Activations, Architecture
from raypeft.models.table import Weights

if TYPE_CHECKING:
    from raypeft.models.loading import Base

LEARNING_RATE = "Peak learning rate, reached at the end of warm-up"


class TrainedMethod(Method):
    """The training fields, named as in `transformers.TrainingArguments`."""

    trains: ClassVar[bool] = True
    saves_adapter: ClassVar[bool] = False
    checkpoints: ClassVar[bool] = True
    """Whether gradient checkpointing is possible."""
    activations: ClassVar[Activations] = "full"
    """Which of the model class's counts says what a layer keeps for the backward pass."""
    learning_rate: float = Field(gt=0, description=LEARNING_RATE)
    num_train_epochs: float = Field(
        5, gt=0, description="Number of passes over the training split. Fractions are allowed"
    )
    per_device_train_batch_size: int = Field(8, ge=1, description="Number of examples in one training batch")
    gradient_accumulation_steps: int = Field(1, ge=1, description="Number of batches in one optimiser step")
    optim: Annotated[str, BeforeValidator(known_optimizer)] = Field(
        "adafactor",
        description="Optimiser. " + "; ".join(f"{each.name}: {each.description}" for each in OPTIMIZERS.values()),
    )
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay, as in AdamW")
    max_grad_norm: float = Field(1.0, gt=0, description="Maximum norm of the gradients; larger gradients are clipped")
    warmup_steps: float = Field(
        0.05, ge=0, description="Number of warm-up steps. A value below 1 is a fraction of all steps"
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        "linear", description="Learning rate schedule after warm-up"
    )
    eval_every_epochs: float = Field(
        0.2, gt=0, description="Interval between evaluations on the validation split, in epochs"
    )
    gradient_checkpointing: bool | None = Field(
        None, description="Recompute activations to save GPU memory. null: only if the trial would not fit otherwise"
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
    name: Literal["full"] = Field("full", description=NAME)
    learning_rate: float = Field(5e-5, gt=0, description=LEARNING_RATE)

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
