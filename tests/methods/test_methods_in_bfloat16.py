"""Each tuning method on each model class as a GPU computes: base and products in bfloat16, what is trained in float32.

Autocast is forced on the CPU; the operations that a GPU's autocast keeps in float32 are in bfloat16 here.
"""

import itertools
import math

import pytest
import torch
from small_models import CONFIGS

from raypeft.data import DATASETS
from raypeft.decoding.generation import Search, generate
from raypeft.methods import METHODS
from raypeft.models.loading import load_base
from raypeft.prompting.encoding import Encoder
from raypeft.training.loop import train_model
from raypeft.training.recipe import Recipe

TRAINED = [name for name, method in METHODS.items() if method.trains]
RATES = {"full": 1e-3, "ia3": 1e-1, "prompt_tuning": 1e-1}


@pytest.fixture
def in_bfloat16(monkeypatch):
    """Forced autocast; the types in which linear layers computed."""
    real, seen = torch.autocast, set()
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: real("cpu", torch.bfloat16))
    linear = torch.nn.functional.linear

    def computed(*arguments, **named):
        output = linear(*arguments, **named)
        seen.add(output.dtype)
        return output

    monkeypatch.setattr(torch.nn.functional, "linear", computed)
    return seen


def half_base(folder, method, kind):
    """The base as a GPU holds it for a method."""
    base = load_base("codegen2-1B" if kind == "codegen2" else folder, folder, weights=method.base_weights)
    if method.base_weights == "half":
        base.model.to(torch.bfloat16)
    return base


def encoded(base, split, count):
    encoder = Encoder(base.tokenizer, base.is_encoder_decoder)
    return [encoder.encode(each) for each in DATASETS["toy"].load(None, None)[split][:count]]


@pytest.mark.parametrize(("kind", "name"), [
    pytest.param(kind, name, marks=() if name == "lora" or (kind, name) == ("llama", "full") else pytest.mark.slow)
    for kind in CONFIGS for name in TRAINED
])  # fmt: skip
@pytest.mark.parametrize("checkpointing", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_in_bfloat16_the_loss_falls_and_answers_have_numbers(small_model, in_bfloat16, kind, name, checkpointing):
    settings = {"learning_rate": RATES[name]} if name in RATES else {}
    method = METHODS[name](num_train_epochs=3, per_device_train_batch_size=4, eval_every_epochs=1, **settings)
    base = half_base(small_model(kind), method, kind)
    train = encoded(base, "train", 8)
    recipe = Recipe(method, 1, base.tokenizer.pad_token_id, checkpointing and method.checkpoints)
    with method.applied(base) as model:
        trained = [each for each in model.parameters() if each.requires_grad]
        assert {each.dtype for each in trained} == {torch.float32}
        result = train_model(model, train, train, recipe)
        losses = [each.eval_loss for each in result.evaluations]
        assert all(map(math.isfinite, losses)) and losses[-1] < losses[0]
        assert torch.bfloat16 in in_bfloat16 and result.unchanged_tensors < result.trained_tensors
        assert {each.dtype for each in trained} == {torch.float32}
        if name == "full":
            model.to(torch.bfloat16)
        search = Search(max_new_tokens=6, num_beams=2, num_return_sequences=2)
        found = generate(model, base.tokenizer, encoded(base, "test", 2), search)
    assert all(each.token_count and math.isfinite(each.log_probability or 0.0) for each in itertools.chain(*found))
