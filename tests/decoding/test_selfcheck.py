"""Which path of decoding is chosen for a model, by what it gives; and what counts as a difference."""

from dataclasses import replace

import pytest
import torch

from raypeft.decoding import beam_attention, selfcheck
from raypeft.decoding.beam_attention import BeamLayer
from raypeft.decoding.generation import generate
from raypeft.decoding.selfcheck import Chosen, choose_path, differences
from raypeft.models.loading import load_base
from scripts.model_classes import BEAMS, CLASSES, SAMPLES, make, plain_texts, prompts_of

OLDER = replace(BEAMS, older="4.34")


@pytest.fixture(scope="module")
def base_of(tmp_path_factory):
    """`base_of("mistral")`: a tiny random model, loaded once."""
    loaded = {}

    def get(name):
        if name not in loaded:
            loaded[name] = load_base(make(name, tmp_path_factory.mktemp("model")))
        return loaded[name]

    return get


@pytest.mark.parametrize(
    ("name", "path", "note"),
    [
        ("mistral", "shared", None),  # a sliding window in every layer
        ("gpt_neo", "plain", "cached: padding would stand in its window of 16 tokens"),
        ("mpt", "plain", "cached: its scores differ by"),  # ALiBi counted over padding
        ("mamba", "plain", "cached: it fails (AttributeError: "),  # a state that is no keys
    ],
)
def test_the_fastest_path_that_works_is_chosen_and_gives_generates_candidates(base_of, name, path, note):
    base = base_of(name)
    chosen = choose_path(base.model, base.tokenizer, BEAMS)
    assert chosen.path == path
    assert (chosen.note is None) if note is None else chosen.note.startswith(note)
    prompts = prompts_of(base, "test", 4)
    found = generate(base.model, base.tokenizer, prompts, replace(BEAMS, path=path))
    assert [[each.text for each in beams] for beams in found] == plain_texts(base, prompts)


