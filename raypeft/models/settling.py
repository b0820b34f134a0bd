"""What config.json, generation_config.json and the tokenizer say beside the model itself, brought to one state.

settle_config(config)             # before the weights are loaded
settle_tokens(model, tokenizer)   # after

A checkpoint keeps switches of the program that made it: a cache turned off for gradient checkpointing, outputs as
tuples, sampling, penalties, forced tokens. Here the plan of a trial decides all of these.
"""

from __future__ import annotations

from typing import Any

SWITCHES = {"use_cache": True, "return_dict": True, "output_hidden_states": False, "output_attentions": False}
"""Run-time switches of a config.json, and the values that training and decoding rely on."""

ATTENTION = (None, "eager", "sdpa")
"""How attention may be computed where the checkpoint says how; another way (flash_attention_2) needs a package and a
GPU of the machine that it was made on, and gives way to what Transformers takes by itself."""


def settle_config(config: Any) -> None:
    """Set a config's run-time switches to what raypeft relies on. To be called before the model is made of it."""
    for name, value in SWITCHES.items():
        setattr(config, name, value)
    for name in ("gradient_checkpointing", "torchscript"):
        if getattr(config, name, False):
            setattr(config, name, False)
    if getattr(config, "_attn_implementation", None) not in ATTENTION:
        config._attn_implementation = None
    pad, size = getattr(config, "pad_token_id", None), getattr(config, "vocab_size", None)
    if pad is not None and size is not None and not 0 <= pad < size:
        config.pad_token_id = None  # `settle_tokens` sets it; the embedding could not be made with this one


def settle_tokens(model: Any, tokenizer: Any) -> str | None:
    """Set eos and pad where model and tokenizer disagree: the tokenizer's eos is what training appends.

    codegen2-1B's config, for one, says that eos is 2, which its tokenizer reads as '#'. Returns what a row should say
    of it. Raises ValueError where there is no eos, or one that the model has no embedding for.
    """
    notes = []
    rows = model.get_input_embeddings().weight.shape[0]
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    if eos is None:
        raise ValueError(f"the tokenizer of {tokenizer.name_or_path} has no end-of-sequence token; set eos_token in it")
    if eos >= rows:
        raise ValueError(f"the end-of-sequence token of {tokenizer.name_or_path} must be one of the model's {rows} "
                         f"tokens but has the id {eos}; set eos_token to one that the model knows")  # fmt: skip
    if pad is not None and pad >= rows:
        notes.append(f"padded with eos, since the model has {rows} tokens and the tokenizer's pad token the id {pad}")
    if pad is None or pad >= rows:
        tokenizer.pad_token = tokenizer.eos_token
    for config in (model.config, model.generation_config):
        config.eos_token_id = eos
        config.pad_token_id = tokenizer.pad_token_id
    model.generation_config = _plain_generation(model)
    if model.config.is_encoder_decoder:  # what training begins answers with is what decoding does
        model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id
    return "; ".join(notes) or None


def _plain_generation(model: Any) -> Any:
    """A generation config with the ids of special tokens and nothing else of the checkpoint's.

    Some checkpoints name the token that starts the decoder in generation_config.json alone, which Transformers' own
    `generate` asks first.
    """
    from transformers import GenerationConfig

    sources = model.generation_config, GenerationConfig.from_model_config(model.config)
    ids = {name: next((found for each in sources if (found := getattr(each, name)) is not None), None)
           for name in ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")}  # fmt: skip
    return GenerationConfig(**ids, use_cache=True)
