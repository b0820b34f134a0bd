"""Where a trial's answers end."""

import pytest

from raypeft.data import DATASETS
from raypeft.records import Form
from raypeft.study.plan import make_trial
from raypeft.trial.answer import stop_strings
from raypeft.trial.context import TrialContext


@pytest.mark.parametrize(
    ("fields", "form", "stop"),
    [
        ({"tuning_method": "zero_shot", "dataset": "conala"}, Form(), ("\n",)),
        ({"tuning_method": "lora", "dataset": "conala"}, Form(), ()),
        ({"tuning_method": "lora", "dataset": "conala", "fidelity": "paper"}, Form(), ("<|endoftext|>", "</s>", "\n")),
        ({"tuning_method": "lora", "dataset": "apps"}, DATASETS["apps"].forms.corrected, ("```",)),
    ],
)
def test_an_answer_ends_at_the_forms_strings_or_else_at_the_datasets(fields, form, stop):
    assert stop_strings(TrialContext(make_trial({"model": "toy", **fields}), "s", store=None), form) == stop