def test_beyond_the_switch_of_longrope_prompts_are_decoded_one_at_a_time(monkeypatch, tmp_path):
    factors = {"short_factor": [1.0] * 8, "long_factor": [float(each) for each in range(2, 10)]}
    rope = {"rope_type": "longrope", "type": "longrope", **factors}
    switch = {"rope_scaling": rope, "original_max_position_embeddings": 64}
    monkeypatch.setitem(CLASSES, "phi3 of long texts", CLASSES["phi3"] | switch)
    base = load_base(make("phi3 of long texts", tmp_path))
    long, short = (prompts_of(base, "test", 2)[0] for _ in range(2))
    long = replace(long, prompt_ids=long.prompt_ids * (1 + 70 // len(long.prompt_ids)))
    assert choose_path(base.model, base.tokenizer, BEAMS, 64).path == "shared"
    chosen = choose_path(base.model, base.tokenizer, BEAMS, 65)
    assert chosen.path == "alone" and "shared: beyond 64 tokens the longest sequence" in chosen.note
    texts = [[[each.text for each in found] for found in generate(base.model, base.tokenizer, prompts, along)]
             for prompts, along in (([long, short], replace(BEAMS, path="alone")),
                                    ([long], replace(BEAMS, path="alone")))]  # fmt: skip
    assert texts[0][0] == texts[1][0]
    together = generate(base.model, base.tokenizer, [long, short], replace(BEAMS, path="shared"))
    assert [[each.text for each in found] for found in together] != texts[0], "so the check is needed"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_sends_no_model_to_a_slower_path_and_an_error_does_so_with_a_note(monkeypatch, dtype):
    base = load_base("toy")
    base.model.to(dtype)
    assert choose_path(base.model, base.tokenizer, BEAMS) == Chosen("shared")
    monkeypatch.setattr(selfcheck, "HALF_TOLERANCE", 0.0)  # as if its rounding were as large as an error
    chosen = choose_path(base.model, base.tokenizer, BEAMS)
    assert chosen.path != "shared" and chosen.note.startswith("shared: its scores differ by ")


@pytest.mark.parametrize("search", [BEAMS, SAMPLES, OLDER], ids=["beams", "samples", "paper"])
def test_every_path_gives_the_same_candidates_with_the_same_columns(base_of, search):
    base = base_of("mistral")
    prompts = prompts_of(base, "test", 4)
    along = [generate(base.model, base.tokenizer, prompts, replace(search, path=path, stop=("\n",)))
             for path in ("shared", "plain", "alone")]  # fmt: skip
    assert along[0] == along[1] == along[2]
    for one, other in zip(*([each.log_probability for beams in found for each in beams] for found in along[:2]),
                          strict=True):  # fmt: skip
        assert one == pytest.approx(other, abs=1e-3)


def test_a_model_that_generate_cannot_search_is_refused_with_the_reason(base_of):
    base = base_of("rwkv")
    with pytest.raises(ValueError, match="by beam search with this method, but one of the type rwkv fails"):
        choose_path(base.model, base.tokenizer, BEAMS)


@pytest.mark.parametrize("search", [BEAMS, SAMPLES, OLDER], ids=["beams", "samples", "paper"])
def test_padding_that_is_seen_is_found_whatever_the_search(base_of, search, monkeypatch):
    monkeypatch.setattr(beam_attention.Seen, "hidden", lambda *_: (torch.tensor([False]), None))
    base = base_of("mistral")
    chosen = choose_path(base.model, base.tokenizer, search)
    assert chosen.path == "plain" and "shared: its scores differ" in chosen.note


def test_keys_that_stay_behind_when_beams_change_places_are_found(base_of, monkeypatch):
    monkeypatch.setattr(BeamLayer, "reorder_cache", lambda self, beams: None)
    base = base_of("mistral")
    assert "shared: its scores differ" in (choose_path(base.model, base.tokenizer, BEAMS).note or "")


def test_a_window_too_long_for_the_check_is_decoded_without_padding(base_of, monkeypatch):
    base = base_of("gpt_neo")
    monkeypatch.setattr(base.model.config, "window_size", 256)
    chosen = choose_path(base.model, base.tokenizer, BEAMS)
    assert chosen == Chosen("alone", "cached: padding would stand in its window of 256 tokens; plain: prompts longer "
                                     "than its window of 256 tokens take too long to check on a CPU")  # fmt: skip


def test_scores_that_are_not_numbers_are_refused(base_of, monkeypatch):
    base = base_of("mistral")
    head = base.model.lm_head
    monkeypatch.setattr(head, "forward", lambda states: torch.full((*states.shape[:-1], 1536), float("nan")))
    with pytest.raises(ValueError, match="must be finite"):
        choose_path(base.model, base.tokenizer, BEAMS)


def test_the_check_leaves_random_numbers_and_weights_as_they_were(base_of):
    base = base_of("mistral")
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    choose_path(base.model, base.tokenizer, SAMPLES)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in base.model.state_dict().items())


ONE = {(1,): -1.0, (2,): -2.0, (3,): -2.5, (4,): -3.0}


@pytest.mark.parametrize(
    ("other", "worst"),
    [
        (ONE, 0.0),
        ({**ONE, (2,): -2.3}, 0.3),
        ({(1,): -1.0, (2,): -2.0, (3,): -2.5, (5,): -2.9999}, 1e-4),  # a tie for the last place
        ({(1,): -1.0, (2,): -2.0, (6,): -0.5, (5,): -3.0}, 2.5),
        ({**ONE, (7, 1): -0.1}, 0.0),  # what follows from another choice is not compared
        ({**ONE, (2, 1): -2.1}, 0.0),  # the first search was over before it
    ],
)
def test_a_tie_is_no_difference_and_an_error_is(other, worst):
    assert max(differences(ONE, other, beams=2, ends={9})) == pytest.approx(worst)
    assert max(differences(other, ONE, beams=2, ends={9})) == pytest.approx(worst)


def test_the_prompts_of_the_check_are_as_long_as_a_window_asks(base_of):
    base = base_of("mistral")
    usual, long = (selfcheck._prompts(base.tokenizer, base.model, shortest) for shortest in (0, 40))
    assert len({len(prompt.prompt_ids) for prompt in usual[:2]}) == 2
    assert min(len(prompt.prompt_ids) for prompt in long) >= 40
