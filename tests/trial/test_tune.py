"""What a trial trains on."""

from random import Random
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from raypeft.data import DATASETS
from raypeft.methods import Full
from raypeft.models.table import TOY_FOLDER
from raypeft.prompting.encoding import Encoder
from raypeft.records import Example
from raypeft.study.trials import make_trial
from raypeft.trial.context import TrialContext
from raypeft.trial.tune import narrow, training_prompts

TOKENIZER = AutoTokenizer.from_pretrained(TOY_FOLDER)
BASE = SimpleNamespace(tokenizer=TOKENIZER, is_encoder_decoder=False, context_length=None, encoded={})
SHORT, LONG = "x = 1", "\n".join(f"x{number} = {number}" for number in range(50))


def trial(dataset="apps", **fields):
    return make_trial({"model": "toy", "dataset": dataset, "tuning_method": "lora", **fields})


def problem(number, *codes, **fields):
    return Example(str(number), "a question", codes[0] if codes else "", tuple(codes[1:]), **fields)


def trained_on(trial, examples, base=BASE, virtual_tokens=0):
    splits = {"train": examples, "validation": [problem("v", SHORT)], "test": []}
    encoded, left_out = training_prompts(TrialContext(trial, "s", store=None), base, splits, virtual_tokens)
    return [TOKENIZER.decode(each.answer_ids) for each in encoded["train"]], left_out


def test_training_takes_the_first_answer_that_fits_and_counts_the_examples_without():
    answers, left_out = trained_on(
        trial(max_length=60), [problem(1, LONG, "y = 2", SHORT), problem(2, LONG), problem(3, SHORT)]
    )
    assert answers == ["y = 2\n```<|end|>", "x = 1\n```<|end|>"]
    assert left_out == {"train_too_long": 1, "train_examples": 2, "validation_too_long": 0, "validation_examples": 1}


def test_the_dataset_bounds_a_training_text_unless_the_sweep_does():
    huge = "\n".join([LONG] * 10)
    assert trained_on(trial(), [problem(1, huge), problem(2, SHORT)])[1]["train_too_long"] == 1
    assert trained_on(trial(max_length=9_000), [problem(1, huge), problem(2, SHORT)])[1]["train_too_long"] == 0


@pytest.mark.parametrize("spare", [-1, 0])
def test_a_training_text_and_its_virtual_tokens_fit_the_context(spare):
    form = DATASETS["apps"].forms.corrected
    length = len(Encoder(TOKENIZER, False, form).encode(problem(1, LONG)))
    base = SimpleNamespace(**vars(BASE) | {"encoded": {}, "context_length": length + 20 + spare})
    _, left_out = trained_on(trial(), [problem(1, LONG), problem(2, SHORT)], base, virtual_tokens=20)
    assert left_out["train_too_long"] == (spare < 0)


def test_the_papers_training_draws_one_answer_and_leaves_the_example_out_where_it_is_too_long():
    examples = [problem(number, SHORT, LONG) for number in range(40)]
    answers, left_out = trained_on(trial(fidelity="paper", max_length=60), examples)
    drawn = Random(42)
    expected = sum(drawn.choice([SHORT, LONG]) == SHORT for _ in examples)
    assert len(answers) == expected == 40 - left_out["train_too_long"]
    assert 5 < expected < 35
    assert set(answers) == {"\nx = 1\n```"}


def test_a_bound_that_leaves_nothing_to_train_on_is_refused():
    with pytest.raises(ValueError, match=r"train must have examples of at most 10 tokens.*all 1 are longer; raise max"):
        trained_on(trial(max_length=10), [problem(1, LONG)])


def test_without_a_bound_an_example_that_exceeds_the_context_is_left_out_and_counted():
    base = SimpleNamespace(**vars(BASE) | {"encoded": {}, "context_length": 64})
    answers, left_out = trained_on(trial("conala"), [problem(1, LONG), problem(2, SHORT)], base)
    assert answers == ["x = 1<|end|>"]
    assert (left_out["train_too_long"], left_out["train_examples"]) == (1, 1)


def test_an_encoder_decoders_prompt_and_answer_each_have_the_context_to_themselves():
    length = len(Encoder(TOKENIZER, True).encode(problem(1, LONG)).answer_ids)
    base = SimpleNamespace(**vars(BASE) | {"encoded": {}, "is_encoder_decoder": True, "context_length": length})
    assert trained_on(trial("conala"), [problem(1, LONG)], base)[1]["train_too_long"] == 0
    base.context_length = length - 1
    assert trained_on(trial("conala"), [problem(1, LONG), problem(2, SHORT)], base)[1]["train_too_long"] == 1


@pytest.mark.parametrize(
    ("fidelity", "virtual", "is_encoder_decoder"),
    [("paper", 10, False), ("paper", 0, False), ("paper", 10, True), ("corrected", 10, False)],
)
def test_under_paper_padding_stands_between_a_decoders_virtual_tokens_and_its_prompt(
    fidelity, virtual, is_encoder_decoder
):
    base = SimpleNamespace(**vars(BASE) | {"encoded": {}, "is_encoder_decoder": is_encoder_decoder})
    splits = {split: [problem(1, SHORT), problem(2, LONG)] for split in ("train", "validation", "test")}
    context = TrialContext(trial("conala", fidelity=fidelity), "s", store=None)
    encoded, _ = training_prompts(context, base, splits, virtual)
    trained_on = [*encoded["train"], *encoded["validation"]]
    if (fidelity, virtual, is_encoder_decoder) == ("paper", 10, False):
        assert {each.padding + len(each) for each in trained_on} == {128}
        assert all(each.padding for each in trained_on)
    else:
        assert not any(each.padding for each in trained_on)
    assert not any(each.padding for each in encoded["test"])


def test_narrowed_weights_answer_as_those_that_were_loaded_in_16_bits(monkeypatch):
    monkeypatch.setattr("raypeft.gpu.has_gpu", lambda: True)
    monkeypatch.setattr("raypeft.gpu.half", lambda: torch.bfloat16)
    tuned, loaded = (AutoModelForCausalLM.from_pretrained(TOY_FOLDER, dtype=dtype)
                     for dtype in (torch.float32, torch.bfloat16))  # fmt: skip
    narrow(Full(), tuned)
    assert {each.dtype for each in tuned.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        ids = torch.arange(3, 203)[None]
        assert torch.equal(tuned(ids).logits, loaded(ids).logits), "positions are rotated by the same angles"
