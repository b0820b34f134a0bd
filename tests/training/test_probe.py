"""A first pass tells whether a method can train a model, and changes nothing."""

import pytest
import torch

from raypeft.methods import METHODS
from raypeft.models.loading import load_base
from raypeft.training.probe import check_trainable
from scripts.model_classes import make, prompts_of


@pytest.fixture(scope="module")
def base_of(tmp_path_factory):
    return lambda name: load_base(make(name, tmp_path_factory.mktemp("model")))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mamba2", "must be able to train a model of the type mamba2, but a first pass fails: RuntimeError: element 0"),
        ("recurrent_gemma", "no gradient reaches what it trains: the model does not read it"),
    ],
)
def test_virtual_tokens_that_a_model_does_not_read_are_refused(base_of, name, message):
    base = base_of(name)
    with METHODS["prefix_tuning"]().applied(base) as model, pytest.raises(ValueError, match=message):
        check_trainable(model, prompts_of(base, "train", 1), base.tokenizer.pad_token_id, "prefix_tuning")


@pytest.mark.parametrize("method", ["lora", "prompt_tuning", "full"])
def test_what_can_be_trained_is_left_as_it_was(base_of, method):
    base = base_of("llama")
    with METHODS[method]().applied(base) as model:
        before = {name: value.clone() for name, value in model.state_dict().items()}
        torch.manual_seed(7)
        expected = torch.rand(3)
        torch.manual_seed(7)
        check_trainable(model, prompts_of(base, "train", 1), base.tokenizer.pad_token_id, method)
        assert torch.equal(torch.rand(3), expected)
        assert all(parameter.grad is None for parameter in model.parameters())
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
