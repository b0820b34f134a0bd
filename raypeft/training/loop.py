"""The only training loop: the paper's optimiser and schedule, the best evaluation kept.

    result = train_model(model, train, validation, Recipe(method, seed=42, pad_token_id=0))

Follows `transformers.Trainer` step by step on the same batches (tests/training/test_loop.py). Batches are packed, or
padded on the right to their longest example, and the vocabulary's logits are computed only where some example has an
answer token; both save time and change no loss. `Recipe.as_paper` weighs and evaluates as the paper's code did.
`raypeft.training.state` saves a training and takes it up again.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from raypeft import events
from raypeft.events import Evaluated, Listener, Stage, Step
from raypeft.gpu import within_memory
from raypeft.records import Prompt
from raypeft.stopping import Stopped
from raypeft.training.batches import collate_for, parts, training_steps
from raypeft.training.graphs import GraphedPasses, records
from raypeft.training.losses import answer_tokens, evaluate, example_losses
from raypeft.training.packing import can_pack, collate_packed
from raypeft.training.recipe import Recipe
from raypeft.training.state import NO_CHECKPOINTS, Checkpoints, fingerprints, restore
from raypeft.training.step import Passes, checkpointing, make_optimizer, make_scaler, optimise_step


@dataclass(slots=True)
class TrainingResult:
    evaluations: list[Evaluated] = field(default_factory=list)
    best_eval_loss: float = math.inf
    best_step: int = 0
    steps: int = 0
    tokens: int = 0
    """Tokens trained on, padding not counted."""
    train_seconds: float = 0.0
    """Optimiser steps only."""
    eval_seconds: float = 0.0
    test_loss: float | None = None
    """Of the weights of the best evaluation, on the test split; None without one."""
    test_loss_last: float | None = None
    """Of the weights of the last step."""
    test_losses: list[tuple[float, int]] = field(default_factory=list)
    """Of the weights of the best evaluation: each test prompt's summed loss, in nats, and number of answer tokens."""
    trained_tensors: int = 0
    unchanged_tensors: int = 0
    """Trained tensors that training left as they were."""
    packed: bool = False
    """Whether batches were packed into rows without padding."""
    graphed: bool = False
    """Whether passes ran as CUDA graphs."""
    resumed_from_step: int | None = None
    """The step from which training went on; None where it ran in one piece."""
    earlier_seconds: float = 0.0
    """Time of the training up to the checkpoint from which it went on, evaluations included."""
    trained_by: str | None = None
    """Whose training this is, to its last step; None where at least its end was trained here."""
    peak_memory_gb: tuple[float, float] | None = None
    """Peak GPU memory of the training up to the checkpoint from which it went on: allocated and reserved."""


def train_model(
    model: Any,
    train: Sequence[Prompt],
    validation: Sequence[Prompt],
    recipe: Recipe,
    listener: Listener = events.ignore,
    test: Sequence[Prompt] = (),
) -> TrainingResult:
    """Train `model` in place and leave it with the weights of its best evaluation (lowest loss, the first on a tie).

    The loss on `test` is measured at the end, of the last weights and of the best, and decides nothing.

    Raises FloatingPointError, naming the step, where a loss, a gradient or a trained weight is not finite.
    """
    return Training(model, train, recipe).run(validation, test, listener)


