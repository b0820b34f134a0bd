"""How a trial asks: the form of its prompts, and the encoder that makes token ids of them.

check_form(trial, base)                    # before training: a form that the model cannot have is refused
trial_encoder(context, base).encode(example, shots)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raypeft.data.revision import splits_revision
from raypeft.methods import METHODS
from raypeft.models.loading import Base
from raypeft.models.table import chat_problem
from raypeft.prompting.encoding import Encoder
from raypeft.prompting.forms import form_of
from raypeft.prompting.templates import chosen_form, read_template
from raypeft.records import Dataset, Example, Form, Prompt
from raypeft.study.config import Trial
from raypeft.trial.context import TrialContext

KEPT = 8
"""Lists of examples that are kept as token ids: the splits of a dataset, and of a mix of two."""


def trial_form(trial: Trial, dataset: Dataset, is_encoder_decoder: bool, training: bool = False) -> Form:
    """The form of a trial's prompts: the one that it names, or else its dataset's under its fidelity."""
    chosen = chosen_form(trial.prompt_form, trial.prompt_template)
    return chosen or form_of(trial.fidelity, trial.method.trains, is_encoder_decoder, training, dataset.forms)


def row_form(row: Mapping[str, Any], dataset: Dataset) -> Form:
    """The form of the prompts that a stored trial answered, from its fields. Rows of older versions lack some."""
    chosen = chosen_form(row.get("prompt_form"), read_template(row.get("prompt_template")))
    trains = METHODS[row["tuning_method"]].trains
    return chosen or form_of(row["fidelity"], trains, is_encoder_decoder=False, own=dataset.forms)


def trial_encoder(context: TrialContext, base: Base, trained_on: Dataset | None = None) -> Encoder:
    """The encoder of the prompts that a trial answers, or of those that it is trained on, of one dataset."""
    form = trial_form(context.trial, trained_on or context.dataset, base.is_encoder_decoder, trained_on is not None)
    return Encoder(base.tokenizer, base.is_encoder_decoder, form, apart=context.trial.fidelity == "paper")


def encoded_once(base: Base, encoder: Encoder, examples: Sequence[Example], most: int | None) -> list[Prompt]:
    """`encoder.encode_answers(examples, most)`, of which nothing is encoded twice while a process holds a base.

    The trials of a sweep train on the same examples. Those of CoNaLa take 1 to 3 s with SmolLM2's tokenizer.
    """
    key = encoder.form, encoder.apart, most, splits_revision({"": list(examples)})
    if key not in base.encoded:
        while len(base.encoded) >= KEPT:
            del base.encoded[next(iter(base.encoded))]
        base.encoded[key] = encoder.encode_answers(examples, most)
    return list(base.encoded[key])


def check_form(trial: Trial, base: Base) -> None:
    """Raise ValueError where the loaded model cannot be asked in the trial's form. Planning knows it of some models."""
    if trial.prompt_form == "chat":
        problem = chat_problem(trial.model, base.is_encoder_decoder, bool(base.tokenizer.chat_template))
        if problem:
            raise ValueError(problem)
