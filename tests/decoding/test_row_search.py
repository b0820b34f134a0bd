"""Greedy search and sampling without the rows that have ended, against the same with all of them."""

import pytest
import torch

from raypeft.data import DATASETS
from raypeft.decoding import steps
from raypeft.decoding.decoders import decoder_for
from raypeft.decoding.generation import Search
from raypeft.decoding.row_search import remaining
from raypeft.models.loading import load_base
from raypeft.prompting.encoding import Encoder

PROMPTS = 5
SHARED, CACHED, PLAIN = "shared", "cached", "plain"


def decoded(base, **settings):
    """The decoder of a few prompts of different lengths after its search, and its candidates."""
    encoder = Encoder(base.tokenizer, base.is_encoder_decoder)
    prompts = [encoder.encode(example, []) for example in DATASETS["toy"].load(None, None)["test"][:PROMPTS]]
    # A token in twelve ends an answer, so that answers end at all times.
    ends = (base.tokenizer.eos_token_id, *range(0, len(base.tokenizer), 12))
    search = Search(max_new_tokens=24, end_ids=ends, temperature=1.5, **settings)
    decoder = decoder_for(base.model, base.tokenizer, search, prompts)
    return decoder, decoder.decode(prompts)


@pytest.mark.parametrize(
    ("kind", "path", "samples"),
    [("llama", SHARED, 1), ("llama", SHARED, 4), ("llama", CACHED, 4), ("llama", PLAIN, 4), ("window", SHARED, 4),
     ("window", PLAIN, 1), ("window", PLAIN, 4), ("codegen", CACHED, 1), ("codegen", CACHED, 4), ("t5", PLAIN, 4)],
)  # fmt: skip
def test_leaving_out_rows_that_have_ended_changes_no_candidate(
    small_model, window, computed, monkeypatch, kind, path, samples
):
    base = load_base(window if kind == "window" else small_model(kind))
    settings = {"path": path, "do_sample": samples > 1, "num_return_sequences": samples}
    monkeypatch.setattr(steps, "MOST_KEPT", 0)
    with computed(base.model) as all_rows:
        _, expected = decoded(base, **settings)
    monkeypatch.setattr(steps, "MOST_KEPT", 1)
    with computed(base.model) as rows:
        _, found = decoded(base, **settings)
    assert [[(each.text, each.stop_reason, each.token_count) for each in row] for row in found] == [
        [(each.text, each.stop_reason, each.token_count) for each in row] for row in expected
    ]
    for one, other in zip(found, expected, strict=True):
        assert [each.log_probability for each in one] == pytest.approx(
            [each.log_probability for each in other], abs=1e-3
        )
    assert len(rows) == len(all_rows)
    assert sum(rows) < 0.8 * sum(all_rows)


def test_rows_are_left_out_by_example_and_each_example_keeps_as_many_as_the_one_with_most():
    ended = [True, True, True, False, True, False, False, True, True]
    assert remaining(ended, 3) == ([3, 5, 6, 7], 2)
    assert remaining([False, False], 1) == ([0, 1], 1)
    assert remaining([True] * 6, 2)[0] == []


def test_a_sample_that_ends_has_no_score_of_what_would_have_followed(small_model):
    decoder, found = decoded(load_base(small_model("llama")), do_sample=True, num_return_sequences=4)
    lengths = [each.token_count for row in found for each in row]
    assert [len(tokens) for tokens in decoder.listener.found] == lengths
    assert {len(tokens) for row, tokens in decoder.listener.sums if row == 0} == set(range(1, lengths[0] + 1))


def test_what_was_found_is_fetched_once_and_not_token_by_token(small_model, monkeypatch):
    decoder, _ = decoded(load_base(small_model("llama")), do_sample=True, num_return_sequences=4)
    fetched = []
    for name in ("item", "tolist", "__float__", "__int__"):
        own = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, own=own, name=name: fetched.append(name) or own(self))
    del decoder.listener._fetched
    for row, tokens in enumerate(decoder.listener.found):
        decoder.listener.sum_of(row, tokens)
    assert fetched == ["tolist"]
