"""Predicts the GPU memory of a trial. `raypeft.gpu` enforces the budget and measures the real peak.

prediction = predict(trial, resources)        # before anything is loaded, without torch
prediction.peak_gb, prediction.fits(24)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raypeft.gpu import CONTEXT_GB, GIB
from raypeft.methods import TrainedMethod
from raypeft.methods.optimizers import OPTIMIZERS
from raypeft.models.architectures import Architecture
from raypeft.models.classes import class_of
from raypeft.models.table import family_of
from raypeft.prompting.forms import CORRECTED
from raypeft.prompting.templates import chosen_form
from raypeft.records import Dataset
from raypeft.study.options import USUAL_BATCH

if TYPE_CHECKING:
    from raypeft.study.config import Trial
    from raypeft.study.options import Resources

MARGIN = 1.05
"""What the allocator loses to holes and rounding: in training, reserved memory was at most 4 % above that of tensors
where these took 8 of 24 GiB or more (ten models on an H200, benchmarks/memory.py), and up to 20 % for smaller ones."""
LARGEST_BATCH = 128
"""Examples decoded together at most where their number is `auto`: more gain little on an H200."""
FILLED = 0.5
"""The share of its budget that decoding may fill where the number of examples is `auto`."""
PARTS = (8, 4, 2)
"""A trial that shares a GPU gets one of these parts of the budget. There are few, so that processes are used again."""
HALF, SINGLE = 2, 4
READ_SCORES = 10
"""Bytes of an attention score while CodeGen, whose attention is not fused, reads a prompt: two in float32, and that of
the layer before in half precision."""
CHAT_TOKENS = 48
"""Room for what a chat template writes around a query and its answer; a default system prompt is most of it."""

WEIGHT_BYTES = {"half": 2.0, "float32": 4.0, "int8": 1.0, "nf4": 0.5 + 1 / 64 + 4 / (64 * 256)}
"""Bytes for each parameter of a linear layer. nf4 has one 8-bit scale for 64 weights, and one float32 scale for 256 of
these scales (Dettmers et al., arXiv 2305.14314, section 3)."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted peak GPU memory of a trial in GiB (2**30 bytes), and the settings that keep it within the budget."""

    weights_gb: float
    train_gb: float | None
    """None for methods that do not train."""
    generate_gb: float
    gradient_checkpointing: bool
    micro_batch_size: int
    """Examples in one forward and backward pass. The gradients of a batch are summed over its passes."""
    generation_batch_size: int

    @property
    def peak_gb(self) -> float:
        """Peak memory of tensors over all stages, without the CUDA context."""
        return max(self.weights_gb, self.train_gb or 0.0, self.generate_gb)

    def fits(self, budget_gb: float) -> bool:
        return MARGIN * self.peak_gb + CONTEXT_GB <= budget_gb

    def runs_like(self, other: Prediction) -> bool:
        """Whether the trial trains as by the other plan, and decodes as many examples together, up to the default."""
        ways = [(each.gradient_checkpointing, each.micro_batch_size, min(each.generation_batch_size, USUAL_BATCH))
                for each in (self, other)]  # fmt: skip
        return ways[0] == ways[1]


