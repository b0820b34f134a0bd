"""Tiny random models of many classes: how each is decoded, whether that gives `generate`'s candidates, what trains it.

    python -m scripts.model_classes              # writes docs/models.md, in ten minutes on two cores
    python -m scripts.model_classes mistral t5   # prints the rows of these classes

The models have two layers of 64 features, a window of 16 tokens where the class has one, and the toy model's tokenizer.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from raypeft.data import DATASETS
from raypeft.decoding.generation import Search, generate
from raypeft.decoding.selfcheck import choose_path
from raypeft.machine import quiet_libraries
from raypeft.methods import METHODS, TrainedMethod
from raypeft.models.loading import Base, load_base
from raypeft.models.table import TOY_FOLDER
from raypeft.prompting.encoding import Encoder
from raypeft.records import Prompt
from raypeft.training.batches import collate_for
from raypeft.training.loop import train_model
from raypeft.training.losses import answer_loss
from raypeft.training.packing import can_pack, collate_packed
from raypeft.training.probe import check_trainable
from raypeft.training.recipe import Recipe

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
CONTEXT, WINDOW = 512, 16
_SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
          "num_key_value_heads": 2, "max_position_embeddings": CONTEXT, "initializer_range": 0.3}  # fmt: skip
_FULL = _SIZES | {"num_key_value_heads": 4}
_HEADS = _SIZES | {"head_dim": 16}
_GPT = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT, "initializer_range": 0.3}
_SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_LATENT = _FULL | {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
                   "v_head_dim": 16, "moe_intermediate_size": 32, "n_routed_experts": 4, "num_experts_per_tok": 2,
                   "first_k_dense_replace": 1}  # fmt: skip
_BART = {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
         "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "dropout": 0.0,
         "max_position_embeddings": CONTEXT, "init_std": 0.3, "decoder_start_token_id": 1}  # fmt: skip
_T5 = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 1,
       "dropout_rate": 0.0}  # fmt: skip
_MAMBA = {"mamba_d_state": 8, "mamba_d_conv": 4, "mamba_expand": 2}

CLASSES: dict[str, dict[str, Any]] = {
    "llama": _SIZES,
    "qwen2": _SIZES,
    "qwen2 with windows": _SIZES | {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    "qwen2_moe": _SIZES | {"moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "num_experts": 4,
                           "num_experts_per_tok": 2},
    "qwen3": _HEADS,
    "qwen3_moe": _HEADS | {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2},
    "qwen3_next": _HEADS | {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2,
                            "shared_expert_intermediate_size": 32, "linear_num_value_heads": 4,
                            "linear_num_key_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16,
                            "layer_types": ["linear_attention", "full_attention"]},
    "mistral": _SIZES | {"sliding_window": WINDOW},
    "mixtral": _SIZES | {"sliding_window": WINDOW, "num_local_experts": 4},
    "ministral": _HEADS | _SLIDING,
    "phi": _FULL,
    "phi3": _SIZES | {"sliding_window": WINDOW},
    "starcoder2": _SIZES | {"sliding_window": WINDOW},
    "gemma": _HEADS,
    "gemma2": _HEADS | _SLIDING | {"query_pre_attn_scalar": 16},
    "gemma3_text": _HEADS | _SLIDING | {"query_pre_attn_scalar": 16},
    "gpt2": _GPT,
    "gpt_bigcode": _GPT,
    "gpt_neo": {"hidden_size": 64, "num_layers": 2, "num_heads": 4, "max_position_embeddings": CONTEXT,
                "attention_types": [[["global", "local"], 1]], "window_size": WINDOW, "initializer_range": 0.3},
    "gpt_neox": _FULL,
    "gptj": _GPT | {"rotary_dim": 8},
    "gpt_oss": _HEADS | _SLIDING | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "codegen": _GPT | {"rotary_dim": 8},
    "opt": _FULL | {"ffn_dim": 128, "word_embed_proj_dim": 64, "init_std": 0.3},
    "bloom": {"hidden_size": 64, "n_layer": 2, "n_head": 4, "initializer_range": 0.3},
    "falcon": _FULL | {"new_decoder_architecture": False},
    "falcon with ALiBi": _FULL | {"alibi": True},
    "mpt": {"d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": CONTEXT, "initializer_range": 0.3},
    "stablelm": _SIZES,
    "granite": _SIZES,
    "granitemoehybrid": _SIZES | {"layer_types": ["mamba", "attention"], "mamba_n_heads": 8, "mamba_d_head": 16,
                                  "mamba_n_groups": 1, "num_local_experts": 0, "shared_intermediate_size": 128,
                                  "mamba_d_state": 8, "mamba_d_conv": 4, "mamba_expand": 2},
    "cohere": _SIZES,
    "cohere2": _SIZES | _SLIDING,
    "olmo": _SIZES,
    "olmo2": _SIZES,
    "olmo3": _SIZES | _SLIDING,
    "exaone4": _SIZES | _SLIDING,
    "smollm3": _SIZES,
    "glm4": _HEADS,
    "deepseek_v2": _LATENT,
    "deepseek_v3": _LATENT | {"n_group": 1, "topk_group": 1},
    "llama4_text": _HEADS | {"attention_chunk_size": WINDOW, "num_local_experts": 2, "intermediate_size_mlp": 128,
                             "interleave_moe_layer_step": 1, "num_experts_per_tok": 1,
                             "layer_types": ["chunked_attention", "full_attention"]},
    "mamba": {"hidden_size": 64, "num_hidden_layers": 2, "initializer_range": 0.3},
    "mamba2": {"hidden_size": 64, "num_hidden_layers": 2, "num_heads": 8, "head_dim": 16, "state_size": 8,
               "n_groups": 1, "chunk_size": 8, "initializer_range": 0.3},
    "jamba": _SIZES | _MAMBA | {"num_experts": 1, "num_experts_per_tok": 1, "attn_layer_period": 2,
                                "attn_layer_offset": 1, "mamba_dt_rank": 4, "use_mamba_kernels": False},
    "falcon_h1": _HEADS | {"mamba_d_ssm": 128, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_n_groups": 1,
                           "mamba_d_state": 8, "mamba_d_conv": 4, "mamba_chunk_size": 8},
    "lfm2": _SIZES | {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "recurrent_gemma": _HEADS | {"lru_width": 64, "attention_window_size": WINDOW,
                                 "block_types": ["recurrent", "attention"]},
    "rwkv": {"hidden_size": 64, "num_hidden_layers": 2, "attention_hidden_size": 64, "context_length": CONTEXT},
    "t5": _T5,
    "bart": _BART,
    "plbart": _BART,
    "pegasus": _BART,
    "longt5": _T5 | {"local_radius": WINDOW},
}  # fmt: skip
"""Name -> the settings of its config. The first word of a name is Transformers' model type."""

