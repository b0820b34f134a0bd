"""Models of true size with random weights, in nf4 too, weight by weight."""

# bitsandbytes and peft are imported where they are used: a first process that only starts others must keep off the card.

from contextlib import nullcontext
from dataclasses import replace

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    CodeGenConfig,
    LlamaConfig,
    T5Config,
)

from raypeft.models.classes.codegen import codegen
from raypeft.models.classes.llama import LlamaSizes, llama
from raypeft.models.classes.t5 import T5Sizes, t5
from raypeft.models.loading import Base, _quantization
from raypeft.models.settling import settle_tokens
from raypeft.models.table import MODELS, TOY_FOLDER


def small(architecture):
    """The same kind of model, narrow and with two layers."""
    if architecture.model_type == "codegen":
        return codegen(hidden_size=64, layers=2, heads=4, vocab_size=4_096)
    if architecture.model_type == "t5":
        return t5(T5Sizes(hidden_size=64, intermediate_size=128, layers=2, heads=4, head_size=16, vocab_size=4_096))
    grouped = architecture.key_value_width < architecture.hidden_size
    tied = is_tied(architecture)
    return llama(
        LlamaSizes(
            hidden_size=64,
            intermediate_size=128,
            layers=2,
            heads=4,
            key_value_heads=1 if grouped else 4,
            vocab_size=4_096,
            tied=tied,
        )
    )


def is_tied(sizes):
    """Whether a model of the Llama class has no output head beside its embedding, as its count of parameters tells."""
    return sizes.other_params < 2 * sizes.vocab_size * sizes.hidden_size


def model_config(sizes):
    """The sizes as a Transformers config; what memory does not depend on stays at the class's defaults."""
    inner = next(linear.outputs for linear in sizes.linears if linear.feed_forward)
    if sizes.model_type == "codegen":
        head = sizes.hidden_size // sizes.heads
        return CodeGenConfig(
            n_embd=sizes.hidden_size,
            n_layer=sizes.layers,
            n_head=sizes.heads,
            vocab_size=sizes.vocab_size,
            n_positions=sizes.context_length,
            rotary_dim=min(32, head),
        )
    if sizes.model_type == "t5":
        return T5Config(
            d_model=sizes.hidden_size,
            d_ff=inner,
            d_kv=sizes.key_value_width // sizes.heads,
            num_layers=sizes.encoder_layers,
            num_decoder_layers=sizes.layers,
            num_heads=sizes.heads,
            vocab_size=sizes.vocab_size,
            decoder_start_token_id=0,
        )
    return LlamaConfig(
        hidden_size=sizes.hidden_size,
        intermediate_size=inner,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.key_value_width * sizes.heads // sizes.hidden_size,
        vocab_size=sizes.vocab_size,
        max_position_embeddings=sizes.context_length,
        tie_word_embeddings=is_tied(sizes),
    )


def build_base(name, weights, scale, device, dtype, fake=None):
    """A `Base` as `load_base` gives it, of this model's sizes; under the mode `fake` its weights have no values."""
    family = MODELS[name]
    sizes = family.architecture if scale == "true" else small(family.architecture)
    kind = AutoModelForSeq2SeqLM if sizes.is_encoder_decoder else AutoModelForCausalLM
    config = model_config(sizes)
    if weights == "nf4":
        model = quantised(kind, config, device, dtype, fake)
    else:
        with fake or nullcontext(), torch.device(device):
            model = kind.from_config(config, dtype=dtype)
    model.requires_grad_(False)
    # The vocabulary's size counts, not what its tokens spell, and the true tokenizers are out of reach offline.
    tokenizer = AutoTokenizer.from_pretrained(TOY_FOLDER)
    settle_tokens(model, tokenizer)
    params = sum(parameter_count(each) for each in model.parameters())
    if params != sizes.total_params:
        raise AssertionError(f"{name} must have {sizes.total_params} parameters but {params} were built")
    return Base(replace(family, architecture=sizes), model, tokenizer, "random weights")


def parameter_count(parameter):
    state = getattr(parameter, "quant_state", None)
    return (state.shape if state else parameter.shape).numel()


def quantised(kind, config, device, dtype, fake=None):
    """A model in nf4 as `from_pretrained` leaves it, made weight by weight."""
    from accelerate import init_empty_weights
    from transformers.quantizers import AutoHfQuantizer

    with init_empty_weights(include_buffers=False):
        model = kind.from_config(config, dtype=dtype)
    quantizer = AutoHfQuantizer.from_config(_quantization("nf4", dtype), pre_quantized=False)
    quantizer.preprocess_model(model=model, device_map={"": device})
    with fake or nullcontext():
        for module in model.modules():
            for name, empty in list(module.named_parameters(recurse=False)):
                setattr(module, name, filled(empty, device, dtype, fake))
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer.to(device))
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False  # see raypeft.models.loading
    model.hf_quantizer = quantizer  # as `from_pretrained` leaves it; transformers.Trainer asks it
    return quantizer.postprocess_model(model)


def filled(empty, device, dtype, fake):
    """A parameter on `device` in place of one on the meta device: quantised if that is, norms 1, the rest random."""
    from bitsandbytes.functional import quantize_4bit
    from bitsandbytes.nn import Params4bit

    values = torch.ones(empty.shape, dtype=dtype, device=device)
    if values.dim() > 1:
        values.normal_(std=0.02)
    if not hasattr(empty, "quant_storage"):
        return torch.nn.Parameter(values, requires_grad=False)
    if not fake:
        settings = {key: value for key, value in vars(empty).items() if key not in ("quant_state", "bnb_quantized")}
        return Params4bit(values, requires_grad=False, **settings).to(values.device)
    # A fake tensor cannot be of bitsandbytes' class, but its layers ask for no more than these attributes.
    form = {key: getattr(empty, key) for key in ("blocksize", "compress_statistics", "quant_type", "quant_storage")}
    packed, state = quantize_4bit(values, **form)
    parameter = torch.nn.Parameter(packed, requires_grad=False)
    vars(parameter).update(form, quant_state=state, bnb_quantized=True)
    return parameter


def check_adapters(model):
    """PEFT must have wrapped nf4 layers in its own kind of LoRA, or it would train on unpacked copies."""
    from peft.tuners.lora import Linear4bit

    wrapped = [each for each in model.modules() if hasattr(each, "lora_A") and hasattr(each, "base_layer")]
    if not wrapped or not all(isinstance(each, Linear4bit) for each in wrapped):
        kinds = {type(each).__qualname__ for each in wrapped}
        raise AssertionError(
            f"adapters on nf4 weights must be peft.tuners.lora.Linear4bit but are {kinds or 'missing'}"
        )
