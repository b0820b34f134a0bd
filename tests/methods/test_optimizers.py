"""An optimiser is one record: what a sweep, planning and training make of one that a test adds."""

from functools import partial
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from raypeft.methods import Full, Lora
from raypeft.methods.optimizers import OPTIMIZERS, Optimizer
from raypeft.records import Example, Prompt
from raypeft.study.checking import load_config
from raypeft.study.config import Trial, trial_columns
from raypeft.study.memory import predict
from raypeft.study.options import Resources
from raypeft.study.plan import plan_trials
from raypeft.study.sweepfile import ConfigError
from raypeft.training.batches import collate_for
from raypeft.training.step import Passes, make_optimizer, optimise_step

NAMES = "adafactor, adamw_torch, adamw_8bit, paged_adamw_8bit"


@pytest.fixture
def plain_sgd(monkeypatch: pytest.MonkeyPatch) -> None:
    """An optimiser without states, known for this test only."""
    monkeypatch.setitem(OPTIMIZERS, "plain_sgd", Optimizer("plain_sgd", "steps downhill", 0.0, torch.optim.SGD))


def sweep(folder: Path, optim: str) -> Path:
    file = folder / "study.yaml"
    file.write_text(
        f"name: study\ndefaults: {{model: toy, dataset: toy}}\ngrids:\n  - tuning_method: lora\n    optim: {optim}\n"
    )
    return file


@pytest.mark.usefixtures("plain_sgd")
def test_an_added_optimiser_makes_the_step(small_model) -> None:
    from raypeft.models.loading import load_base

    base = load_base(small_model("llama"))
    method = Full(optim="plain_sgd", learning_rate=0.5, warmup_steps=0, max_grad_norm=1e9)
    prompt = Prompt(Example("1", "", ""), [5, 6, 7], [8, 9])
    with method.applied(base) as model:
        trainable = list(model.parameters())
        optimizer, _ = make_optimizer(model, method, total_steps=1)
        assert isinstance(optimizer, torch.optim.SGD)
        before = [each.detach().clone() for each in trainable]
        gradients: list[torch.Tensor] = []
        optimizer.register_step_pre_hook(lambda *_: gradients.extend(each.grad.clone() for each in trainable))
        passes = Passes(model, partial(collate_for, model, pad_token_id=1))
        optimise_step(passes, passes.add_gradients([[prompt]]), optimizer, method.max_grad_norm)
        assert any(gradient.abs().sum() > 0 for gradient in gradients)
        for weight, old, gradient in zip(trainable, before, gradients, strict=True):
            torch.testing.assert_close(weight.detach(), old - 0.5 * gradient)


@pytest.mark.usefixtures("plain_sgd")
def test_an_added_optimiser_may_stand_in_a_sweep_beside_the_others(tmp_path: Path) -> None:
    trials = plan_trials(load_config(sweep(tmp_path, "[plain_sgd, adafactor]")))
    assert [trial.fields["optim"] for trial in trials] == ["plain_sgd", "adafactor"]
    assert len({trial.id for trial in trials}) == 2


@pytest.mark.usefixtures("plain_sgd")
def test_planning_counts_an_added_optimisers_states(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(model="CodeLlama-7b-hf", dataset="conala", method=Lora(optim="plain_sgd"))

    def needed() -> float:
        prediction = predict(trial, Resources(gpu_memory_gb=1_000))
        assert prediction is not None and prediction.train_gb is not None
        return prediction.train_gb * 2**30

    without = needed()
    monkeypatch.setitem(OPTIMIZERS, "plain_sgd", Optimizer("plain_sgd", "with momentum", 4.0, torch.optim.SGD))
    assert needed() - without == pytest.approx(4 * 12_582_912)


@pytest.mark.parametrize("optim", ["adamw", "plain_sgd", 3, None, ["adafactor"]])
def test_any_other_name_is_refused_with_the_known_ones(optim: object) -> None:
    with pytest.raises(ValidationError, match=f"must be one of {NAMES} but got "):
        Lora(optim=optim)


@pytest.mark.parametrize(
    ("optim", "told"),
    [("adamw_troch", "'adamw_troch'; did you mean adamw_torch?"), ("sgd", "'sgd'"), ("3", "3"), ("null", "nothing")],
)
def test_a_sweep_is_told_its_wrong_optimiser_with_the_line_and_the_nearest_name(
    tmp_path: Path, optim: str, told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(sweep(tmp_path, optim))
    assert caught.value.problems == [f"line 5, grids.0.optim: must be one of {NAMES} but got {told}"]


def test_a_wrong_entry_among_several_optimisers_is_told_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(sweep(tmp_path, "[adafactor, lion]"))
    assert caught.value.problems == [f"line 5, grids.0.optim.1: must be one of {NAMES} but got 'lion'"]


def test_the_column_says_what_each_optimiser_is() -> None:
    (column,) = (column for column in trial_columns() if column.name == "optim")
    assert all(f"{each.name}: {each.description}" in column.description for each in OPTIMIZERS.values())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_takes_the_learning_rate_and_the_weight_decay_of_the_method(name: str) -> None:
    made = OPTIMIZERS[name].make([torch.nn.Parameter(torch.ones(2, 2))], lr=0.25, weight_decay=0.125)
    (group,) = made.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.25, 0.125)