FALLS, FALLS_ELSEWHERE = "falls", "falls with target_modules all-linear"
PROMPTS = 4
TUNED = ("lora", "ia3", "prompt_tuning", "prefix_tuning", "full")
RATES = {"full": 1e-3, "ia3": 1e-1, "prompt_tuning": 1e-1, "prefix_tuning": 1e-1, "lora": 1e-3}
BEAMS = Search(max_new_tokens=8, num_beams=4, num_return_sequences=3, batch_size=PROMPTS)
SAMPLES = Search(max_new_tokens=8, do_sample=True, num_return_sequences=3, batch_size=PROMPTS)


@dataclass
class Found:
    """What was found of one class."""

    path: str
    """Of beam search, or why it is refused."""
    note: str | None = None
    equal: bool | None = None
    """Whether the candidates of a batch are those of `generate` for each prompt alone. None: it is refused."""
    packed: str = ""
    """`packs`."""
    methods: dict[str, str] = field(default_factory=dict)
    """Method -> `falls`, `stays`, or why it is refused."""


def make(name: str, folder: Path) -> str:
    """Write a random model of a class into `folder`, with the toy model's tokenizer, and return it as a string."""
    tokenizer = AutoTokenizer.from_pretrained(TOY_FOLDER)
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id,
               "bos_token_id": tokenizer.eos_token_id}  # fmt: skip
    config = AutoConfig.for_model(name.split()[0], **{"vocab_size": len(tokenizer), **special, **CLASSES[name]})
    torch.manual_seed(0)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model = kind.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def prompts_of(base: Base, split: str, count: int) -> list[Prompt]:
    """The first prompts of the toy dataset. Their lengths differ, and most are longer than the window."""
    encoder = Encoder(base.tokenizer, base.is_encoder_decoder)
    return [encoder.encode(each) for each in DATASETS["toy"].load(None, None)[split][:count]]


