"""What training puts into the results: the row's columns, and the table of its evaluations. No torch here."""

from collections.abc import Mapping
from typing import Any

from raypeft.metrics.metric import Score
from raypeft.records import Column

NATS = "nats per answer token"
SCORES = (
    Score("best_eval_loss", "validation loss", "Lowest validation loss", NATS, higher_is_better=False, width=None),
    Score("test_loss", "test loss", "Test loss at best_step", NATS, higher_is_better=False, width=None),
)
"""The losses that comparisons use. Tables have them beside the cost."""
COLUMNS = (
    *SCORES[0].columns,
    Column("best_step", int, "Optimiser step of the lowest validation loss", "steps"),
    *SCORES[1].columns,
    Column("test_loss_last", float, "Test loss at the last step", "nats per answer token"),
    Column("first_eval_step", int, "Optimiser step of the first evaluation", "steps"),
    Column("last_eval_loss", float, "Validation loss at the last evaluation", NATS),
    Column("trained_tensors", int, "Number of trained tensors", "tensors"),
    Column("unchanged_tensors", int, "Trained tensors that training left exactly as they were", "tensors"),
    Column("steps", int, "Number of optimiser steps", "steps"),
    Column(
        "resumed_from_step",
        int,
        "Optimiser step of the checkpoint from which training went on. null: it ran in one piece",
        "steps",
    ),
    Column(
        "trained_by",
        str,
        "Id of the trial whose training this one took over, with its steps, evaluations, times and peak memory of the "
        "train stage: the two differ only in what is asked afterwards. null: it trained itself",
    ),
    Column("eval_seconds", float, "Time of the evaluations on the validation split", "seconds"),
    Column("train_tokens_per_second", float, "Training speed, without padding tokens", "tokens per second"),
    Column(
        "gradient_checkpointing_used",
        bool,
        "Whether gradient checkpointing was on, be it only from the step on at which GPU memory ran out",
    ),
    Column("packed", bool, "Whether the examples of a batch stood in rows without padding between them"),
    Column("graphed", bool, "Whether forward and backward passes ran as CUDA graphs"),
    Column(
        "micro_batch_size",
        int,
        "Number of examples in one forward and backward pass at the last step: halved where GPU memory ran out",
        "examples",
    ),
)
EVALUATIONS = (
    Column("id", str, "Id of the trial"),
    Column("step", int, "Optimiser step of the evaluation", "steps"),
    Column("epoch", float, "Number of passes over the training split so far", "epochs"),
    Column("train_loss", float, "Mean training loss since the last evaluation", "nats per answer token"),
    Column("eval_loss", float, "Validation loss", "nats per answer token"),
    Column("learning_rate", float, "Learning rate at this step"),
    Column("seconds", float, "Time since the start of training, including evaluations", "seconds"),
)
"""The table `evals`: the fields of `raypeft.events.Evaluated`."""


def seconds_taken_over(row: Mapping[str, Any]) -> float:
    """How much of a trial's `total_seconds` is the training of another one that it took over."""
    return float(row["train_seconds"] + row["eval_seconds"]) if row.get("trained_by") else 0.0
