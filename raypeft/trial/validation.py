"""Scores on the validation split, by which settings can be chosen without looking at the test split.

validation = ask_validation(context, model, base, splits)         # before training
measured |= validation_scores(validation, model, base)            # after it

Untrained methods have no validation loss: without such scores, the number of shots could be chosen on the test alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from raypeft.metrics.metric import Answers
from raypeft.metrics.scoring import row_scores, score_columns
from raypeft.prompting.shots import pick_shots
from raypeft.records import Prompt, Splits
from raypeft.trial.answer import ask, candidate_rows, found_for, with_room_for_answers
from raypeft.trial.context import TrialContext
from raypeft.trial.examples import of_dataset, sample

if TYPE_CHECKING:
    from raypeft.models.loading import Base

ENDING = "_validation"
"""The end of the names of the columns."""


@dataclass(frozen=True, slots=True)
class Validation:
    """What is asked of the validation split."""

    context: TrialContext
    """The trial's, with the lengths of the answers that are asked for here."""
    queries: list[Prompt] = field(default_factory=list)
    """Empty: nothing is asked."""


def ask_validation(context: TrialContext, model: Any, base: Base, splits: Splits) -> Validation:
    """The prompts of `validation_limit` examples, before anything is trained: a prompt that cannot be is told at once.

    The examples are a sample with a fixed seed, the same in every trial. Prompts, shots and decoding are those of the
    test split; with a `test_dataset`, prompts, stop strings and lengths are those of the dataset that is trained on, of
    a mix those of the part that is tested.
    """
    trial = context.trial
    if not trial.validation_limit:
        return Validation(context)
    if trial.test_dataset:
        context = with_room_for_answers(replace(context, validates=True), base, splits)
    every = of_dataset(splits, trial, context.dataset.name)["validation"]
    examples = sample([each for each in every if each.code.strip()], trial.validation_limit)
    if not examples:
        raise ValueError(f"{context.dataset.name} must have validation examples with an answer for validation_limit "
                         f"but has none ({len(every)} without an answer); leave it out, or raise limit")  # fmt: skip
    shots = pick_shots(trial.method, splits["train"], examples, context.services)
    return Validation(context, ask(context, model, base, examples, shots))


def validation_scores(validation: Validation, model: Any, base: Base) -> dict[str, Any]:
    """The scores of the first candidates for the prompts, by column. Nothing is stored but these."""
    context, queries = validation.context, validation.queries
    found = found_for(context, model, base, queries)
    rows = [*candidate_rows(context.trial.id, queries, found)]
    scores = row_scores(Answers.from_rows(rows), context.dataset.judged_by)
    known = {column.name for column in score_columns()}
    return {f"{name}{ENDING}": value for name, value in scores.items() if f"{name}{ENDING}" in known}