def plain_texts(base: Base, prompts: Sequence[Prompt]) -> list[list[str]]:
    """What Transformers' beam search finds for one prompt after the other."""
    texts = []
    for prompt in prompts:
        ids = torch.tensor([prompt.prompt_ids])
        rows = base.model.eval().generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, num_beams=BEAMS.num_beams,
            num_return_sequences=BEAMS.num_return_sequences, max_new_tokens=BEAMS.max_new_tokens,
        )  # fmt: skip
        start = 1 if base.is_encoder_decoder else ids.shape[1]
        texts.append([base.tokenizer.decode(row[start:], skip_special_tokens=True) for row in rows])
    return texts


def examine(name: str, folder: Path, methods: Sequence[str] = TUNED) -> Found:
    """Make a model of a class, decode it, and tune it by each method."""
    base = load_base(make(name, folder))
    try:
        chosen = choose_path(base.model, base.tokenizer, BEAMS)
    except ValueError as error:
        found = Found(str(error))
    else:
        prompts = prompts_of(base, "test", PROMPTS)
        candidates = generate(base.model, base.tokenizer, prompts, replace(BEAMS, path=chosen.path))
        ours = [[each.text for each in beams] for beams in candidates]
        found = Found(chosen.path, chosen.note, ours == plain_texts(base, prompts))
    found.packed = packs(base)
    for method in methods:
        found.methods[method] = tuned(folder, method)
    return found


def packs(base: Base) -> str:
    """Whether examples are packed in training: `yes`, or nothing; `NO` where that would change the loss."""
    prompts, pad = prompts_of(base, "train", PROMPTS), base.tokenizer.pad_token_id
    if not can_pack(base.model, prompts, pad):
        return ""
    return "yes" if sums_up(base.model, prompts, pad, partial(collate_packed, pad_token_id=pad, device="cpu")) else "NO"


def tuned(folder: Path, name: str) -> str:
    """`falls` or `stays`, of the validation loss in a short training; why it is refused where it is."""
    settings: dict[str, Any] = {"num_train_epochs": 3, "per_device_train_batch_size": 4, "eval_every_epochs": 1}
    settings |= {"learning_rate": RATES[name]} if name in RATES else {}
    refusals = []
    layers = ({}, {"target_modules": ("all-linear",), "lora_dropout": 0.0}) if name == "lora" else ({},)
    for chosen in layers:
        method = METHODS[name](**settings, **chosen)
        assert isinstance(method, TrainedMethod)
        try:
            outcome = loss_of(method, load_base(str(folder)))
        except ValueError as error:
            refusals.append(str(error))
        else:
            return FALLS_ELSEWHERE if chosen and outcome == FALLS else outcome
    return f"refused: {refusals[-1]}"


def loss_of(method: TrainedMethod, base: Base) -> str:
    with method.applied(base) as model:
        choose_path(model, base.tokenizer, BEAMS)
        pad = base.tokenizer.pad_token_id
        check_trainable(model, prompts_of(base, "train", 2), pad, method.name)
        if not sums_up(model, prompts_of(base, "train", 4), pad):
            return "NO: a batch has another loss than its prompts"
        train = prompts_of(base, "train", 16)
        result = train_model(model, train, train, Recipe(method, 1, pad))
        losses = [each.eval_loss for each in result.evaluations]
        return FALLS if losses[-1] < losses[0] else f"stays ({losses[0]:.2f} -> {losses[-1]:.2f})"


