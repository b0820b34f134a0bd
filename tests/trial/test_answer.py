"""Where a trial's answers begin and end."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from chat_templates import chat_tokenizer
from tokenizers import normalizers
from transformers import AutoTokenizer

from raypeft.data import DATASETS
from raypeft.data.declared.declaration import DeclaredData
from raypeft.decoding.opening import Opening
from raypeft.models.table import TOY_FOLDER
from raypeft.prompting.encoding import Encoder
from raypeft.prompting.forms import NAMED
from raypeft.records import Candidate, Example, Form, Prompt
from raypeft.study.trials import make_trial
from raypeft.trial.answer import candidate_columns, lost_references, with_room_for_answers
from raypeft.trial.context import TrialContext
from raypeft.trial.searching import learnt_fences, search, stop_strings

BASE = SimpleNamespace(tokenizer=chat_tokenizer(), is_encoder_decoder=False, stored_end_ids=(2,))


@pytest.mark.parametrize(
    ("fields", "form", "stop"),
    [
        ({"tuning_method": "zero_shot", "dataset": "conala"}, Form(), ("\n",)),
        ({"tuning_method": "lora", "dataset": "conala"}, Form(), ()),
        ({"tuning_method": "lora", "dataset": "conala", "fidelity": "paper"}, Form(), ("<|endoftext|>", "</s>", "\n")),
        ({"tuning_method": "icl", "dataset": "conala"}, NAMED["chat"], ("\n", "```")),
        ({"tuning_method": "lora", "dataset": "conala"}, NAMED["chat"], ()),
        ({"tuning_method": "icl", "dataset": "conala"}, NAMED["fenced"], ("```",)),
        ({"tuning_method": "lora", "dataset": "apps"}, DATASETS["apps"].forms.corrected, ("```",)),
    ],
)
def test_an_answer_ends_at_the_forms_strings_or_else_at_the_datasets(fields, form, stop):
    trial = make_trial({"model": "toy", **fields})
    assert stop_strings(trial, trial.test_data, form) == stop


def query(answer_tokens):
    example = Example(id="0", nl="add", code="x")
    return Prompt(example, prompt_ids=[1, 2], answer_ids=[3] * answer_tokens)


def candidate(text, stop_reason="eos"):
    return Candidate("0", rank=0, text=text, token_count=1, stop_reason=stop_reason)


def test_a_row_says_how_candidates_differ_and_how_many_were_cut():
    found = candidate_columns(
        [query(2), query(2)],
        [[candidate("a"), candidate("b", "length")], [candidate("a"), candidate("a", "stop")]],
        max_new_tokens=4,
    )
    assert found == {
        "max_new_tokens_used": 4,
        "distinct_candidates": 1.5,
        "candidates_cut": 0.25,
        "references_too_long": 0,
    }


def test_references_that_no_answer_has_room_for_are_counted():
    found = candidate_columns([query(4), query(5), query(6)], [[candidate("a")]] * 3, max_new_tokens=4)
    assert found["references_too_long"] == 2


@pytest.mark.parametrize(
    ("fields", "top_k"),
    [({"fidelity": "paper"}, 50), ({"fidelity": "paper", "do_sample": False}, None), ({}, None)],
)
def test_samples_of_the_papers_code_come_from_the_50_likeliest_tokens(fields, top_k):
    trial = make_trial({"model": "toy", "dataset": "apps", "tuning_method": "lora", **fields})
    assert search(TrialContext(trial, "s", store=None), BASE).top_k == top_k


@pytest.mark.parametrize(
    ("fields", "older", "end_ids"),
    [
        ({"tuning_method": "lora", "fidelity": "paper"}, "4.34", (2,)),
        ({"tuning_method": "icl", "fidelity": "paper"}, "4.44", (2,)),
        ({"tuning_method": "lora", "fidelity": "paper", "do_sample": True, "num_beams": 1}, None, (2,)),
        ({"tuning_method": "lora"}, None, None),
    ],
)
def test_under_paper_beams_are_those_of_its_transformers_and_end_as_the_checkpoint_says(fields, older, end_ids):
    found = search(TrialContext(make_trial({"model": "toy", "dataset": "conala", **fields}), "s", store=None), BASE)
    assert (found.older, found.end_ids) == (older, end_ids)


@pytest.mark.parametrize(
    ("fields", "opening"),
    [
        ({}, Opening()),
        ({"prompt_form": "fenced"}, Opening(in_fence=True)),
        ({"prompt_form": "chat"}, Opening(" \t\n")),
        ({"prompt_template": "# {nl}\n```python\n"}, Opening(in_fence=True)),
        ({"dataset": "apps"}, Opening(in_fence=True)),
        ({"fidelity": "paper"}, None),
        ({"fidelity": "paper", "dataset": "apps"}, None),
    ],
)
@pytest.mark.parametrize("tuning_method", ["zero_shot", "lora"])
def test_what_opens_an_answer_is_left_out_but_not_in_the_papers_reading(tuning_method, fields, opening):
    trial = make_trial({"model": "owner/name", "dataset": "conala", "tuning_method": tuning_method, **fields})
    found = search(TrialContext(trial, "s", store=None), BASE)
    assert found.opening == opening


FENCED = Example("0", "reverse a list `x`", "```python\nx[::-1]\n```\nThe slice has a step of -1.")


def asked(dataset="codealpacapy", **fields):
    """A trial whose training examples are `FENCED` alone."""
    trial = make_trial({"model": "toy", "dataset": dataset, **fields})
    return TrialContext(trial, "s", store=None, learns_fences=learnt_fences(trial, {"train": [FENCED]}))


def test_the_fences_of_references_are_part_of_a_trained_models_answers():
    ends = search(asked(tuning_method="lora"), BASE).ends(BASE.tokenizer)
    answer_ids = Encoder(BASE.tokenizer).encode(FENCED).answer_ids
    assert ends.cut(answer_ids)[1:] == (FENCED.code, "eos")


def test_a_trained_model_whose_references_have_no_fences_has_its_fences_left_out():
    context = replace(asked(tuning_method="lora"), learns_fences=False)
    ends = search(context, BASE).ends(BASE.tokenizer)
    assert ends.cut(Encoder(BASE.tokenizer).encode(FENCED).answer_ids)[1] == "x[::-1]\n"


def test_fences_are_learnt_where_most_answers_have_them():
    trial, bare = make_trial({"model": "toy", "dataset": "conala", "tuning_method": "lora"}), Example("1", "add", "x")
    assert learnt_fences(trial, {"train": [FENCED, FENCED, bare]})
    assert not learnt_fences(trial, {"train": [FENCED, bare]})


def test_references_that_are_cut_as_answers_are_count_among_the_lost():
    lines = Example("1", "add", "x = 1\nx + 1")
    for fields, lost in [
        ({"tuning_method": "zero_shot"}, 1),
        ({"tuning_method": "lora"}, 0),
        ({"tuning_method": "zero_shot", "dataset": "conala"}, 2),
    ]:
        assert lost_references(asked(**fields), BASE, [FENCED, lines]) == {"references_lost": lost}


def test_a_solution_that_the_tokenizer_loses_counts_whether_answers_are_compared_or_tested():
    tokenizer = AutoTokenizer.from_pretrained(TOY_FOLDER)
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("{", "")  # T5's has no braces
    examples = [Example("0", "add", "x", tests="{}"), Example("1", "add", "{x}", tests="{}"), Example("2", "add", "")]
    base = SimpleNamespace(**vars(BASE) | {"tokenizer": tokenizer})
    assert lost_references(asked(tuning_method="lora"), base, examples) == {"references_lost": 1}
    assert lost_references(asked(tuning_method="lora"), base, examples[2:]) == {}


def test_a_derived_length_leaves_room_for_the_prompts_and_the_virtual_tokens_of_most_examples():
    data = DeclaredData(path="x.jsonl", prompt="q", answer="a")
    codes = ["x", "x + 1", "x " * 500, "x " * 4000]
    splits = {"train": [Example(str(n), "add", code) for n, code in enumerate(codes)],
              "validation": [], "test": [Example("4", "add to it " * 60, "x")]}  # fmt: skip

    def length(context_length, **fields):
        trial = make_trial({"model": "toy", "dataset": "mine", **fields}, {"mine": data})
        base = SimpleNamespace(**vars(BASE), context_length=context_length, encoded={})
        return with_room_for_answers(TrialContext(trial, "s", store=None), base, splits).max_new_tokens

    long, fitting = (length(context, tuning_method="zero_shot") for context in (None, 3000))
    assert fitting < long / 4
    virtual = {"tuning_method": "prompt_tuning", "num_virtual_tokens": 2900}
    assert length(3000, **virtual) < fitting / 4
