"""Does the adapter that was saved do what the trained one does? It is loaded again, beside the trained one.

One short prompt goes through the model with each of them; no second model is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raypeft.records import Column, Prompt

COLUMNS = (
    Column(
        "adapter_reload_difference",
        float,
        "Largest difference between the logits of the saved adapter, loaded again, and those of the trained one, on "
        "the shortest training example, as a share of the largest logit. null: no adapter was kept, or it is one for "
        "other base weights than those that were trained with (PiSSA, OLoRA)",
    ),
)
"""`reload_difference`."""
AGAIN = "loaded_again"


def reload_difference(model: Any, folder: Path, prompt: Prompt, pad_token_id: int) -> float:
    """How far the logits of a PEFT model with the adapter in `folder` are from those with its own, as a share of the
    largest one. The model keeps its own adapter."""
    import torch

    from raypeft.training.batches import collate_for
    from raypeft.training.losses import answer_logits

    def logits() -> Any:
        model.eval()
        with torch.inference_mode():
            return answer_logits(model, collate_for(model, [prompt], pad_token_id))[0]

    trained, name = logits(), model.active_adapter
    model.load_adapter(str(folder), AGAIN)
    try:
        model.set_adapter(AGAIN)
        difference = (logits() - trained).abs().max() / trained.abs().max()
    finally:
        model.set_adapter(name)
        _delete(model)
    return float(difference)


def _delete(model: Any) -> None:
    if not model.peft_config[AGAIN].is_prompt_learning:
        model.delete_adapter(AGAIN)
        return
    for part in (model.peft_config, model.prompt_encoder, model.prompt_tokens):  # as PEFT does from 0.21 on
        del part[AGAIN]
