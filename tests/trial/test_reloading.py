"""A saved adapter is loaded again beside the trained one: alike, or not, and gone afterwards."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from raypeft.data import DATASETS
from raypeft.methods import METHODS
from raypeft.models.loading import load_base
from raypeft.prompting.encoding import Encoder
from raypeft.results.store import ResultStore
from raypeft.trial.columns import tables
from raypeft.trial.reloading import reload_difference
from raypeft.trial.tune import save_adapter


@pytest.fixture(scope="module")
def base():
    return load_base("toy")


@pytest.fixture(scope="module")
def prompt(base):
    return Encoder(base.tokenizer).encode(DATASETS["toy"].load(None, None)["train"][0])


def randomised(model):
    """The trained parameters, as training leaves them: not zero."""
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    generator = torch.Generator().manual_seed(1)
    for each in trained.values():
        each.data += 0.1 * torch.randn(each.shape, generator=generator)
    return trained


ADAPTERS = [name for name, method in METHODS.items() if hasattr(method, "peft_config") and "qlora" not in name]


@pytest.mark.parametrize("name", [*ADAPTERS, "dora"])
def test_a_saved_adapter_gives_the_same_logits_and_leaves_the_model_as_it_was(base, prompt, name, tmp_path):
    method = METHODS["lora"](use_dora=True) if name == "dora" else METHODS[name]()
    pad = base.tokenizer.pad_token_id
    with method.applied(base) as model:
        before = {key: each.clone() for key, each in randomised(model).items()}
        method.save(model, tmp_path)
        assert reload_difference(model, tmp_path, prompt, pad) == pytest.approx(0, abs=1e-6)
        after = {key: each for key, each in model.named_parameters() if each.requires_grad}
        assert list(after) == list(before) and all(torch.equal(after[key], before[key]) for key in before)
        assert list(model.peft_config) == ["default"] and model.active_adapter == "default"
        assert not [key for key in model.state_dict() if "loaded_again" in key]


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_file_with_other_weights_is_noticed(base, prompt, name, tmp_path):
    method = METHODS[name]()
    with method.applied(base) as model:
        randomised(model)
        method.save(model, tmp_path)
        file = tmp_path / "adapter_model.safetensors"
        save_file({key: 2 * each for key, each in load_file(file).items()}, file)
        assert reload_difference(model, tmp_path, prompt, base.tokenizer.pad_token_id) > 0.01


def test_an_adapter_for_other_base_weights_than_those_in_memory_is_not_compared(prompt, tmp_path):
    changed = load_base("toy")  # PiSSA takes its initial adapter out of the weights
    method = METHODS["lora"](init_lora_weights="pissa_niter_16", lora_r=4)
    context = SimpleNamespace(trial=SimpleNamespace(id="a"), store=ResultStore(str(tmp_path), tables()))
    with method.applied(changed) as model:
        randomised(model)
        assert save_adapter(context, method, model, changed, prompt) is None
    assert (tmp_path / "adapters" / "a" / "adapter_model.safetensors").is_file()
