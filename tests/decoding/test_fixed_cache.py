"""Tensors of a fixed length for what beams generate: the candidates of the cache that grows."""

from dataclasses import replace

import pytest
import torch
from small_models import make_small_model

from raypeft.data import DATASETS
from raypeft.decoding import fixed_cache
from raypeft.decoding.decoders import decoder_for, paths
from raypeft.decoding.generation import generate
from raypeft.decoding.search import Search
from raypeft.decoding.selfcheck import choose_path
from raypeft.models.loading import load_base
from raypeft.prompting.encoding import Encoder

BEAMS = Search(max_new_tokens=24, num_beams=4, num_return_sequences=4)
SAMPLES = Search(max_new_tokens=24, do_sample=True, num_return_sequences=3, top_p=0.95)
GREEDY = Search(max_new_tokens=24)
SEARCHES = pytest.mark.parametrize("search", [BEAMS, SAMPLES, GREEDY], ids=["beams", "samples", "greedy"])


@pytest.fixture(scope="module")
def base():
    base = load_base("toy")
    base.model.float()  # a GPU loads it in 16 bits, in which two ways of computing may choose other tokens
    return base


@pytest.fixture(scope="module")
def prompts(base):
    return [Encoder(base.tokenizer).encode(each) for each in DATASETS["toy"].load(None, None)["test"][:7]]


def same_candidates(base, prompts, search, first="graphed", second="shared"):
    found = [generate(base.model, base.tokenizer, prompts, replace(search, path=path, batch_size=4))
             for path in (first, second)]  # fmt: skip
    one, other = ([each for candidates in results for each in candidates] for results in found)
    assert [each.text for each in one] == [each.text for each in other]
    assert [each.log_probability for each in one] == pytest.approx([each.log_probability for each in other], abs=1e-3)


@SEARCHES
def test_candidates_are_those_of_the_cache_that_grows(base, prompts, search):
    same_candidates(base, prompts, search)


@SEARCHES
def test_candidates_of_an_older_class_are_those_of_the_cache_that_grows(tmp_path, prompts, search):
    codegen = load_base(make_small_model("codegen", tmp_path))
    codegen.model.float()
    same_candidates(codegen, prompts, search)


@pytest.mark.parametrize("most", [1, 10**9], ids=["a layer at a time", "all layers at once"])
def test_beams_change_places_whatever_is_copied_at_once(base, prompts, most, monkeypatch):
    monkeypatch.setattr(fixed_cache, "MOST_COPIED", most)
    same_candidates(base, prompts, BEAMS)


def test_deterministic_algorithms_decode_another_way(base, prompts):
    decoder = decoder_for(base.model, base.tokenizer, replace(GREEDY, path="graphed"), prompts)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with pytest.raises(ValueError, match="deterministic"):
            decoder.decode(prompts)
    finally:
        torch.use_deterministic_algorithms(False)


@SEARCHES
def test_room_that_is_too_small_grows(base, prompts, search, monkeypatch):
    monkeypatch.setattr(fixed_cache, "ROOM", 5)
    same_candidates(base, prompts, search)


def test_the_model_has_its_own_forward_again_afterwards(base, prompts):
    generate(base.model, base.tokenizer, prompts[:2], replace(GREEDY, path="graphed"))
    assert "forward" not in base.model.__dict__


def test_a_model_with_a_window_of_attention_is_refused_with_the_reason(base, prompts, monkeypatch):
    monkeypatch.setattr(base.model.config, "sliding_window", 16, raising=False)
    decoder = decoder_for(base.model, base.tokenizer, replace(GREEDY, path="graphed"), prompts)
    with pytest.raises(ValueError, match="window"):
        decoder.decode(prompts)


def test_without_a_gpu_the_path_is_not_tried(base):
    if not torch.cuda.is_available():
        assert "graphed" not in paths(base.model, graphs=True)
    assert "graphed" not in paths(base.model)


@pytest.mark.gpu
@SEARCHES
def test_graphs_give_the_candidates_of_steps_without_them(base, prompts, search, monkeypatch):
    monkeypatch.setattr(fixed_cache, "ROOM", 10)
    same_candidates(base, prompts, search)


@pytest.mark.gpu
def test_the_check_chooses_graphs_on_a_gpu_where_they_are_wanted(base):
    assert choose_path(base.model, base.tokenizer, replace(BEAMS, graphs=True)).path == "graphed"
    assert choose_path(base.model, base.tokenizer, BEAMS).path == "shared"


@pytest.mark.gpu
def test_a_model_that_cannot_be_recorded_is_decoded_another_way_and_leaves_the_process_whole(base, monkeypatch):
    inner, usual = base.model.model, torch.cuda.current_stream()
    original = inner.forward

    def asking(*args, **inputs):
        found = original(*args, **inputs)
        assert found.last_hidden_state.sum().item() is not None  # which no recording allows
        return found

    monkeypatch.setattr(inner, "forward", asking)
    chosen = choose_path(base.model, base.tokenizer, replace(BEAMS, graphs=True))
    assert chosen.path == "shared" and chosen.note.startswith("graphed: it fails")
    assert torch.rand(2, device="cuda").shape == (2,)
    torch.cuda.empty_cache()
    assert torch.cuda.current_stream() == usual