class Training:
    """One run of the loop: model, optimiser and schedule, and what has come of them so far."""

    def __init__(self, model: Any, train: Sequence[Prompt], recipe: Recipe) -> None:
        method = recipe.method
        self.model, self.train, self.recipe = model, train, recipe
        self.trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        batches = math.ceil(len(train) / method.per_device_train_batch_size)
        self.steps_per_epoch = math.ceil(batches / method.gradient_accumulation_steps)
        self.total_steps = math.ceil(self.steps_per_epoch * method.num_train_epochs)
        self.eval_interval = math.ceil(self.steps_per_epoch * method.eval_every_epochs)
        if recipe.as_paper:  # it rounded twice: only whole steps count
            whole = len(train) // (method.per_device_train_batch_size * method.gradient_accumulation_steps)
            self.eval_interval = max(1, math.ceil(whole * method.eval_every_epochs))
        self.tokens = answer_tokens(train) / self.steps_per_epoch if method.loss_weighting == "token" else None
        """What the loss of every step is divided by; None: the step's own number of answer tokens."""
        self.optimizer, self.scheduler = make_optimizer(model, method, self.total_steps)
        self.result = TrainingResult()
        self.learning_rate = 0.0
        """Of the last step."""
        self.losses: list[float] = []
        """Of the steps since the last evaluation."""
        self.best_weights: list[torch.Tensor] = []
        self.at_first = fingerprints(self.trainable)
        self.started = time.perf_counter()
        self.is_trained = False
        """Whether all steps and evaluations are done."""
        self.scaler = make_scaler(model.device)
        self.passes = self._plain_passes()
        self.in_training_mode = False
        """Whether all modules of the model are known to be in training mode. The base comes in that of evaluation."""

    def run(
        self,
        validation: Sequence[Prompt],
        test: Sequence[Prompt] = (),
        listener: Listener = events.ignore,
        checkpoints: Checkpoints = NO_CHECKPOINTS,
    ) -> TrainingResult:
        """Train from the beginning, or from the checkpoint that there is, to the end, as `train_model` describes.

        Raises Stopped, after a checkpoint, where `checkpoints.stop` was told to.
        """
        torch.manual_seed(self.recipe.seed)
        if state := checkpoints.load(self):
            restore(self, state)
        listener(Stage("train", self.result.steps, self.total_steps))
        for evaluated in self.result.evaluations:
            listener(evaluated)
        if not self.is_trained:
            self.train_to_the_end(validation, listener, checkpoints)
        self.measure(test)
        return self.result

    def train_to_the_end(self, validation: Sequence[Prompt], listener: Listener, checkpoints: Checkpoints) -> None:
        """The steps that are left, and the evaluations."""
        self.prepare()
        steps = training_steps(self.train, self.recipe.method, self.recipe.seed, self.total_steps)
        with checkpoints.stop.deferred():
            for batches in itertools.chain([()], itertools.islice(steps, self.result.steps, None)):
                if batches:
                    listener(self.step(batches))
                # Without a batch it is one that an interruption left out.
                if evaluates := bool(self.losses) and self.evaluation_is_due:
                    listener(self._evaluated(validation, checkpoints))
                checkpoints.after_step(self, evaluates)
        self.finish()
        self.is_trained = True
        checkpoints.after_training(self)

    def prepare(self) -> None:
        """Find out how the model may be given its batches."""
        recipe = self.recipe
        self.result.packed = not recipe.as_paper and can_pack(self.model, self.train, recipe.pad_token_id)
        self.passes = self._plain_passes()
        if self.result.packed and records(self.model, recipe.graphs, recipe.gradient_checkpointing):
            self.passes = GraphedPasses(self.model, recipe.pad_token_id)

    def _plain_passes(self) -> Passes:
        """Passes that are not recorded, over batches that are packed if they may be."""
        if self.result.packed:
            collate = partial(collate_packed, pad_token_id=self.recipe.pad_token_id, device=self.model.device)
        else:
            collate = partial(collate_for, self.model, pad_token_id=self.recipe.pad_token_id)
        return Passes(self.model, collate, self.scaler)

    @property
    def evaluation_is_due(self) -> bool:
        """After every interval, and after the last step in any case; in the paper's code only if it is the first."""
        if self.result.steps % self.eval_interval == 0:
            return True
        is_last = self.result.steps == self.total_steps
        return is_last and not (self.recipe.as_paper and self.result.evaluations)

    def step(self, batches: Sequence[Sequence[Prompt]]) -> Step:
        """One optimiser step over one or more accumulated batches."""
        started, result = time.perf_counter(), self.result
        number = result.steps + 1
        if not self.in_training_mode:  # it takes 9 ms with an adapter on 135M parameters
            self.model.train()
            self.in_training_mode = True
        try:
            loss = self._gradients_in_memory(batches)
            is_made = optimise_step(self.passes, loss, self.optimizer, self.recipe.method.max_grad_norm)
        except FloatingPointError as error:
            raise FloatingPointError(f"{error} at step {number} of {self.total_steps}; {self._remedy}") from None
        self._check_finite("training loss", loss, number)
        self.losses.append(loss)
        self.learning_rate = self.scheduler.get_last_lr()[0]
        if is_made:  # the schedule waits for a step that was left out, as in `transformers.Trainer`
            self.scheduler.step()
        result.steps, result.tokens = number, result.tokens + sum(len(prompt) for batch in batches for prompt in batch)
        result.train_seconds += time.perf_counter() - started
        return Step(number, self.total_steps, loss, self.learning_rate)

    def _gradients_in_memory(self, batches: Sequence[Sequence[Prompt]]) -> float:
        """`_gradients`, where the GPU's memory runs out without graphs, which hold some, then by a smaller recipe. The
        rest of the training keeps to it.

        No weight has changed by then. Raises torch's error where nothing smaller is left.
        """
        while (smaller := self.recipe if self.passes.holds_graphs else self.recipe.smaller) is not None:
            loss = within_memory(partial(self._gradients, batches), is_last=False)
            if loss is not None:
                return loss
            self.optimizer.zero_grad()  # passes that were done before it have added theirs
            self.result.graphed |= self.passes.graphed > 0
            self.passes.close()
            self.recipe, self.passes = smaller, self._plain_passes()
        return self._gradients(batches)

    def _gradients(self, batches: Sequence[Sequence[Prompt]]) -> float:
        """Add the gradients of batches, cut into passes, to those that there are; the mean loss of their tokens."""
        recipe = self.recipe
        split = [[*parts(batch, recipe.micro_batch_size or len(batch))] for batch in batches]
        passes = [part for each in split for part in each]
        divisors: float | list[float] | None = self.tokens
        if recipe.as_paper and divisors is None:
            divisors = [float(len(batches) * answer_tokens(batch)) for batch, each in zip(batches, split, strict=True)
                        for _ in each]  # fmt: skip
        with checkpointing(self.model, recipe.gradient_checkpointing):
            return self.passes.add_gradients(passes, divisors)

    def _evaluated(self, validation: Sequence[Prompt], checkpoints: Checkpoints) -> Evaluated:
        """`evaluate`, with a checkpoint of the step before it where it takes longer than a stop can wait."""
        try:
            return self.evaluate(validation)
        except Stopped:
            checkpoints.save(self)
            raise

    def evaluate(self, validation: Sequence[Prompt]) -> Evaluated:
        """Look at the validation split, and keep the weights if they are the best so far."""
        started, result, self.in_training_mode = time.perf_counter(), self.result, False
        loss = self._mean_over_batches(validation) if self.recipe.as_paper else self._loss(validation)
        self._check_finite("validation loss", loss, result.steps)
        result.eval_seconds += time.perf_counter() - started
        evaluated = Evaluated(
            step=result.steps,
            epoch=result.steps / self.steps_per_epoch,
            train_loss=sum(self.losses) / len(self.losses),
            eval_loss=loss,
            learning_rate=self.learning_rate,
            seconds=time.perf_counter() - self.started,
        )
        result.evaluations.append(evaluated)
        self.losses.clear()
        if loss < result.best_eval_loss:
            result.best_eval_loss, result.best_step = loss, result.steps
            self.best_weights = [parameter.detach().to("cpu", copy=True) for parameter in self.trainable]
            # A weight that the validation split does not reach (a token's embedding) shows in no loss.
            worst = next((each for each in self.best_weights if not torch.isfinite(each).all()), None)
            self._check_finite("sum of a trained weight", 0.0 if worst is None else worst.sum().item(), result.steps)
        return evaluated

    def finish(self) -> None:
        """Give free what only training needs, and look at what it has changed."""
        result = self.result
        result.graphed |= self.passes.graphed > 0
        self.optimizer.zero_grad()
        self.passes.close()
        result.trained_tensors = len(self.trainable)
        now = fingerprints(self.trainable)
        result.unchanged_tensors = sum(before == after for before, after in zip(self.at_first, now, strict=True))

    def measure(self, test: Sequence[Prompt]) -> None:
        """Measure the loss on `test` of the last weights and of the best; the model is left with the best."""
        result = self.result
        result.test_loss_last = self._test_loss(test)
        if result.best_step != result.steps:
            self.take_best()
            result.test_loss = self._test_loss(test)
        else:
            result.test_loss = result.test_loss_last

    def _test_loss(self, test: Sequence[Prompt]) -> float | None:
        """The mean loss of the present weights over all answer tokens; None without examples."""
        losses = example_losses(self.model, self.recipe.pad_token_id, test, self.recipe.eval_batch_size)
        self.result.test_losses = losses
        if not losses:
            return None
        mean = sum(loss for loss, _ in losses) / sum(tokens for _, tokens in losses)
        self._check_finite("test loss", mean, self.result.steps)
        return mean

    def _loss(self, prompts: Sequence[Prompt]) -> float:
        return evaluate(self.model, self.recipe.pad_token_id, prompts, self.recipe.eval_batch_size)

    def _check_finite(self, what: str, value: float, step: int) -> None:
        """Raise FloatingPointError for a value that is not finite: what follows from it would be no result."""
        if not math.isfinite(value):
            raise FloatingPointError(f"the {what} must be finite but is {value} at step {step} of {self.total_steps}; "
                                     f"{self._remedy}")  # fmt: skip

    @property
    def _remedy(self) -> str:
        remedy = f"lower learning_rate (it is {self.recipe.method.learning_rate})"
        if self.scaler.is_enabled():
            remedy += "; this GPU computes in float16, whose range is too small for some models"
        return remedy

    def _mean_over_batches(self, prompts: Sequence[Prompt]) -> float:
        """The loss as `transformers.Trainer.evaluate` has it: of batches as large as in training, in the order of the
        split, each batch's mean over its answer tokens, weighted by its number of examples.
        """
        recipe, total = self.recipe, 0.0
        for batch in parts(prompts, recipe.method.per_device_train_batch_size):
            total += len(batch) * evaluate(self.model, recipe.pad_token_id, batch, recipe.eval_batch_size)
        return total / len(prompts)

    @torch.no_grad()
    def take_best(self) -> None:
        """Put the weights of the best evaluation back into the model."""
        for parameter, best in zip(self.trainable, self.best_weights, strict=bool(self.best_weights)):
            parameter.copy_(best)
