"""CodeGen2 on Transformers' own CodeGen class: which layout `qkv_proj` is stored in, and the rows put in order.

    layout = choose_blocks(model, tokenizer, default=8)   # model: a CodeGenForCausalLM as from_pretrained gives it
    print(layout)     # of the tests' model: qkv_proj is stored in 8 blocks: loss 0.06 (4 blocks: 2.59), decided by loss

`qkv_proj.weight` is the query, value and key projections in one matrix, cut into as many blocks as the checkpoint was
trained on partitions, each with its share of the query, value and key heads in turn. Transformers' class reads 4
blocks whatever the checkpoint has; a checkpoint in 8 blocks (CodeGen2-1B and 3.7B) loads without a complaint and
speaks garbage. `regroup` moves the rows. It takes weights in any float type and those that bitsandbytes has quantised.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

NATIVE_BLOCKS = 4
"""How many blocks `CodeGenAttention.forward` of Transformers reads (`mp_num`); it is written into the code."""
CANDIDATES = (NATIVE_BLOCKS, 8)
"""In how many blocks the published checkpoints store `qkv_proj`."""

PROBE = '''def count_words(path):
    """Return how often each word occurs in a text file."""
    counts = {}
    with open(path) as lines:
        for line in lines:
            for word in line.split():
                counts[word] = counts.get(word, 0) + 1
    return counts


print(count_words("notes.txt"))
'''
"""Code that any code model finds easy, whose loss tells the layouts apart."""

MARGIN = 1.0
"""Nats per token between "a model of code" and "noise", on both sides.

Measured on the probe: SmolLM2-135M-Instruct, its heads stored in 1, 3 or 9 blocks and read in another number, goes
from 1.5 nats to between 13.3 and 17.9, the toy model (1, 2 or 4 blocks) from 2.7 to between 5.5 and 9.1. Of a random
model no layout is right, and chance may set the losses as far apart as its logits are wild (1 nat where both are at
27); but none is below guessing evenly over the vocabulary, which is why the winner must be below that as well.
"""

_NOTE = """\
This adapter is only valid on a base whose `attn.qkv_proj` was regrouped from {blocks} to {native} blocks. On the
checkpoint as it is stored it loads without a complaint and gives wrong output. Load the base with
`raypeft.models.loading.load_base`, or load it with Transformers and apply
`raypeft.models.codegen2.regroup(model, {blocks})` first; then `peft.PeftModel.from_pretrained(model, folder)`."""


@dataclass(frozen=True, slots=True)
class Layout:
    """In how many blocks a checkpoint stores `qkv_proj`, and how that was found."""

    blocks: int
    losses: dict[int, float]
    """Block count -> mean loss on `PROBE`, in nats per token, of every candidate that the model's shape allows."""
    decided_by: Literal["loss", "default"]

    def __str__(self) -> str:
        others = ", ".join(
            f"{blocks} blocks: {loss:.2f}" for blocks, loss in self.losses.items() if blocks != self.blocks
        )
        own = f"loss {self.losses[self.blocks]:.2f}" + (f" ({others})" if others else "")
        verb = "is" if self.decided_by == "loss" else "is taken to be"
        return f"qkv_proj {verb} stored in {self.blocks} blocks: {own}, decided by {self.decided_by}"


def possible_blocks(config: Any, candidates: Sequence[int] = CANDIDATES) -> list[int]:
    """The candidates that a CodeGen config's shape allows: each block holds whole heads, as do the class's own four."""
    if config.n_head % NATIVE_BLOCKS:
        return []
    return [blocks for blocks in candidates if config.n_head % blocks == 0 and config.n_embd % blocks == 0]


