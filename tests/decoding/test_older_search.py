"""The beam search of Transformers 4: against what Transformers 4 found, and its rules one by one."""

import json
from pathlib import Path

import pytest
import torch

from raypeft.decoding.generation import Search, generate
from raypeft.decoding.older_search import Beams, Counted, OlderSearch
from raypeft.models.loading import load_base
from raypeft.records import Example, Prompt

RECORDED = json.loads((Path(__file__).parent / "older_beams.json").read_text("utf-8"))
"""Generated tokens of ten beams on the toy model, by `generate` of transformers 4.34.1 and 4.44.2 (eager attention, one
prompt at a time, at most 24 new tokens, a criterion that ends the search once every running beam has a newline)."""
SEARCH = {"num_beams": 10, "num_return_sequences": 10, "max_new_tokens": 24, "stop": ("\n",)}


@pytest.fixture(scope="module")
def base():
    return load_base("toy")


@pytest.fixture
def searches(monkeypatch):
    """The searches that `generate` makes, as it makes them."""
    made = []

    class Listening(OlderSearch):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr("raypeft.decoding.search.OlderSearch", Listening)
    return made


def prompts_of(token_ids):
    return [Prompt(Example(str(number), "a", "b"), ids, []) for number, ids in enumerate(token_ids)]


@pytest.mark.parametrize("version", ["4.34", "4.44"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_every_candidate_is_the_one_that_transformers_4_found(base, searches, version, batch_size):
    search = Search(older=version, batch_size=batch_size, **SEARCH)
    generate(base.model, base.tokenizer, prompts_of(RECORDED["prompts"]), search)
    places = sorted(range(3), key=lambda place: -len(RECORDED["prompts"][place]))  # as batches are made
    found = [beams for each in searches for beams in each.found]
    assert found == [RECORDED[version][place] for place in places]


def test_examples_that_are_over_are_not_computed(base, computed):
    with computed(base.model) as rows:
        generate(base.model, base.tokenizer, prompts_of(RECORDED["prompts"]), Search(older="4.44", **SEARCH))
    assert max(rows) == 30 and rows[-1] in (10, 20)


def test_the_two_versions_rank_differently():
    assert RECORDED["4.34"] != RECORDED["4.44"]


def test_candidates_carry_the_sum_of_their_tokens_log_probabilities(base):
    (prompt,) = prompts_of(RECORDED["prompts"][:1])
    (beams,) = generate(base.model, base.tokenizer, [prompt], Search(older="4.34", **SEARCH))
    for candidate, tokens in zip(beams, RECORDED["4.34"][0], strict=True):
        answer = tokens[: candidate.token_count]
        logits = base.model(torch.tensor([[*prompt.prompt_ids, *answer]])).logits
        steps = logits.log_softmax(-1)[0, len(prompt.prompt_ids) - 1 : -1].gather(1, torch.tensor(answer)[:, None])
        assert candidate.log_probability == pytest.approx(steps.sum().item(), abs=1e-3)


def test_4_34_divides_by_the_whole_length_and_so_prefers_the_shorter_answer():
    # -1 over 1 token is worse than -1.5 over 3, unless a prompt of 100 tokens counts as well.
    def best(counted):
        beams = Beams(2, counted)
        beams.add([5, 9], -1.0, ended=True)
        beams.add([5, 6, 7, 9], -1.5, ended=True)
        return beams.best(1)

    assert best(Counted(whole_length=100)) == [[5, 9]]
    assert best(Counted()) == [[5, 6, 7, 9]]


def test_the_end_of_sequence_counts_in_4_44_and_not_in_4_34():
    for counted, score in ((Counted(whole_length=0), -1.0), (Counted(), -0.5)):
        beams = Beams(1, counted)
        beams.add([5, 9], -1.0, ended=True)
        assert beams.finished[0][0] == score


def test_the_worst_of_too_many_beams_is_dropped_and_a_worse_one_never_enters():
    beams = Beams(2, Counted())
    for token, total in ((1, -3.0), (2, -1.0), (3, -2.0), (4, -9.0)):
        beams.add([token], total, ended=False)
    assert beams.best(2) == [[2], [3]]


def test_an_encoder_decoders_stop_strings_are_looked_for_only_beyond_the_encoders_length(small_model, searches):
    base = load_base(small_model("t5"))
    search = Search(max_new_tokens=8, num_beams=2, num_return_sequences=2, stop=("x",), older="4.34")
    generate(base.model, base.tokenizer, prompts_of([[5] * 6]), search)
    assert searches[0].counted == [Counted(whole_length=1, stop_from=5)]


def test_stop_strings_are_looked_for_from_where_they_count(base):
    search = OlderSearch(lambda tokens: len(tokens) > 1, [Counted(stop_from=3)])
    ids = torch.tensor([RECORDED["prompts"][0]])
    settings = {"num_beams": 2, "num_return_sequences": 2, "max_new_tokens": 20}
    base.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), custom_generate=search, **settings)
    assert {len(tokens) for tokens in search.found[0]} == {5}
