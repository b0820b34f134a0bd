"""Where the virtual tokens of prompt tuning and prefix tuning stand, in training and in generation.

They stand at positions 0 to n - 1, before the prompt. In training the padding is on the right, where it harms nothing.
In generation a batch needs padding between them and the prompt, which is exact only if positions are counted over real
tokens: so they are read into the cache once, as if they were the beginning of every prompt, and decoding goes on from
there with the plain base model. PEFT's own `generate` on a left-padded batch moves the logits.
"""

from __future__ import annotations

from typing import Any

from transformers import Cache


def count(model: Any) -> int:
    """How many virtual tokens stand before the prompt; 0 for models without."""
    config = _prompt_learning(model)
    return int(config.num_virtual_tokens) if config else 0


def in_logits(model: Any) -> int:
    """How many positions of a decoder's logits are virtual: prompt tuning's pass through the model as embeddings."""
    return 0 if model.config.is_encoder_decoder or _are_keys(model) else count(model)


def needs_cache(model: Any) -> bool:
    """Prefix tuning's tokens are keys and values only; with `use_cache=False` some versions have no place for them."""
    return count(model) > 0 and _are_keys(model)


def read(model: Any, cache: Cache) -> None:
    """Append the virtual tokens of a decoder-only PEFT model to `cache`, for a batch of one."""
    virtual = model.get_prompt(1)
    if not _are_keys(model):
        inner = model.get_base_model()
        # Virtual tokens may be held in float32 where the model computes in bfloat16.
        inner(inputs_embeds=virtual.to(inner.dtype), past_key_values=cache, use_cache=True, logits_to_keep=1)
        return
    for index, layer in enumerate(virtual.layers):
        cache.update(layer.keys, layer.values, index)


def _are_keys(model: Any) -> bool:
    config = _prompt_learning(model)
    return bool(config) and config.peft_type == "PREFIX_TUNING"


def _prompt_learning(model: Any) -> Any:
    config = getattr(model, "active_peft_config", None)
    return config if config is not None and config.is_prompt_learning else None