def regroup(model: Any, blocks: int, to: int = NATIVE_BLOCKS) -> None:
    """Move the rows of every `qkv_proj` of a CodeGenForCausalLM from `blocks` to `to` blocks, in place.

    A permutation of rows, so every type and every bit is kept; `regroup(model, to, blocks)` undoes it. Blocks are moved
    with their three parts in the order they have (query, value, key in CodeGen), whatever that is. One layer is copied
    at a time. Of weights quantised by bitsandbytes (int8, 4-bit) the scales move along and the
    result is what quantising the regrouped weights gives. A second call moves the rows again: call it once.

    Raises ValueError, and leaves the model as it was, for another architecture, a shape that does not divide, weights
    without values (meta device) and a model that carries an adapter already.
    """
    _check_blocks(blocks, to)
    layers = _qkv_layers(model)
    for count in (blocks, to):
        if not possible_blocks(model.config, [count]):
            raise ValueError(
                f"qkv_proj in {count} blocks needs numbers of heads and channels that {count} and {NATIVE_BLOCKS} "
                f"divide but got n_head={model.config.n_head}, n_embd={model.config.n_embd}"
            )
    if blocks == to:
        return
    order = _order(blocks, to)
    storages = [_storages(layer, len(order)) for layer in layers]
    for tensors in storages:
        for tensor in tensors:
            tensor.copy_(_moved(tensor, order))


def choose_blocks(model: Any, tokenizer: Any, default: int = NATIVE_BLOCKS) -> Layout:
    """Find the block count of a checkpoint by its loss on `PROBE` under each of `CANDIDATES`, and regroup the model.

    The model must be as loaded, not regrouped yet. The lower loss wins if it is `MARGIN` below the other ones and below
    guessing evenly over the vocabulary; else `default` is taken (a random or a broken model). Candidates that the
    model's shape does not allow are passed over.

    Raises ValueError where `default` is not among the candidates that remain, where the tokenizer has tokens that the
    model has not, and as `regroup` does; the model is then as it was.
    """
    _qkv_layers(model)
    possible = possible_blocks(model.config)
    if default not in possible:
        raise ValueError(
            f"default must be a candidate that the model's shape allows but got {default}: of {list(CANDIDATES)}, "
            f"n_head={model.config.n_head} and n_embd={model.config.n_embd} allow {possible}"
        )
    tokens = tokenizer(PROBE, add_special_tokens=False)["input_ids"][: model.config.n_positions]
    if max(tokens) >= model.config.vocab_size:
        raise ValueError(
            f"the tokenizer must fit the model's vocabulary of {model.config.vocab_size} but gave token {max(tokens)}; "
            "take the tokenizer of the same checkpoint"
        )
    losses = {}
    for blocks in possible:
        with _regrouped(model, blocks):
            losses[blocks] = _loss(model, tokens)
    best, *others = sorted(losses, key=losses.__getitem__)
    ceiling = min([math.log(model.config.vocab_size), *(losses[other] for other in others)])
    told = bool(others) and losses[best] < ceiling - MARGIN
    chosen = best if told else default
    regroup(model, chosen)
    return Layout(chosen, losses, "loss" if told else "default")


def adapter_note(blocks: int) -> dict[str, str]:
    """What must be saved with an adapter whose base was regrouped from `blocks` blocks: file name -> text.

    Empty where nothing was regrouped. `write_adapter_note` puts it into the adapter's folder.
    """
    if blocks == NATIVE_BLOCKS:
        return {}
    note = _NOTE.format(blocks=blocks, native=NATIVE_BLOCKS)
    facts = {"qkv_proj_blocks": blocks, "qkv_proj_regrouped_to": NATIVE_BLOCKS, "note": " ".join(note.split())}
    return {"README.md": f"## The base of this adapter\n\n{note}\n", "raypeft.json": json.dumps(facts, indent=2) + "\n"}


def write_adapter_note(folder: Path, files: Mapping[str, str]) -> None:
    """Write `adapter_note` beside a saved adapter: after PEFT's model card, and into the facts that are there."""
    for name, text in files.items():
        file = folder / name
        there = file.read_text() if file.exists() else ""
        if name.endswith(".json"):
            file.write_text(json.dumps(json.loads(there or "{}") | json.loads(text), indent=2) + "\n")
        elif text not in there:
            file.write_text(f"{there.rstrip()}\n\n{text}".lstrip())


def _check_blocks(*counts: int) -> None:
    for count in counts:
        if count < 1:
            raise ValueError(f"the number of blocks must be at least 1 but got {count}")


