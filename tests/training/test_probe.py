"""A first pass tells whether a method can train a model, and changes nothing."""

from dataclasses import replace

import pytest
import torch

from raypeft.methods import METHODS, Lora
from raypeft.models.loading import load_base
from raypeft.training import probe
from raypeft.training.batches import collate_for
from raypeft.training.probe import check_trainable
from raypeft.training.recipe import Recipe
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


@pytest.fixture
def toy_lora(base_of):
    """A model with an adapter, prompts, and the recipe of a batch of eight."""
    base = base_of("llama")
    with Lora().applied(base) as model:
        yield model, prompts_of(base, "train", 20), Recipe(Lora(), 1, base.tokenizer.pad_token_id)


class Full:
    """Stands for a GPU that holds passes of at most `most` examples, and of `checkpointed` with checkpointing."""

    def __init__(self, monkeypatch, most, checkpointed):
        self.tried = []
        self.limits = {False: most, True: checkpointed}
        original = probe.answer_loss

        def loss(model, batch):
            size, saves = (
                len(batch["labels"]),
                bool(getattr(model.get_base_model(), "is_gradient_checkpointing", False)),
            )
            self.tried.append((size, saves))
            if size > self.limits[saves]:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return original(model, batch)

        monkeypatch.setattr(probe, "answer_loss", loss)


@pytest.mark.parametrize(
    ("most", "checkpointed", "found"),
    [(8, 8, (False, None)), (4, 8, (True, None)), (1, 3, (True, 2)), (0, 1, (True, 1))],
)
def test_a_recipe_that_does_not_fit_saves_activations_and_then_splits_batches(
    monkeypatch, toy_lora, most, checkpointed, found
):
    model, prompts, recipe = toy_lora
    Full(monkeypatch, most, checkpointed)
    fitting = probe.fitted(model, prompts, recipe)
    assert (fitting.gradient_checkpointing, fitting.micro_batch_size) == found
    assert all(each.grad is None for each in model.parameters())


def test_the_longest_batch_is_tried(monkeypatch, toy_lora):
    model, prompts, recipe = toy_lora
    seen = []
    monkeypatch.setattr(probe, "collate_for", lambda *given: seen.extend(given[1]) or collate_for(*given))
    probe.fitted(model, prompts, recipe)
    assert sorted(map(len, seen)) == sorted(map(len, prompts))[-8:]


def test_where_nothing_fits_the_error_is_torchs(monkeypatch, toy_lora):
    model, prompts, recipe = toy_lora
    Full(monkeypatch, 0, 0)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        probe.fitted(model, prompts, recipe)


def test_checkpointing_that_a_sweep_turned_off_stays_off(monkeypatch, toy_lora):
    model, prompts, recipe = toy_lora
    Full(monkeypatch, 2, 8)
    off = replace(recipe, method=Lora(gradient_checkpointing=False))
    fitting = probe.fitted(model, prompts, off)
    assert (fitting.gradient_checkpointing, fitting.micro_batch_size) == (False, 2)
