"""A training step on tensors that have shapes and no values: the storages alive at its peak, counted."""

import sys
from contextlib import nullcontext
from unittest import mock

import torch
from counting import Storages
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from figure1.bars import BATCH, PADDED, origin_columns, planned
from figure1.models import build_base
from raypeft.gpu import GIB
from raypeft.training.step import checkpointing, make_optimizer

IN_FLOAT32 = {"__pow__", "cumsum", "exp", "layer_norm", "log_softmax", "norm", "pow", "prod", "rsqrt", "softmax", "sum"}
"""Operations that autocast computes in float32 on a GPU but not on a CPU, as far as our models use them (torch's page
on amp, "CUDA Ops that can autocast to float32")."""


def simulate_bar(bar, options):
    """The storages alive at the peak of a second training step of 8 x 128 tokens, on tensors without values.

    The step is that of `raypeft.training.step.optimise_step`, less what asks for values (which positions have a loss, the
    loss as a number). It is taken under the CPU's autocast, then once more with what CUDA's computes in float32.
    """
    from bitsandbytes.functional import quantize_4bit
    from torch._subclasses.fake_tensor import FakeTensorMode

    print(bar.name, file=sys.stderr, flush=True)
    torch.set_num_threads(options.threads)
    trial, plan = planned(bar, options)
    weights = trial.method.base_weights
    dtype = torch.float32 if weights == "float32" else torch.bfloat16
    quantize_4bit(torch.ones(64, 64), compress_statistics=True)  # makes bitsandbytes' tables, which need values
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    base = build_base(bar.model, weights, options.scale, "cpu", dtype, fake)
    # PEFT moves adapters to the base's device, where they are; fake parameters do not survive the move.
    still = mock.patch.object(torch.nn.Module, "to", lambda module, *_, **__: module)
    row = {"bar": bar.name, "status": "ok", **origin_columns()}
    with fake, still, trial.method.applied(base) as model, checkpointing(model, plan.gradient_checkpointing):
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer, _ = make_optimizer(model, trial.method, 8)
        fake_step(model, trainable, optimizer, plan.micro_batch_size)
        for rules, context in (("cpu", nullcontext()), ("cuda", CudaAutocast())):
            storages = Storages(held_tensors(model, optimizer))
            row["held_gb"] = storages.live / GIB
            with context, storages:
                fake_step(model, trainable, optimizer, plan.micro_batch_size)
            row |= {f"{rules}_gb": storages.peak / GIB, "at": storages.at}
    return row


class CudaAutocast(TorchFunctionMode):
    """Computes IN_FLOAT32 in float32 where autocast is on."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function.__name__ in IN_FLOAT32 and torch.is_autocast_enabled("cpu"):
            args, kwargs = tree_map_only(torch.Tensor, widened, (args, kwargs))
        return function(*args, **(kwargs or {}))


def widened(tensor):
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def held_tensors(model, optimizer):
    for parameter in model.parameters():
        yield parameter
        if state := getattr(parameter, "quant_state", None):
            yield from (state.absmax, state.state2.absmax)
    for state in optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, torch.Tensor))


def fake_step(model, trainable, optimizer, examples):
    """One optimiser step whose passes have `examples` examples, each with 64 answer tokens."""
    model.train()
    half = PADDED // 2
    targets = torch.ones(examples, half, dtype=torch.long)
    if model.config.is_encoder_decoder:
        inputs = {"input_ids": targets, "decoder_input_ids": targets}
    else:
        inputs = {"input_ids": targets.repeat(1, 2), "logits_to_keep": torch.arange(half - 1, PADDED - 1)}
    for _ in range(BATCH // examples):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(**inputs, use_cache=False)
        logits = output.logits.float()
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
        loss.backward()
    torch.nn.utils.clip_grad_norm_(trainable, 1.0)
    optimizer.step()
    optimizer.zero_grad()
