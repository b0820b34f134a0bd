"""Scores on the validation split, by which settings can be chosen without looking at the test split.

measured |= validation_scores(context, model, base, splits)

Untrained methods have no validation loss: without such scores, the number of shots could be chosen on the test alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from raypeft.metrics.metric import Answers
from raypeft.metrics.scoring import row_scores, score_columns
from raypeft.prompting.shots import pick_shots
from raypeft.records import Splits
from raypeft.trial.answer import ask, candidate_rows, found_for, with_room_for_answers
from raypeft.trial.context import TrialContext
from raypeft.trial.examples import sample

if TYPE_CHECKING:
    from raypeft.models.loading import Base

ENDING = "_validation"
"""The end of the names of the columns."""


def validation_scores(context: TrialContext, model: Any, base: Base, splits: Splits) -> dict[str, Any]:
    """The scores of the first candidates for `validation_limit` examples, by column. Nothing is stored but these.

    The examples are a sample with a fixed seed, the same in every trial. Prompts, shots and decoding are those of the
    test split; with a `test_dataset`, prompts, stop strings and lengths are those of the dataset that is trained on, of
    a mix those of the part that is tested.
    """
    trial, data, asked = context.trial, context.trial.data, splits
    if trial.test_dataset:
        context = replace(context, validates=True)
        name = context.dataset.name
        asked = {split: [each for each in splits[split] if data.of(each)[0].name == name]
                 for split in ("train", "validation")}  # fmt: skip
        context = with_room_for_answers(context, base, asked)
    examples = sample([each for each in asked["validation"] if each.code.strip()], trial.validation_limit)
    shots = pick_shots(trial.method, splits["train"], examples, context.services)
    queries = ask(context, model, base, examples, shots)
    found = found_for(context, model, base, queries)
    scores = row_scores(Answers.from_rows([*candidate_rows(trial.id, queries, found)]), context.dataset.judged_by)
    known = {column.name for column in score_columns()}
    return {f"{name}{ENDING}": value for name, value in scores.items() if f"{name}{ENDING}" in known}
