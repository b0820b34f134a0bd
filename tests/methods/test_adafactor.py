"""Adafactor in stacks: the weights of Transformers' class to the last bit, in a fraction of its operations."""

import copy

import pytest
import torch
from torch.nn import Parameter
from transformers.optimization import Adafactor

from benchmarks.counting import Launches
from raypeft.methods import adafactor
from raypeft.methods.adafactor import StackedAdafactor, stacked

SHAPES = [*[(8, 32)] * 6, *[(32, 8)] * 6, *[(32,)] * 5, *[(4, 5, 6)] * 2, (33, 7), (1,), ()]


def parameters(shapes: list[tuple[int, ...]] = SHAPES, dtype: torch.dtype = torch.float32) -> list[Parameter]:
    chance = torch.Generator().manual_seed(1)
    return [Parameter(torch.randn(shape, generator=chance).to(dtype)) for shape in shapes]


def transformers_adafactor(given: list[Parameter], weight_decay: float = 0.0) -> Adafactor:
    return Adafactor(given, lr=1e-2, weight_decay=weight_decay, scale_parameter=False, relative_step=False)


def give_gradients(step: int, *sides: list[Parameter], without: tuple[int, ...] = ()) -> None:
    """The same random gradients, of very different sizes, to the parameters of each side."""
    chance = torch.Generator().manual_seed(step)
    for place, same in enumerate(zip(*sides, strict=True)):
        grad = torch.randn(same[0].shape, generator=chance) * 10 ** float(torch.randn(1, generator=chance))
        for parameter in same:
            parameter.grad = None if place in without else grad.to(parameter.dtype)


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_those_of_transformers_class_to_the_last_bit(weight_decay: float, dtype: torch.dtype) -> None:
    theirs, ours = parameters(dtype=dtype), parameters(dtype=dtype)
    optimizers = transformers_adafactor(theirs, weight_decay), StackedAdafactor(ours, 1e-2, weight_decay)
    for step in range(25):
        give_gradients(step, theirs, ours)
        for optimizer in optimizers:
            optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(theirs, ours, strict=True))


def test_a_parameter_without_a_gradient_is_left_out_and_falls_behind_as_in_transformers_class() -> None:
    theirs, ours = parameters(), parameters()
    optimizers = transformers_adafactor(theirs), StackedAdafactor(ours, 1e-2)
    for step in range(9):
        give_gradients(step, theirs, ours, without=(2, 14) if step in (3, 4) else ())
        for optimizer in optimizers:
            optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(theirs, ours, strict=True))


@pytest.mark.parametrize("without", [(), (2, 14), (0, 6, 7, 12)])
@pytest.mark.parametrize("gap", [0, 2])
def test_it_goes_on_from_its_state_as_if_it_had_not_stopped(without: tuple[int, ...], gap: int) -> None:
    whole, parts = parameters(), parameters()
    unbroken, first = StackedAdafactor(whole, 1e-2), StackedAdafactor(parts, 1e-2)
    for step in range(4):
        give_gradients(step, whole, parts, without=without if step == gap else ())
        unbroken.step()
        first.step()
    second = StackedAdafactor(parts, 1e-2)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for step in range(4, 8):
        give_gradients(step, whole, parts)
        unbroken.step()
        second.step()
    assert all(torch.equal(one, other) for one, other in zip(whole, parts, strict=True))


def test_large_tensors_are_not_stacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adafactor, "MOST", 64)
    given = parameters([*[(8, 4)] * 5, (32, 4), (32, 4)])
    assert [len(each) for each in stacked(given)] == [2, 2, 1, 1, 1]


def launches(optimizer: torch.optim.Optimizer) -> int:
    optimizer.step()
    with Launches() as counted:
        optimizer.step()
    return counted.count


def test_a_step_of_an_adapter_takes_a_hundredth_of_the_operations() -> None:
    shapes = [(16, 64), (64, 16)] * 90  # LoRA of q, k and v in 30 layers, as in SmolLM2-135M
    theirs, ours = parameters(shapes), parameters(shapes)
    give_gradients(0, theirs, ours)
    one, other = launches(transformers_adafactor(theirs)), launches(StackedAdafactor(ours, 1e-2))
    assert other < one / 50, (one, other)
