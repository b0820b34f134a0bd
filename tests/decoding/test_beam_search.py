"""Beam search without the examples that have ended, against `generate` of Transformers for each example alone."""

from dataclasses import replace

import pytest
import torch

from raypeft.data import DATASETS
from raypeft.decoding import beam_search, steps
from raypeft.decoding.decoders import decoder_for
from raypeft.decoding.generation import generate
from raypeft.decoding.opening import Opening
from raypeft.decoding.search import Search
from raypeft.methods import METHODS
from raypeft.models.loading import load_base
from raypeft.prompting.encoding import Encoder

PROMPTS = 6
SEARCH = Search(max_new_tokens=24, num_beams=4, num_return_sequences=4, batch_size=PROMPTS)


def prompts_of(base):
    encoder = Encoder(base.tokenizer, base.is_encoder_decoder)
    return [encoder.encode(example, []) for example in DATASETS["toy"].load(None, None)["test"][:PROMPTS]]


def often(base):
    """So many tokens that end an answer that the examples end at different times; a random T5 repeats most tokens."""
    ids = range(len(base.tokenizer))
    return tuple(each for each in ids if (each % 7 if base.is_encoder_decoder else each % 2 == 0))


def texts(found):
    return [[(each.text, each.stop_reason, each.token_count) for each in candidates] for candidates in found]


def log_probabilities(found):
    return [each.log_probability for candidates in found for each in candidates]


def decoded(base, search):
    """The decoder after it has decoded one batch."""
    prompts = prompts_of(base)
    decoder = decoder_for(base.model, base.tokenizer, search, prompts)
    decoder.decode(prompts)
    return decoder


@pytest.mark.parametrize("most_kept", [0, 1], ids=["all stay", "left out"])
@pytest.mark.parametrize(
    ("kind", "path"),
    [("llama", "shared"), ("llama", "cached"), ("llama", "plain"), ("llama", "graphed"), ("window", "shared"),
     ("window", "plain"), ("codegen", "shared"), ("codegen", "cached"), ("t5", "plain")],
)  # fmt: skip
def test_candidates_are_those_of_generate_for_each_example_alone(
    small_model, window, monkeypatch, kind, path, most_kept
):
    monkeypatch.setattr(steps, "MOST_KEPT", most_kept)
    base = load_base(window if kind == "window" else small_model(kind))
    for search in (replace(SEARCH, end_ids=often(base)), replace(SEARCH, stop=("e", "\n"), opening=Opening())):
        found, expected = (
            generate(base.model, base.tokenizer, prompts_of(base), replace(search, path=one, batch_size=size))
            for one, size in ((path, PROMPTS), ("alone", 1))
        )
        assert texts(found) == texts(expected)
        assert log_probabilities(found) == pytest.approx(log_probabilities(expected), abs=1e-3)


@pytest.mark.parametrize(("kind", "method"), [("llama", "prefix_tuning"), ("llama", "prompt_tuning"), ("t5", "lora"),
                                              ("t5", "prompt_tuning")])  # fmt: skip
def test_a_tuned_model_leaves_out_examples_as_well(small_model, kind, method):
    base = load_base(small_model(kind))
    search = replace(SEARCH, end_ids=often(base))
    with METHODS[method]().applied(base) as model:
        path = "plain" if kind == "t5" else "shared"
        found, expected = (
            generate(model, base.tokenizer, prompts_of(base), replace(search, path=one, batch_size=size))
            for one, size in ((path, PROMPTS), ("alone", 1))
        )
    assert texts(found) == texts(expected)
    assert log_probabilities(found) == pytest.approx(log_probabilities(expected), abs=1e-3)


@pytest.mark.parametrize(("kind", "path"), [("llama", "shared"), ("codegen", "shared"), ("t5", "plain")])
def test_examples_that_have_ended_are_not_computed(small_model, computed, monkeypatch, kind, path):
    base = load_base(small_model(kind))
    search = replace(SEARCH, end_ids=often(base), path=path)
    with computed(base.model) as rows:
        decoder = decoded(base, search)
    monkeypatch.setattr(steps, "MOST_KEPT", 0)
    with computed(base.model) as all_rows:
        decoded(base, search)
    assert len(rows) == len(all_rows)
    assert sum(rows) < 0.8 * sum(all_rows)
    assert len({len(examples) for examples, _, _ in decoder.listener.steps}) > 1


def test_the_log_probability_of_an_example_that_was_left_out_is_still_known(small_model):
    base = load_base(small_model("llama"))
    decoder = decoded(base, replace(SEARCH, end_ids=often(base), path="shared"))
    assert decoder.listener.steps[-1][0].tolist() != list(range(PROMPTS))
    for row, tokens in enumerate(decoder.listener.found):
        example = row // SEARCH.num_return_sequences
        assert decoder.listener.sum_of(example, tokens) == decoder.listener.sums[example, tuple(tokens)]


def test_a_tuned_length_penalty_or_early_stopping_would_be_heeded(small_model):
    """The search reads them of `generate`, as Transformers' own does."""
    base = load_base(small_model("llama"))
    prompt = torch.tensor([prompts_of(base)[0].prompt_ids])
    for settings in ({"early_stopping": True}, {"length_penalty": 2.0}, {"early_stopping": "never"}):
        every = {"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 24, "do_sample": False, **settings,
                 "eos_token_id": [*often(base)], "pad_token_id": base.tokenizer.pad_token_id}  # fmt: skip
        search = beam_search.BeamSearch()
        base.model.generate(prompt, custom_generate=search, **every)
        expected = base.model.generate(prompt, **every)[:, prompt.shape[1] :].tolist()
        assert [tokens == one[: len(tokens)] for tokens, one in zip(search.found, expected, strict=True)] == [True] * 4
