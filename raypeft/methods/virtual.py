"""Methods that train virtual tokens before the prompt. See also `raypeft.models.virtual_tokens`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from raypeft.methods.method import NAME
from raypeft.methods.trained import LEARNING_RATE, Adapter
from raypeft.models.architectures import Activations, Architecture

if TYPE_CHECKING:
    from raypeft.models.loading import Base


class PromptTuning(Adapter):
    """Prompt tuning: trained embeddings before the prompt (Lester et al., arXiv 2104.08691)."""

    activations: ClassVar[Activations] = "virtual"
    name: Literal["prompt_tuning"] = Field("prompt_tuning", description=NAME)
    learning_rate: float = Field(3e-3, gt=0, description=LEARNING_RATE)
    num_virtual_tokens: int = Field(20, ge=1, description="Number of trained virtual tokens before the prompt")
    prompt_tuning_init: Literal["TEXT", "RANDOM"] = Field(
        "TEXT", description="Initialisation of the virtual tokens: from a text, or random"
    )
    prompt_tuning_init_text: str = Field(
        "Generate Python code given a natural language instruction.",
        description="Text whose token embeddings initialise the virtual tokens. It is repeated or cut to their number",
    )

    @property
    def idle_fields(self) -> set[str]:
        return super().idle_fields | ({"prompt_tuning_init_text"} if self.prompt_tuning_init == "RANDOM" else set())

    @model_validator(mode="after")
    def _has_a_text(self) -> PromptTuning:
        if self.prompt_tuning_init == "TEXT" and not self.prompt_tuning_init_text.strip():
            raise ValueError(f"prompt_tuning_init_text must have words unless prompt_tuning_init is RANDOM but got "
                             f"{self.prompt_tuning_init_text!r}")  # fmt: skip
        return self

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
        # PEFT loads the tokenizer by name, which fails for a GGUF file or without access to the hub.
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
        # PEFT adds a second set for the decoder of an encoder-decoder model, although prompt tuning never uses it.
        sets = 2 if architecture.is_encoder_decoder else 1
        return sets * self.num_virtual_tokens * architecture.hidden_size


class PrefixTuning(Adapter):
    """Prefix tuning: trained keys and values before the prompt in every layer (Li & Liang, arXiv 2101.00190)."""

    checkpoints: ClassVar[bool] = False
    paper_defaults: ClassVar[dict[str, Any]] = {"num_virtual_tokens": 10}
    activations: ClassVar[Activations] = "virtual"
    name: Literal["prefix_tuning"] = Field("prefix_tuning", description=NAME)
    learning_rate: float = Field(3e-2, gt=0, description=LEARNING_RATE)
    num_virtual_tokens: int = Field(20, ge=1, description="Number of trained virtual tokens before the prompt")

    def peft_config(self, base: Base) -> Any:
        from peft import PrefixTuningConfig

        return PrefixTuningConfig(task_type=base.task_type, num_virtual_tokens=self.num_virtual_tokens)

    def added_params(self, architecture: Architecture) -> int:
        return self.num_virtual_tokens * architecture.layers * 2 * architecture.key_value_width
