"""Small random models of the classes that raypeft tunes, with the toy model's tokenizer, as folders to load from."""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from raypeft.models.codegen2 import regroup
from raypeft.models.table import TOY_FOLDER

CONTEXT = 512
CONFIGS = {
    "llama": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
              "num_key_value_heads": 2, "max_position_embeddings": CONTEXT},
    "qwen2": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
              "num_key_value_heads": 2, "max_position_embeddings": CONTEXT, "tie_word_embeddings": True},
    "codegen": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT, "rotary_dim": 8},
    "codegen2": {"n_embd": 64, "n_layer": 2, "n_head": 8, "n_positions": CONTEXT, "rotary_dim": 8},
    "t5": {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 1,
           "dropout_rate": 0.0},
}  # fmt: skip


def make_small_model(kind: str, folder: Path, **changes: object) -> str:
    """Write a random model of `kind` into `folder` and return it as a string."""
    tokenizer = AutoTokenizer.from_pretrained(TOY_FOLDER)
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    settings = {"vocab_size": len(tokenizer), **CONFIGS[kind], **special, **changes}
    config = AutoConfig.for_model("codegen" if kind == "codegen2" else kind, **settings)
    torch.manual_seed(0)
    model = (AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM).from_config(config)
    with torch.no_grad():
        # A fresh model says nearly the same whatever it reads, and beams of it tie; T5 starts with larger weights.
        for parameter in model.parameters() if kind != "t5" else ():
            parameter.mul_(3)
    if kind == "codegen2":
        regroup(model, 4, to=8)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
