"""Adafactor, many parameters of one shape at a time: the steps of Transformers' class in far fewer operations.

Adafactor (Shazeer and Stern 2018, arXiv 1804.04235) without scale_parameter, relative_step and first moment, as the
paper's code used `transformers.optimization.Adafactor`. An adapter has hundreds of small tensors in a few shapes; one
at a time they cost 24 operations each, half of all launches of a LoRA step. On a CPU, every weight is the same to
the last bit as with Transformers' class (tests/methods/test_adafactor.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.nn import Parameter

EPS = 1e-30
"""Added to squared gradients: the default of Transformers' class (`eps[0]`)."""
DECAY = -0.8
"""The running average forgets with 1 - step ** DECAY: the paper's equation in its section 7.2."""
CLIP = 1.0
"""Updates with a larger root mean square are scaled down to it: section 6 of the paper."""
MOST = 1 << 22
"""Elements that are stacked at most, 16 MiB in float32. A larger tensor is alone: its cost is not that of launches."""


class StackedAdafactor(torch.optim.Optimizer):
    """Adafactor with a fixed learning rate. The state of a stack is kept under its first parameter."""

    def __init__(
        self, params: Iterable[Parameter] | Iterable[dict[str, Any]], lr: float, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.stacks: dict[int, list[list[Parameter]]] = {}
        """Number of the parameter group -> its stacks."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step. Parameters without a gradient are left out, and fall behind in their own count of steps."""
        loss = closure() if closure else None
        for number, group in enumerate(self.param_groups):
            stacks = self.stacks.get(number)
            if stacks is None:
                stacks = self.stacks[number] = list(self._as_loaded(stacked(group["params"])))
            if any(each.grad is None for stack in stacks if len(stack) > 1 for each in stack):
                stacks = self.stacks[number] = list(self._apart(stacks))
            for stack in stacks:
                if stack[0].grad is not None:
                    self._step(stack, group["lr"], group["weight_decay"])
        return loss

    def _as_loaded(self, stacks: Iterable[list[Parameter]]) -> Iterator[list[Parameter]]:
        """The stacks; one that was taken apart before the state was saved stays so, since its parts may differ in their
        count of steps."""
        for stack in stacks:
            rows = {len(each) for each in self.state.get(stack[0], {}).values() if torch.is_tensor(each)}
            if any(each in self.state for each in stack[1:]) or rows - {len(stack)}:
                yield from ([each] for each in stack)
            else:
                yield stack

    def _apart(self, stacks: list[list[Parameter]]) -> Iterator[list[Parameter]]:
        """The stacks; one with a missing gradient is taken apart into parameters, each with its part of the state."""
        for stack in stacks:
            if len(stack) == 1 or all(each.grad is not None for each in stack):
                yield stack
                continue
            state = self.state.pop(stack[0], {})
            for place, parameter in enumerate(stack):
                if state:
                    self.state[parameter] = {
                        name: value[place : place + 1].clone() if torch.is_tensor(value) else value
                        for name, value in state.items()
                    }
                yield [parameter]

    def _step(self, stack: list[Parameter], lr: float, weight_decay: float) -> None:
        grad = torch.stack([each.grad.float() for each in stack])  # type: ignore[union-attr]
        state = self.state[stack[0]]
        factored = grad.dim() > 2  # one dimension more than the parameter
        if not state:
            state["step"] = 0
            if factored:
                state["exp_avg_sq_row"] = grad.new_zeros(grad.shape[:-1])
                state["exp_avg_sq_col"] = grad.new_zeros(grad.shape[:-2] + grad.shape[-1:])
            else:
                state["exp_avg_sq"] = torch.zeros_like(grad)
        state["step"] += 1
        update = _direction(grad, state, factored)
        # The norm of each parameter's update, computed as for a tensor of its own.
        norms = torch.stack(torch._foreach_norm(list(update.unbind())))
        scale = (norms / math.sqrt(update[0].numel()) / CLIP).clamp_(min=1.0)
        update.div_(scale.view(-1, *[1] * (update.dim() - 1))).mul_(lr)
        _subtract(stack, list(update.unbind()), weight_decay * lr)


def _subtract(parameters: list[Parameter], changes: list[torch.Tensor], decay: float) -> None:
    """Take each change from its parameter, after the parameter has lost its share `decay`."""
    half = parameters[0].dtype in (torch.float16, torch.bfloat16)
    weights: Any = [each.float() for each in parameters] if half else parameters
    if decay:
        torch._foreach_add_(weights, weights, alpha=-decay)
    torch._foreach_sub_(weights, changes)
    if half:
        torch._foreach_copy_(parameters, weights)  # type: ignore[arg-type]


def _direction(grad: torch.Tensor, state: dict[str, Any], factored: bool) -> torch.Tensor:
    """The gradients over the root of their running mean squares, which are brought up to date."""
    forgets = math.pow(state["step"], DECAY)
    keeps = 1.0 - forgets
    squares = grad**2 + EPS
    if not factored:
        state["exp_avg_sq"].mul_(keeps).add_(squares, alpha=1.0 - keeps)
        return state["exp_avg_sq"].rsqrt().mul_(grad)
    row, column = state["exp_avg_sq_row"], state["exp_avg_sq_col"]
    row.mul_(keeps).add_(squares.mean(dim=-1), alpha=1.0 - keeps)
    column.mul_(keeps).add_(squares.mean(dim=-2), alpha=1.0 - keeps)
    of_rows = (row / row.mean(dim=-1, keepdim=True)).rsqrt_().unsqueeze(-1)
    return torch.mul(of_rows, column.unsqueeze(-2).rsqrt()).mul_(grad)


def stacked(parameters: Iterable[Parameter]) -> Iterator[list[Parameter]]:
    """Parameters of one shape, type and device together, as many as `MOST` allows."""
    alike: dict[Any, list[Parameter]] = {}
    for each in parameters:
        alike.setdefault((each.shape, each.dtype, each.device), []).append(each)
    for group in alike.values():
        size = max(1, MOST // max(1, group[0].numel()))
        yield from (group[start : start + size] for start in range(0, len(group), size))