def predict(trial: Trial, resources: Resources) -> Prediction | None:
    """Predict the peak of a trial from the sizes of its model. None for a model whose architecture is not known.

    If training does not fit the budget, gradient checkpointing is turned on (if the method allows it); if that is not
    enough, the batch is split into parts. The batch size of generation is halved until it fits.
    """
    architecture = family_of(trial.model, trial.model_path).architecture
    if architecture is None:
        return None
    method, room = trial.method, (resources.gpu_memory_gb - CONTEXT_GB) / MARGIN * GIB
    weights = weight_bytes(architecture, method.base_weights)
    train, checkpointing, part = None, False, 1
    if isinstance(method, TrainedMethod):
        checkpointing, part = bool(method.gradient_checkpointing), method.per_device_train_batch_size

        def needed() -> float:
            return weights + training_bytes(architecture, trial, method, checkpointing, part)

        if needed() > room and method.gradient_checkpointing is None:
            checkpointing = method.checkpoints
        while part > 1 and needed() > room:
            part = -(-part // 2)
        train = needed() / GIB
    decoded = "half" if method.base_weights == "float32" else method.base_weights  # `raypeft.trial.tune.narrow`
    held = weight_bytes(architecture, decoded) + SINGLE * method.added_params(architecture)
    batch_size = _examples_at_once(architecture, trial, resources, room - held)
    generate = held + generation_bytes(architecture, trial, batch_size)
    return Prediction(weights / GIB, train, generate / GIB, checkpointing, part, batch_size)


def _examples_at_once(architecture: Architecture, trial: Trial, resources: Resources, room: float) -> int:
    """How many examples are decoded together within so many bytes."""
    batch_size = resources.decoded_together
    while batch_size > 1 and generation_bytes(architecture, trial, batch_size) > room:
        batch_size //= 2
    filled = room - (1 - FILLED) * resources.gpu_memory_gb * GIB
    while resources.generation_batch_size == "auto" and batch_size < LARGEST_BATCH:
        if generation_bytes(architecture, trial, 2 * batch_size) > filled:
            break
        batch_size *= 2
    return batch_size


def part_of_budget(trial: Trial, resources: Resources) -> float:
    """The budget of a trial that shares a GPU, in GiB: the smallest part of the whole that it is predicted to fit.

    It is the whole one for a model of which nothing is known, and where every part would change how the trial trains,
    or decode fewer examples together than by default.
    """
    if resources.share == "never" or (whole := predict(trial, resources)) is None:
        return resources.gpu_memory_gb
    for part in PARTS:
        budget = resources.gpu_memory_gb / part
        inside = predict(trial, resources.model_copy(update={"gpu_memory_gb": budget}))
        if inside and inside.fits(budget) and inside.runs_like(whole):
            return budget
    return resources.gpu_memory_gb


def on_card(resources: Resources, free_gb: float | None) -> Resources:
    """The resources, with a budget of at most `free_gb`, what the GPU has for it in GiB. None: no GPU, no change."""
    budget = min(resources.gpu_memory_gb, free_gb) if free_gb else resources.gpu_memory_gb
    return resources.model_copy(update={"gpu_memory_gb": budget})


def refusal(prediction: Prediction | None, resources: Resources) -> str | None:
    """Why a trial should not be run on a GPU. None if it fits the budget, or if there is no prediction."""
    if prediction is None or prediction.fits(resources.gpu_memory_gb):
        return None
    return (f"predicted to need {prediction.peak_gb:.1f} GiB and {CONTEXT_GB} for the CUDA context, more than the "
            f"{resources.gpu_memory_gb:.1f} GiB of its budget; --force runs it all the same")  # fmt: skip


def weight_bytes(architecture: Architecture, weights: str) -> float:
    """Bytes of the base model. Embeddings, norms and the output head stay in bfloat16 when the model is quantised."""
    other = SINGLE if weights == "float32" else HALF
    return architecture.linear_params * WEIGHT_BYTES[weights] + architecture.other_params * other


def training_bytes(
    architecture: Architecture, trial: Trial, method: TrainedMethod, checkpointing: bool, examples: int
) -> float:
    """Bytes of one optimiser step on `examples` examples of the longest length, without the base's weights."""
    trained, added = method.trainable_params(architecture), method.added_params(architecture)
    states = SINGLE * added + (SINGLE + OPTIMIZERS[method.optim].state_bytes) * trained  # adapter, gradients, optimiser
    casts = HALF * trained  # autocast's bfloat16 copies of float32 weights
    length = max(longest_example(trial, each) for each in trial.data.joined)
    length += getattr(method, "num_virtual_tokens", 0)
    if architecture.is_encoder_decoder:
        # Encoder and decoder read prompt and answer separately: the longest of CoNaLa have 84 and 82 tokens, the
        # longest pair has 117.
        length = round(0.7 * length)
    tokens = examples * length
    layers = architecture.layers + architecture.encoder_layers
    layer = tokens * _saved_bytes(architecture, method, length)
    if checkpointing:
        residual = SINGLE if method.base_weights == "float32" else HALF
        activations = tokens * layers * residual * architecture.hidden_size + layer
    else:
        activations = layers * layer
    # In the backward pass: the gradients of a layer's activations, and a quantised layer's weights unpacked.
    width = max(linear.inputs + linear.outputs for linear in architecture.linears)
    passing = 2 * SINGLE * tokens * width
    unpacked = 0.0
    if method.base_weights in ("int8", "nf4"):
        unpacked = HALF * max(linear.inputs * linear.outputs for linear in architecture.linears)
    # bfloat16 logits of the answer's positions, in float32, their softmax and its gradient.
    answers = examples * length
    logits = answers * architecture.vocab_size * (HALF + 3 * SINGLE)
    return states + casts + activations + max(passing + unpacked, logits)


def _saved_bytes(architecture: Architecture, method: TrainedMethod, length: int) -> float:
    """Bytes of activations that one layer saves for each token of a sequence of `length` tokens."""
    saved = class_of(architecture).saved[method.activations]
    feed_forward = max((linear.outputs for linear in architecture.linears if linear.feed_forward), default=0)
    return (
        saved.hidden * architecture.hidden_size
        + saved.feed_forward * feed_forward
        + saved.key_value * architecture.key_value_width
        + saved.scores * architecture.heads * length
        + SINGLE * architecture.heads
    )


def longest_example(trial: Trial, dataset: Dataset) -> int:
    """Tokens of the longest example of a dataset that the trial trains on.

    It is the dataset's longest one, or `max_length` where that is less. Of a dataset with a `max_length` of its own
    nothing longer is known, so that a larger one is taken at its word.
    """
    if dataset.max_length:
        return trial.max_length or dataset.max_length
    longest = dataset.longest_tokens + extra_tokens(trial, dataset)
    return min(longest, trial.max_length or longest)


def extra_tokens(trial: Trial, dataset: Dataset) -> int:
    """Tokens that the trial's form of prompt takes for an example beyond the dataset's own form. At least 0.

    A template in the text is counted as a token for each two characters, which is more than tokenizers make of it.
    """
    form = chosen_form(trial.prompt_form, trial.prompt_template)
    if form is None:
        return 0
    own = dataset.forms
    usual = own.corrected if own else CORRECTED
    asked, before = (max(len(each.query + each.answer), len(each.shot)) for each in (form, usual))
    longer = math.ceil((asked - before) / 2)
    return max(0, longer + (CHAT_TOKENS if form.chat else 0))


def generation_bytes(architecture: Architecture, trial: Trial, batch_size: int) -> float:
    """Bytes of decoding `batch_size` examples, without weights and adapter."""
    shots, asked = (
        trial.method.num_shots,
        [trial.test_data, *([trial.validated_data] if trial.validation_limit else [])],
    )
    beams = batch_size * (trial.num_return_sequences if trial.do_sample else trial.num_beams)
    # Shots are examples to train on, in the form of those that are asked.
    prompt = max(each.longest_tokens + (1 + shots) * extra_tokens(trial, each) for each in asked)
    prompt += shots * trial.data.longest_tokens
    prompt += getattr(trial.method, "num_virtual_tokens", 0)
    generated = trial.max_new_tokens or max(each.max_new_tokens or each.longest_answer for each in asked)
    if architecture.context_length:  # what does not fit is cut or refused
        generated = min(generated, architecture.context_length)
        prompt = min(prompt, architecture.context_length - generated)
    token = 2 * HALF * architecture.layers * architecture.key_value_width
    of_class = class_of(architecture)
    copies = batch_size if of_class.beams_share_prompt else beams
    cache = token * (copies * prompt + beams * generated)
    moved = cache / architecture.layers  # beams change places one layer at a time
    # Scores of the whole vocabulary in float32: as computed, normalised, summed with the beam's, and sorted.
    scores = 4 * SINGLE * beams * architecture.vocab_size
    reading = HALF * batch_size * prompt * 4 * max(linear.outputs for linear in architecture.linears)
    if of_class.saved["full"].scores and not architecture.is_encoder_decoder:
        reading += (READ_SCORES * architecture.heads + SINGLE) * batch_size * prompt**2  # and the mask
    return cache + moved + max(scores, reading)
