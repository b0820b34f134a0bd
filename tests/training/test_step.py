"""One optimiser step: gradients that are made larger for float16 and smaller again, and steps that overflow."""

import copy
import math
from functools import partial

import pytest
import torch
from peft.optimizers import create_loraplus_optimizer
from transformers import Trainer, TrainingArguments

from raypeft.methods import Full, Lora
from raypeft.models.loading import load_base
from raypeft.training import loop
from raypeft.training.batches import collate_for
from raypeft.training.loop import Training
from raypeft.training.recipe import Recipe
from raypeft.training.step import LEAST_SCALE, Passes, make_optimizer, make_scaler, optimise_step

METHOD = Lora(num_train_epochs=2, eval_every_epochs=1.0, lora_dropout=0.0)


def scaler(**settings):
    return torch.amp.GradScaler("cpu", **settings)


def trained(base, prompts, made):
    torch.manual_seed(3)  # the adapter begins with random numbers
    with METHOD.applied(base) as model, pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "make_scaler", lambda _: made)
        training = Training(model, prompts[:32], Recipe(METHOD, 42, base.tokenizer.pad_token_id))
        return training.run(prompts[:8])


def test_a_training_with_a_scaler_has_the_losses_of_one_without(base, prompts):
    scaled, usual = (trained(base, prompts, made) for made in (scaler(), make_scaler(torch.device("cpu"))))
    assert [each.eval_loss for each in scaled.evaluations] == pytest.approx(
        [each.eval_loss for each in usual.evaluations], rel=1e-4)  # fmt: skip


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_lora_plus_makes_the_steps_of_pefts_own_optimiser(base, prompts, dora):
    method = Lora(learning_rate=1e-3, loraplus_lr_ratio=16, optim="adamw_torch", use_dora=dora, lora_dropout=0.0,
                  lr_scheduler_type="constant", warmup_steps=0)  # fmt: skip
    after = []
    for own in (True, False):
        torch.manual_seed(3)
        with method.applied(base) as model:
            optimizer = make_optimizer(model, method, 10)[0] if own else create_loraplus_optimizer(
                model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16)  # fmt: skip
            passes = Passes(model, partial(collate_for, model, pad_token_id=1))
            for start in (0, 4):  # B is zero at first, and A then has no gradient
                optimise_step(passes, passes.add_gradients([prompts[start : start + 4]]), optimizer, 1.0)
            after.append({name: each.detach().clone() for name, each in model.named_parameters() if each.requires_grad})
    for name, weight in after[0].items():
        torch.testing.assert_close(weight, after[1][name], msg=name)


@pytest.mark.parametrize("kind", ["t5", "codegen"])
def test_weights_decay_and_biases_and_norms_do_not_as_in_the_trainer_of_transformers(small_model, tmp_path, kind):
    base, fields = load_base(small_model(kind)), {"weight_decay": 0.1, "optim": "adamw_torch"}
    with Full(**fields).applied(base) as model:
        theirs = Trainer(model, TrainingArguments(str(tmp_path), use_cpu=True, report_to=[], **fields))
        decays = []
        for optimizer in (theirs.create_optimizer(), make_optimizer(model, Full(**fields), 10)[0]):
            decays.append({id(each): group["weight_decay"] for group in optimizer.param_groups
                           for each in group["params"]})  # fmt: skip
    assert decays[0] == decays[1] and set(decays[1].values()) == {0.0, 0.1}


def test_without_lora_plus_all_parameters_are_one_group(base):
    with METHOD.applied(base) as model:
        assert [group["lr"] for group in make_optimizer(model, METHOD, 10)[0].param_groups] == [0.0]  # of the warm-up


def one_weight(value):
    weight = torch.nn.Parameter(torch.tensor([value]))
    return weight, torch.optim.SGD([weight], lr=0.1)


class Overflowing(Passes):
    """Passes whose gradient is 2 as it is, and infinite where it is scaled by more than a limit."""

    def __init__(self, weight, scaler, limit):
        super().__init__(None, None, scaler)
        self.weight, self.limit = weight, limit

    def __call__(self, batch, divisor):
        loss = 2 * self.weight.sum() / divisor
        self.scaler.scale(loss).backward()
        if self.scaler.get_scale() > self.limit:
            self.weight.grad.fill_(math.inf)
        return loss.detach()


def test_a_step_whose_gradients_overflow_is_left_out_and_the_next_ones_are_scaled_less(prompts):
    weight, optimizer = one_weight(1.0)
    passes = Overflowing(weight, scaler(init_scale=4.0), limit=1.5)
    values = []
    for _ in range(4):
        optimise_step(passes, passes.add_gradients([prompts[:1]], 1.0), optimizer, 10.0)
        values.append(weight.item())
    assert values == pytest.approx([1.0, 1.0, 0.8, 0.6])
    assert passes.scaler.get_scale() == 1.0


def test_the_schedule_waits_for_a_step_that_was_left_out(base, prompts, monkeypatch):
    with METHOD.applied(base) as model:
        monkeypatch.setattr(loop, "make_scaler", lambda _: scaler(init_scale=4.0))
        training = Training(model, prompts, Recipe(METHOD, 42, base.tokenizer.pad_token_id))
        with monkeypatch.context() as patch:
            training.scaler.scale(torch.ones(1))  # as a pass does
            patch.setattr(training, "_gradients", lambda _: overflow(model))
            rates = [training.step([prompts[:8]]).learning_rate for _ in range(2)]
        rates += [training.step([prompts[:8]]).learning_rate for _ in range(2)]
    assert rates[0] == rates[1] == rates[2] != rates[3]


def overflow(model):
    """Gradients that are too large, of a loss that is 1."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.full_like(parameter, math.inf)
    return 1.0


def test_a_norm_that_overflows_leaves_the_step_out_though_every_gradient_is_finite(prompts):
    weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    optimizer = torch.optim.SGD(weights, lr=0.1)

    class Large(Passes):
        def __call__(self, batch, divisor):
            for weight in weights:
                weight.grad = torch.full_like(weight, 3e38)
            return torch.tensor(1.0)

    passes = Large(None, None, scaler(init_scale=1.0))
    passes.scaler.scale(torch.tensor(1.0))
    optimise_step(passes, passes.add_gradients([prompts[:1]], 1.0), optimizer, 10.0)
    assert [weight.item() for weight in weights] == [1.0, 1.0]
    assert passes.scaler.get_scale() == 0.5


def test_gradients_that_never_are_finite_end_the_training(prompts):
    weight, optimizer = one_weight(1.0)
    passes = Overflowing(weight, scaler(init_scale=2 * LEAST_SCALE), limit=0.0)
    with pytest.raises(FloatingPointError, match="norm of the gradients"):
        for _ in range(5):
            optimise_step(passes, passes.add_gradients([prompts[:1]], 1.0), optimizer, 10.0)
    assert weight.item() == 1.0


def test_a_scaler_is_part_of_the_state_of_a_training(base, prompts):
    from raypeft.training.state import restore, state_of

    with METHOD.applied(base) as model, pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "make_scaler", lambda _: scaler(init_scale=512.0))
        recipe = Recipe(METHOD, 42, base.tokenizer.pad_token_id)
        training = Training(model, prompts, recipe)
        training.step([prompts[:8]])
        training.scaler.update(128.0)
        state = copy.deepcopy(state_of(training))
        other = Training(model, prompts, recipe)
        restore(other, state)
    assert other.scaler.get_scale() == 128.0
