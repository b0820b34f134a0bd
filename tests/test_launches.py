"""How many kernels a step launches, on a third of SmolLM2-135M's layers. On a GPU small models wait for their launches.

The limits are what was counted with Transformers 5.17 and PEFT 0.21, and 2 % more (of classes other than Llama nothing
more). Whoever lowers a number lowers its limit. `benchmarks/launches.py` counts with all layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.counting import Launches, of_a_decoding_step
from raypeft.data import DATASETS
from raypeft.decoding.search import Search
from raypeft.decoding.selfcheck import choose_path
from raypeft.methods import METHODS
from raypeft.methods.optimizers import OPTIMIZERS
from raypeft.models.loading import Base, load_base
from raypeft.prompting.encoding import Encoder
from raypeft.records import Prompt
from raypeft.training.packing import collate_packed
from raypeft.training.step import Passes, make_optimizer, optimise_step
from scripts.model_classes import make

LAYERS, HEADS, KV_HEADS = 10, 9, 3
"""Width is cut as well: the number of launches does not depend on it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("thin"))
    tokenizer = load_base("toy").tokenizer
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=8 * HEADS, intermediate_size=96, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, max_position_embeddings=2048, tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def tuned(folder: str, name: str) -> Iterator[tuple[Any, Base, list[Prompt]]]:
    base = load_base(folder, folder)
    encoder = Encoder(base.tokenizer, False)
    prompts = [encoder.encode(each) for each in DATASETS["toy"].load(None, None)["train"][:8]]
    with METHODS[name]().applied(base) as model:
        yield model, base, prompts


@pytest.mark.parametrize(("name", "most"), [("lora", 1583), ("full", 1331)])
def test_a_training_step_launches_few_kernels(folder: str, name: str, most: int) -> None:
    with tuned(folder, name) as (model, base, prompts):
        model.train()
        optimizer, _ = make_optimizer(model, METHODS[name](), 10)

        def collate(batch: Any) -> dict[str, torch.Tensor]:
            return collate_packed(batch, base.tokenizer.pad_token_id, model.device)

        passes = Passes(model, collate)
        optimise_step(passes, passes.add_gradients([prompts]), optimizer, 1.0)
        with Launches() as launches:
            optimise_step(passes, passes.add_gradients([prompts]), optimizer, 1.0)
    assert 0.95 * most < launches.count <= most, launches.by_name.most_common(12)


def test_adafactor_steps_tensors_of_one_shape_together(folder: str) -> None:
    with tuned(folder, "lora") as (model, _, _):
        trained = [each for each in model.parameters() if each.requires_grad]
        assert len(trained) > 50
        optimizer = OPTIMIZERS["adafactor"].make(trained, lr=1e-3, weight_decay=0.0)
        for _ in range(2):
            for each in trained:
                each.grad = torch.ones_like(each)
            with Launches() as launches:
                optimizer.step()
    assert launches.count <= 100, launches.by_name.most_common(12)


@pytest.mark.parametrize(("name", "path", "most"), [
    ("full", "shared", 582), ("full", "cached", 487), ("lora", "shared", 704),
])  # fmt: skip
def test_a_decoding_step_launches_few_kernels(folder: str, name: str, path: Any, most: int) -> None:
    with tuned(folder, name) as (model, base, prompts):
        step = of_a_decoding_step(model, base.tokenizer, prompts, path)
    assert 0.95 * most < step <= most


@pytest.mark.parametrize(("kind", "path", "most"), [
    ("gpt2", "shared", 151), ("gpt_neox", "shared", 165), ("codegen", "shared", 181),
    ("t5", "plain", 181),
])  # fmt: skip
def test_a_decoding_step_of_another_class_launches_no_more_kernels_than_it_did(
    tmp_path: Path, kind: str, path: Any, most: int
) -> None:
    """Two layers of each class, on the fastest path that it allows."""
    base = load_base(make(kind, tmp_path))
    encoder = Encoder(base.tokenizer, base.is_encoder_decoder)
    prompts = [encoder.encode(each) for each in DATASETS["toy"].load(None, None)["train"][:2]]
    assert choose_path(base.model, base.tokenizer, Search(6, num_beams=10), 60).path == path
    step = of_a_decoding_step(base.model, base.tokenizer, prompts, path)
    assert 0.95 * most < step <= most
