"""The stages of a trial, in order: what people read of them, and the column that says how long each took."""

from __future__ import annotations

from dataclasses import dataclass

from raypeft.records import Column


@dataclass(frozen=True, slots=True)
class TrialStage:
    """One stage. A new one is an entry in `STAGES`, and a `with context.stage(NAME)` in `raypeft.trial.run`."""

    name: str
    words: str
    """What the trial does, for people."""
    seconds: str
    """Description of the column with its time."""
    counts: str = "example"
    """What its progress counts."""


STAGES = {
    each.name: each
    for each in (
        TrialStage(
            "load",
            "loading",
            "Time to load the base model and the data. Near 0 if an earlier trial had loaded them",
        ),
        TrialStage(
            "retrieve",
            "selecting shots",
            "Time to retrieve shots, including embeddings. null for random shots",
        ),
        TrialStage(
            "check",
            "checking the decoder",
            "Time to check that the model is decoded rightly. Near 0 if an earlier trial had checked it",
        ),
        TrialStage("train", "training", "Training time without evaluations", "step"),
        TrialStage("generate", "generating", "Time to decode the test split"),
        TrialStage(
            "validate",
            "generating for the validation split",
            "Time to decode and score the validation split (validation_limit)",
        ),
        TrialStage(
            "test",
            "waiting for tests",
            "Time spent waiting for tests after decoding. Tests start while decoding still runs",
            "program",
        ),
        TrialStage("score", "scoring", "Time to compute the scores"),
    )
}

COLUMNS = tuple(Column(f"{each.name}_seconds", float, each.seconds, "seconds") for each in STAGES.values())