def _order(blocks: int, to: int) -> torch.Tensor:
    """(3 x lcm) indices: which piece of the old weight each piece of the new one is, in pieces of E / lcm rows."""
    parts = math.lcm(blocks, to)
    pieces = torch.arange(3 * parts).view(blocks, 3, parts // blocks)
    one_block = pieces.transpose(0, 1)
    return one_block.reshape(3, to, parts // to).transpose(0, 1).flatten()


def _moved(tensor: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """A copy of `tensor` that has its `len(order)` equal pieces in that order."""
    pieces = tensor.reshape(len(order), -1)
    return pieces.index_select(0, order.to(tensor.device)).view(tensor.shape)


def _qkv_layers(model: Any) -> list[Any]:
    """Every block's `qkv_proj`, of a CodeGen model with its weights in place and no adapter on them."""
    if getattr(model.config, "model_type", None) != "codegen" or not hasattr(model, "transformer"):
        raise ValueError(
            f"regrouping is for CodeGenForCausalLM but got {type(model).__name__}; of a PEFT model take the base, "
            "before the adapter is put on"
        )
    layers = [block.attn.qkv_proj for block in model.transformer.h]
    for layer in layers:
        if hasattr(layer, "base_layer"):
            raise ValueError("qkv_proj carries an adapter already; regroup the base first, then put the adapter on")
        if layer.weight.is_meta:
            raise ValueError("qkv_proj has no values (meta device); load the weights, or move them here, first")
    return layers


def _storages(layer: Any, pieces: int) -> list[torch.Tensor]:
    """The tensors that hold a linear layer's weight; in each of them the weight's rows follow each other.

    bitsandbytes stores int8 as (3 E, E) with one scale a row, and 4 bits as one flat run of weights with one scale for
    every 64 of them; by default these scales are quantised as well, with one scale for every 256.
    """
    weight = layer.weight.data
    state = getattr(layer.weight, "quant_state", None)
    if state is not None:
        return _four_bit_storages(weight, state, pieces)
    if weight.is_floating_point():
        return [weight]
    scales = getattr(layer.weight, "SCB", None)
    if scales is None:  # after the first forward pass bitsandbytes keeps them elsewhere
        scales = getattr(getattr(layer, "state", None), "SCB", None)
    if scales is None:
        raise ValueError(
            f"qkv_proj must be of a float type or quantised by bitsandbytes but got {type(layer).__name__} with "
            f"{weight.dtype}; regroup before quantising"
        )
    return [weight, scales]


def _four_bit_storages(weight: torch.Tensor, state: Any, pieces: int) -> list[torch.Tensor]:
    if getattr(state, "packing_format_for_cpu", False):
        raise ValueError(
            "qkv_proj was repacked by bitsandbytes for this CPU at its first forward pass, which cannot be undone "
            "exactly; regroup the model before it is used"
        )
    if state.shape.numel() % (pieces * state.blocksize):
        raise ValueError(
            f"a 4-bit qkv_proj must fall into {pieces} pieces of a multiple of {state.blocksize} weights but got shape "
            f"{tuple(state.shape)}; regroup before quantising"
        )
    if state.nested and state.absmax.numel() % (pieces * state.state2.blocksize):
        # Only in small models. Kept unquantised from here on, the scales are the very numbers they stood for.
        from bitsandbytes.functional import dequantize_blockwise

        state.absmax = dequantize_blockwise(state.absmax, state.state2).float() + state.offset
        state.nested, state.state2, state.offset = False, None, None
    return [weight, state.absmax, *([state.state2.absmax] if state.nested else [])]


@contextmanager
def _regrouped(model: Any, blocks: int) -> Iterator[None]:
    regroup(model, blocks)
    try:
        yield
    finally:
        regroup(model, NATIVE_BLOCKS, blocks)


@torch.no_grad()
def _loss(model: Any, tokens: list[int]) -> float:
    """Mean loss per token in nats; infinite where it is not a number, as a scrambled model in float16 may give."""
    training = model.training
    # In evaluation bitsandbytes would repack 4-bit weights for some CPUs for good, and they could not be regrouped.
    packing = [module for module in model.modules() if getattr(module, "support_avx512bf16_for_cpu", False)]
    for module in packing:
        module.support_avx512bf16_for_cpu = False
    model.eval()
    try:
        input_ids = torch.tensor([tokens], device=model.device)
        logits = model(input_ids=input_ids, use_cache=False).logits[0, :-1].float()
    finally:
        model.train(training)
        for module in packing:
            module.support_avx512bf16_for_cpu = True
    loss = torch.nn.functional.cross_entropy(logits, input_ids[0, 1:]).item()
    return math.inf if math.isnan(loss) else loss
