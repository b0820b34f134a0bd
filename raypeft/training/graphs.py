"""Forward and backward passes as CUDA graphs, one for each shape of batch.

    passes = GraphedPasses(model, pad_token_id)
    optimise_step(passes, passes.add_gradients(batches), optimizer, 1.0)

A small model's step waits for the CPU, which starts its thousands of kernels one by one: on an H200 the GPU works for
17 of the 141 ms of a step of SmolLM2-135M with LoRA. A graph starts them all at once. It repeats what was recorded, on
the same tensors: shapes must be equal, so rows and answers are padded to multiples of `MULTIPLE` tokens, and a shape is
recorded when it comes for the second time. Its numbers are those of the passes that are not recorded, dropout included.

Only packed batches on CUDA are recorded, where half of the memory is free: what a graph holds is held beside PyTorch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from raypeft.gpu import GIB, budget_gb, free_memory, is_out_of_memory
from raypeft.recording import on_side_stream, recording, unrecordable
from raypeft.records import Prompt
from raypeft.training.batches import IGNORED
from raypeft.training.losses import answer_positions, logits_of, summed_loss
from raypeft.training.packing import collate_packed
from raypeft.training.step import Passes

MULTIPLE = 64
"""Tokens. Batches of 8 examples of CoNaLa, in SmolLM2's tokens, then have 13 shapes in five epochs: all but 22 of
1,335 passes are repeated. Rows are 9 % longer."""
FILLED = 0.5
"""Share of the budget that training may hold before anything is recorded."""
MOST = 32
"""Graphs of one training. What the driver holds of each is beside PyTorch's memory."""
SAME = 1e-2
"""Relative difference allowed between the loss of the first graph and that of the same pass without it. It may choose
another kernel of attention, in bfloat16."""
SAME_NORM = 5e-2
"""The same for the norm of a parameter's gradient."""

Inputs = dict[str, torch.Tensor]


@dataclass(slots=True)
class Graph:
    """A recorded pass, and the tensors that it reads and writes."""

    graph: Any
    inputs: Inputs
    loss: torch.Tensor


class GraphedPasses(Passes):
    """Passes over packed batches, recorded where their shape has come before."""

    keeps_gradients = True

    def __init__(self, model: Any, pad_token_id: int) -> None:
        # On the CPU, where the answers' places are looked up.
        super().__init__(model, partial(collate_packed, pad_token_id=pad_token_id, device="cpu", multiple=MULTIPLE))
        self.pool: Any = None
        """Memory that all graphs share: none of them is needed while another one runs."""
        self.graphs: dict[tuple[int, ...], Graph] = {}
        self.seen: set[tuple[int, ...]] = set()
        self.refusal: str | None = None
        """Why nothing more is recorded."""

    def __call__(self, batch: Sequence[Prompt], divisor: float) -> torch.Tensor:
        inputs = fixed_inputs(self.collate(batch), divisor)
        if self.model.device.type != "cuda":
            return run(self.model, inputs)
        # Autograd adds to a gradient on the stream on which it first did, so all passes run on one.
        with on_side_stream():
            return self._repeated(inputs)

    @property
    def holds_graphs(self) -> bool:
        return bool(self.graphs)

    def close(self) -> None:
        self.graphs.clear()
        free_memory()

    def _repeated(self, inputs: Inputs) -> torch.Tensor:
        shape = (*inputs["input_ids"].shape, *inputs["positions"].shape)
        if shape in self.seen and shape not in self.graphs and self.refusal is None:
            self.refusal = self._record(shape, inputs)
            if self.refusal:
                free_memory()
        self.seen.add(shape)
        if (known := self.graphs.get(shape)) is None:
            return run(self.model, on_device(inputs, self.model))
        self.graphed += 1
        return replay(known, inputs)

    def _record(self, shape: tuple[int, ...], inputs: Inputs) -> str | None:
        """Record a pass over this shape. Why it cannot be; None: it is."""
        budget = budget_gb()
        if budget and torch.cuda.max_memory_allocated() > FILLED * budget * GIB:
            return "training holds more than half of the memory"
        if len(self.graphs) == MOST:
            return f"there are {MOST} graphs"
        if self.pool is None:
            self.pool = torch.cuda.graph_pool_handle()
        try:
            recorded = _recorded(self.model, on_device(inputs, self.model), self.pool)
            if not self.graphs and not _is_right(self.model, recorded, inputs):
                return "its losses or gradients are others"
        except Exception as error:  # models fail in many ways when they ask for a value while they are recorded
            return "memory ran out" if is_out_of_memory(error) else f"{type(error).__name__}: {error}"
        self.graphs[shape] = recorded
        return None