INTRODUCTION = f"""# Model classes

<!-- Written by `python -m scripts.model_classes`. Do not edit this page by hand. -->

Any model that Transformers loads as a causal language model or as an encoder-decoder can be tried. When it is loaded,
and before it is trained, raypeft decodes a few prompts along each of its ways of decoding, the fastest first, and takes
the first that gives the scores of `generate` of Transformers for each prompt alone (`raypeft/decoding/selfcheck.py`).
The columns `decoding_path` and `decoding_note` say which one it was, and why no faster one. A model that `generate`
itself cannot decode, or that a method cannot be applied to, is refused before training.

- **shared**: the beams of an example share one copy of its prompt.
- **cached**: each beam has a copy of its own.
- **plain**: `generate` reads the prompts of a batch itself. Encoder-decoders are always decoded so.
- **alone**: `generate` reads one prompt after the other. For windows that are too long for the check.

The table was made with tiny random models: two layers of 64 features, in float32 on a CPU, with the toy model's
tokenizer and, where the class has a window of attention, one of {WINDOW} tokens, which is shorter than the prompts.
*Equal* says that {BEAMS.num_beams} beams for {PROMPTS} prompts in one batch gave the candidates of `generate` for each
prompt alone. *Packed* says that the examples of a training batch stand in rows without padding between them; virtual
tokens (prompt tuning, prefix tuning) do not allow it. A method *falls* if the validation loss was lower after three
epochs on 16 examples. *Layers*: it falls with `target_modules: all-linear` and `lora_dropout: 0`; without them it is
refused. The toy dataset is easy, and the models know nothing: the table says that a method works with a class, not how
well. `tests/models/test_model_classes.py` makes it again.
"""
HEADINGS = ("Class", "Beam search", "Equal", "Packed", *TUNED)


def page(found: Mapping[str, Found]) -> str:
    """The page of these classes: a row for each, and the reasons below."""
    reasons: list[str] = []

    def noted(word: str, reason: str | None) -> str:
        if reason is None:
            return word
        reason = re.sub(r"of the type \w+", "of its type", reason)
        if reason not in reasons:
            reasons.append(reason)
        return f"{word} [{reasons.index(reason) + 1}]"

    lines = [INTRODUCTION, f"| {' | '.join(HEADINGS)} |", "| --- " * len(HEADINGS) + "|"]
    for name, each in found.items():
        path = noted("refused", each.path) if each.equal is None else noted(each.path, each.note)
        equal = {True: "yes", False: "NO", None: ""}[each.equal]
        methods = [_cell(outcome, noted) for outcome in each.methods.values()]
        lines.append(f"| {' | '.join([name, path, equal, each.packed, *methods])} |")
    versions = f"Transformers {metadata.version('transformers')}, PEFT {metadata.version('peft')}"
    notes = [f"{number}. {reason.replace('|', '/')}" for number, reason in enumerate(reasons, 1)]
    return "\n".join([*lines, "", f"With {versions}. The numbers in brackets:", "", *notes, ""])


def _cell(outcome: str, noted: Callable[[str, str], str]) -> str:
    if outcome.startswith("refused: "):
        return noted("refused", outcome.removeprefix("refused: "))
    return "layers" if outcome == FALLS_ELSEWHERE else outcome


def sums_up(model: Any, prompts: Sequence[Prompt], pad: int, make: Callable[..., Any] | None = None) -> bool:
    """Whether the loss of a batch, padded or as `make` makes it, is the sum of its prompts' losses."""
    padded = partial(collate_for, model, pad_token_id=pad)
    model.eval()
    with torch.inference_mode():
        whole = answer_loss(model, (make or padded)(prompts)).item()
        alone = [answer_loss(model, padded([prompt])).item() for prompt in prompts]
    return abs(whole - sum(alone)) <= 1e-4 * whole


def main(names: Sequence[str]) -> None:
    quiet_libraries()
    torch.set_num_threads(1)
    found = {}
    for name in names or CLASSES:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = examine(name, Path(folder))
        print(name, found[name], flush=True)
    if not names:
        PAGE.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
