"""Every tuning method on every model class: it learns, its adapter is PEFT's own, its batches decode as alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from small_models import CONFIGS
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, BitsAndBytesConfig

from raypeft.data import DATASETS
from raypeft.decoding.generation import Search, generate
from raypeft.methods import METHODS, Adapter, Lora, TrainedMethod
from raypeft.models.codegen2 import regroup
from raypeft.models.loading import load_base
from raypeft.prompting.encoding import Encoder
from raypeft.training.loop import train_model
from raypeft.training.recipe import Recipe
from raypeft.trial.tune import counted_params

TRAINED = [name for name, method in METHODS.items() if method.trains]
ADAPTERS = [name for name in TRAINED if issubclass(METHODS[name], Adapter)]
SEARCH = {"num_beams": 4, "num_return_sequences": 3, "max_new_tokens": 10}
RATES = {"full": 1e-3, "ia3": 1e-1, "prompt_tuning": 1e-1}
VARIANTS = {
    "dora": Lora(use_dora=True),
    "rslora": Lora(use_rslora=True),
    "pissa": Lora(init_lora_weights="pissa"),
    "olora": Lora(init_lora_weights="olora"),
    "dora from pissa": Lora(use_dora=True, init_lora_weights="pissa"),
    "gaussian": Lora(init_lora_weights="gaussian"),
    "all-linear": Lora(target_modules=("all-linear",)),
}


@dataclass
class Tuned:
    """What a short training left behind."""

    folder: str
    """Of the base model."""
    adapter: Path
    losses: list[float]
    counted: dict[str, int]
    expected: dict[str, int]
    logits: torch.Tensor
    alone: list[Any]
    together: list[Any]


def logits_of(model: Any) -> torch.Tensor:
    """Of a fixed input, without its virtual positions."""
    ids = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12]])
    extra = {"decoder_input_ids": ids[:, :4]} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        logits = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids), **extra).logits
    return logits[:, -4:]


def tune(method: TrainedMethod, folder: str, adapter: Path, model: str = "") -> Tuned:
    base = load_base(model or folder, folder, weights=method.base_weights)
    splits = DATASETS["toy"].load(None, None)
    train, test = (
        [Encoder(base.tokenizer, base.is_encoder_decoder).encode(each) for each in splits[name][:count]]
        for name, count in (("train", 16), ("test", 5))
    )
    architecture = base.family.architecture
    expected = {
        "trainable_params": method.trainable_params(architecture),
        "total_params": architecture.total_params + method.added_params(architecture),
    }
    with method.applied(base) as tuned:
        counted = {name: count for name, count in counted_params(tuned).items() if name in expected}
        result = train_model(tuned, train, train, Recipe(method, 1, base.tokenizer.pad_token_id))
        if isinstance(method, Adapter):
            method.save(tuned, adapter)
        alone, together = (
            generate(tuned, base.tokenizer, test, Search(batch_size=size, **SEARCH)) for size in (1, len(test))
        )
        losses = [each.eval_loss for each in result.evaluations]
        return Tuned(folder, adapter, losses, counted, expected, logits_of(tuned), alone, together)


@pytest.fixture(scope="module")
def tuned(small_model, tmp_path_factory):
    """`tuned("t5", "lora")`, made once."""
    made: dict[tuple[str, str], Tuned] = {}

    def get(kind: str, name: str) -> Tuned:
        if (kind, name) not in made:
            settings = {"learning_rate": RATES[name]} if name in RATES else {}
            method = METHODS[name](num_train_epochs=3, per_device_train_batch_size=4, eval_every_epochs=1, **settings)
            model = "codegen2-1B" if kind == "codegen2" else ""
            made[kind, name] = tune(method, small_model(kind), tmp_path_factory.mktemp("adapter"), model)
        return made[kind, name]

    return get


def plain_peft(kind: str, name: str, folder: str, adapter: Path) -> PeftModel:
    """The base as Transformers alone loads it, with the adapter as PEFT alone loads it."""
    quantization = {
        "qlora_8bit": BitsAndBytesConfig(load_in_8bit=True),
        "qlora_4bit": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        ),
    }.get(name)
    loader = AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM
    base = loader.from_pretrained(folder, quantization_config=quantization, dtype=torch.float32)
    if kind == "codegen2":
        regroup(base, 8)
    for module in base.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # its packed weights compute in bfloat16
    return PeftModel.from_pretrained(base, adapter)


def pairs(names):
    """Each class with each method. Fast: every method on Llama and T5, and LoRA and prefix tuning on every class."""
    return pytest.mark.parametrize(("kind", "name"), [
        pytest.param(kind, name, marks=() if kind in ("llama", "t5") or name in ("lora", "prefix_tuning")
                     else pytest.mark.slow)
        for kind in CONFIGS for name in names
    ])  # fmt: skip


@pairs(TRAINED)
def test_the_validation_loss_falls(kind, name, tuned):
    losses = tuned(kind, name).losses
    assert losses[-1] < losses[0]


@pairs(TRAINED)
def test_the_closed_formula_counts_what_is_trained(kind, name, tuned):
    made = tuned(kind, name)
    assert made.counted == made.expected


# LLM.int8 looks for outliers over the whole batch, so its products depend on what else is in the batch.
@pairs([name for name in TRAINED if METHODS[name].base_weights != "int8"])
def test_a_batch_decodes_as_its_prompts_do_alone(kind, name, tuned):
    made = tuned(kind, name)
    assert made.together == made.alone


@pairs(TRAINED)
def test_each_candidate_has_its_log_probability(kind, name, tuned):
    assert all(each.log_probability < 0 for row in tuned(kind, name).alone for each in row)


@pairs(ADAPTERS)
def test_a_saved_adapter_gives_the_same_logits_in_plain_peft(kind, name, tuned):
    made = tuned(kind, name)
    plain = plain_peft(kind, name, made.folder, made.adapter)
    torch.testing.assert_close(logits_of(plain), made.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_of_lora_learns_and_its_adapter_fits_the_unchanged_base(variant, small_model, tmp_path):
    method = VARIANTS[variant].model_copy(
        update={"num_train_epochs": 2, "per_device_train_batch_size": 4, "eval_every_epochs": 1.0}
    )
    made = tune(method, small_model("llama"), tmp_path)
    assert made.losses[-1] < made.losses[0]
    assert made.counted == made.expected
    plain = plain_peft("llama", "lora", made.folder, made.adapter)
    torch.testing.assert_close(logits_of(plain), made.logits, rtol=1e-3, atol=1e-3)


def test_a_codegen2_adapter_is_wrong_on_the_base_as_it_is_stored(tuned):
    made = tuned("codegen2", "lora")
    stored = AutoModelForCausalLM.from_pretrained(made.folder, dtype=torch.float32)
    wrong = logits_of(PeftModel.from_pretrained(stored, made.adapter))
    assert (wrong - made.logits).abs().max() > 0.1