def _recorded(model: Any, inputs: Inputs, pool: Any) -> Graph:
    """The graph of a pass. Raises RuntimeError where it would make gradients anew, which the next pass is added to."""
    without = [each for each in model.parameters() if each.requires_grad and each.grad is None]
    graph = torch.cuda.CUDAGraph()
    try:
        with recording(graph, pool):
            loss = run(model, inputs)
        if any(each.grad is not None for each in without):
            raise RuntimeError("a parameter has its first gradient")
    except Exception:
        for each in without:  # it lies in memory that goes with the graph
            each.grad = None
        raise
    return Graph(graph, inputs, loss)


def on_device(inputs: Inputs, model: Any) -> Inputs:
    return {name: each.to(model.device) for name, each in inputs.items()}


def records(model: Any, wanted: bool, checkpointing: bool) -> bool:
    """Whether passes of a training on packed batches may be recorded.

    A pass that computes activations a second time asks the GPU for the state of its random numbers.
    """
    return wanted and model.device.type == "cuda" and not checkpointing and unrecordable(model) is None


def fixed_inputs(batch: dict[str, torch.Tensor], divisor: float) -> Inputs:
    """A packed batch as tensors whose shapes few batches differ in, where it is.

    `positions` are the columns before an answer token of some row, and `targets` what stands there, (rows, positions).
    Both are filled up with columns that carry no loss.
    """
    positions, targets = answer_positions(batch["labels"])
    missing = -len(positions) % MULTIPLE
    return {
        "input_ids": batch["input_ids"],
        "position_ids": batch["position_ids"],
        "positions": functional.pad(positions, (0, missing)),
        "targets": functional.pad(targets, (0, missing), value=IGNORED),
        "divisor": torch.tensor(float(divisor), device=targets.device),
    }


def run(model: Any, inputs: Inputs) -> torch.Tensor:
    """A forward and a backward pass over `fixed_inputs`; the loss over the divisor."""
    loss = loss_of(model, inputs)
    loss.backward()
    return loss.detach()


def loss_of(model: Any, inputs: Inputs) -> torch.Tensor:
    """The summed loss of the answer tokens of `fixed_inputs`, in nats, over the divisor."""
    read = {name: inputs[name] for name in ("input_ids", "position_ids")}
    logits = logits_of(model, {**read, "logits_to_keep": inputs["positions"]})
    return summed_loss(logits, inputs["targets"]) / inputs["divisor"]


def replay(recorded: Graph, inputs: Inputs) -> torch.Tensor:
    """The loss of the recorded pass over these inputs, whose gradients are added to those that there are."""
    for name, each in inputs.items():
        recorded.inputs[name].copy_(each, non_blocking=True)
    recorded.graph.replay()
    return recorded.loss.clone()


def _is_right(model: Any, recorded: Graph, inputs: Inputs) -> bool:
    """Whether a graph gives loss and gradients of the pass without it, with the same dropout, on other tokens than were
    recorded. Changes no gradient."""
    gradients = [each.grad for each in model.parameters() if each.grad is not None]
    before, random = [each.clone() for each in gradients], torch.cuda.get_rng_state()
    other = {**inputs, "input_ids": inputs["input_ids"].roll(1, dims=1)}
    found = []
    try:
        for way in (lambda: run(model, on_device(other, model)), lambda: replay(recorded, other)):
            torch.cuda.set_rng_state(random)
            torch._foreach_zero_(gradients)
            loss = way()
            found.append((loss, torch.stack(torch._foreach_norm(gradients))))
    finally:
        torch.cuda.set_rng_state(random)
        torch._foreach_copy_(gradients, before)
    (usual, norms), (graphed, graphed_norms) = found
    largest = float(norms.max())
    same_norms = torch.allclose(graphed_norms, norms, rtol=SAME_NORM, atol=SAME * largest)
    return same_norms and bool(torch.isclose(graphed, usual, rtol=SAME, atol=0.0))
