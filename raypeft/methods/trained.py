"""Methods that train: their common fields, full fine-tuning, and the base class of PEFT's adapters."""

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
    from torch.nn import Parameter

    from raypeft.models.loading import Base

LEARNING_RATE = "Peak learning rate, reached at the end of warm-up"


class TrainedMethod(Method):
    """A method that trains. Its fields have the names of `transformers.TrainingArguments`."""

    trains: ClassVar[bool] = True
    checkpoints: ClassVar[bool] = True
    """Whether the method works with gradient checkpointing."""
    activations: ClassVar[Activations] = "full"
    """Key into the model class's sizes of saved activations, for predicting memory."""
    learning_rate: float = Field(gt=0, description=LEARNING_RATE)
    num_train_epochs: float = Field(
        5, gt=0, description="Number of passes over the training split. Fractions are allowed"
    )
    per_device_train_batch_size: int = Field(8, ge=1, description="Number of examples in one training batch")
    train_sampling_strategy: Literal["random", "group_by_length"] = Field(
        "random",
        description="Order of the training examples. random: random batches. group_by_length: batches of similar "
        "length. They need less padding, but change the training objective unless loss_weighting is token",
    )
    loss_weighting: Literal["batch", "token"] = Field(
        "batch",
        description="Weight of an answer token. batch: the loss of a step is the mean over its answer tokens, as in "
        "transformers.Trainer, so that a token of a short answer weighs more than one of a long answer: in random "
        "batches of 8 of CoNaLa by 16 % (shortest against longest quarter). token: every answer token of an epoch has "
        "the same weight",
    )
    gradient_accumulation_steps: int = Field(1, ge=1, description="Number of batches in one optimiser step")
    optim: Annotated[str, BeforeValidator(known_optimizer)] = Field(
        "adafactor",
        description="Optimiser. " + "; ".join(f"{each.name}: {each.description}" for each in OPTIMIZERS.values()),
    )
    weight_decay: float = Field(
        0.0,
        ge=0,
        description="Decoupled weight decay, as in AdamW. Biases and norms do not decay, as in transformers.Trainer",
    )
    max_grad_norm: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=True,
        description="Maximum norm of the gradients; larger gradients are clipped. .inf: none is clipped",
    )
    warmup_steps: float = Field(
        0.05, ge=0, description="Number of warm-up steps; constant has none. A value below 1 is a fraction of all steps"
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

    @property
    def idle_fields(self) -> set[str]:
        # 0 is what such a schedule does: it is no mistake, and trials that say so keep their ids.
        has_idle_warmup = self.lr_scheduler_type == "constant" and self.warmup_steps
        return super().idle_fields | ({"warmup_steps"} if has_idle_warmup else set())

    def learning_rate_of(self, name: str, parameter: Parameter) -> float:
        """The peak learning rate of a parameter; `name` is its name in the model."""
        return self.learning_rate

    @model_validator(mode="after")
    def _can_checkpoint(self) -> TrainedMethod:
        if self.gradient_checkpointing and not self.checkpoints:
            raise ValueError(f"gradient_checkpointing must be off for {self.name}, whose virtual tokens live in the "
                             f"key-value cache that checkpointing turns off, but got true")  # fmt: skip
        return self


class Full(TrainedMethod):
    """Full fine-tuning: trains all weights of the model."""

    # bfloat16 has too few digits for updates of 5e-5, so the weights are float32 on a GPU as well.
    base_weights: ClassVar[Weights] = "float32"
    name: Literal["full"] = Field("full", description=NAME)
    learning_rate: float = Field(5e-5, gt=0, description=LEARNING_RATE)

    @contextmanager
    def applied(self, base: Base) -> Iterator[Any]:
        base.model.requires_grad_(True)
        try:
            yield base.model
        finally:
            # Restoring the weights would need a second copy in memory, so the next trial loads them again.
            base.discard()

    def trainable_params(self, architecture: Architecture) -> int:
        return architecture.total_params


class Adapter(TrainedMethod):
    """A method of PEFT: the base model stays frozen; an adapter is added, trained, saved and removed."""

    advice: ClassVar[str] = ""
    """What may help where PEFT refuses a model, for the end of the message."""

    @property
    def changes_base(self) -> bool:
        """Whether initialisation changes the base weights, so that the saved adapter is one for other weights."""
        return False

    def peft_config(self, base: Base) -> Any:
        """The `peft.PeftConfig` of this method for a base model."""
        raise NotImplementedError

    @contextmanager
    def applied(self, base: Base) -> Iterator[Any]:
        model = self._adapted(base)
        try:
            yield model
        finally:
            base.restore(model)

    def _adapted(self, base: Base) -> Any:
        """The base with an adapter. Raises ValueError, with PEFT's own message in it, where PEFT has none for it."""
        from peft import get_peft_model

        config = self.peft_config(base)
        try:
            return get_peft_model(base.model, config)
        except (ValueError, TypeError, AttributeError, KeyError, NotImplementedError) as error:
            kind = base.model.config.model_type
            raise ValueError(f"{self.name} must fit a model of the type {kind}, but PEFT refuses it: "
                             f"{str(error).rstrip('.')}{self.advice}") from error  # fmt: skip

    def save(self, model: Any, folder: Path) -> None:
        """Write the adapter in PEFT's format. `PeftModel.from_pretrained` loads it onto the same base model."""
        model.save_pretrained(str(folder))

    def trainable_params(self, architecture: Architecture) -> int:
        return self.added_params(architecture)
