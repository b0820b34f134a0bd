"""What training puts into the results: the row's columns, and the table of its evaluations. No torch here."""

from raypeft.records import Column

COLUMNS = (
    Column("best_eval_loss", float, "lowest loss on the validation split", "nats per answer token"),
    Column("best_step", int, "optimiser step of the lowest validation loss", "steps"),
    Column("steps", int, "optimiser steps", "steps"),
    Column("train_seconds", float, "optimiser steps, evaluations not counted", "seconds"),
    Column("eval_seconds", float, "evaluations on the validation split", "seconds"),
    Column("train_tokens_per_second", float, "training speed, padding not counted", "tokens per second"),
    Column("gradient_checkpointing_used", bool, "whether activations were computed twice to hold fewer"),
    Column("micro_batch_size", int, "examples in one forward and backward pass", "examples"),
)
EVALUATIONS = (
    Column("id", str, "the trial's id"),
    Column("step", int, "optimiser step", "steps"),
    Column("epoch", float, "passes over the training split so far", "epochs"),
    Column("train_loss", float, "mean training loss since the evaluation before", "nats per answer token"),
    Column("eval_loss", float, "loss on the validation split", "nats per answer token"),
    Column("learning_rate", float, "learning rate of the step"),
    Column("seconds", float, "since the start of training, evaluations included", "seconds"),
)
"""The table `evals`: the fields of `raypeft.events.Evaluated`."""
