"""The shared-prompt attention against PyTorch's own on the expanded tensors."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM

from raypeft.decoding.beam_attention import BeamLayer, Seen, SplitStates, attend, beam_attention, supports
from raypeft.decoding.search import Search
from raypeft.decoding.selfcheck import choose_path
from raypeft.models.loading import load_base


@pytest.mark.parametrize("kv_heads", [6, 2])
def test_a_step_equals_pytorchs_attention_over_the_repeated_prompt(kv_heads):
    torch.manual_seed(0)
    examples, beams, heads, prompt, generated, size = 3, 4, 6, 11, 5, 8
    rows, groups = examples * beams, heads // kv_heads
    query = torch.randn(rows, heads, 1, size)
    key, value = torch.randn(examples, kv_heads, prompt, size), torch.randn(examples, kv_heads, prompt, size)
    own_key, own_value = torch.randn(rows, kv_heads, generated, size), torch.randn(rows, kv_heads, generated, size)
    mask = torch.ones(examples, prompt, dtype=torch.bool)
    mask[0, 2:5] = mask[2, 1:2] = False
    split = [SplitStates(key, own_key, Seen(mask)), SplitStates(value, own_value, Seen(mask))]
    ours, _ = attend(torch.nn.Module(), query, *split, None, scaling=size**-0.5)

    def whole(shared, own):
        return torch.cat([shared.repeat_interleave(beams, 0), own], dim=2).repeat_interleave(groups, 1)

    full_mask = torch.cat([mask.repeat_interleave(beams, 0), torch.ones(rows, generated, dtype=torch.bool)], dim=1)
    expected = functional.scaled_dot_product_attention(
        query, whole(key, own_key), whole(value, own_value), attn_mask=full_mask[:, None, None, :]
    )
    torch.testing.assert_close(ours, expected.transpose(1, 2), rtol=1e-5, atol=1e-6)


def test_reordering_beams_moves_the_generated_part_and_leaves_the_prompt():
    layer = BeamLayer()
    layer.update(torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4))
    prompt = layer.keys
    layer.fork(torch.ones(1, 3, dtype=torch.bool))
    states = torch.randn(2, 2, 1, 4)
    layer.update(states, states)
    layer.reorder_cache(torch.tensor([1, 1]))
    assert layer.keys is prompt
    assert torch.equal(layer.generated_keys, states[[1, 1]])
    assert layer.get_seq_length() == 4


def test_the_models_own_attention_is_put_back_even_after_an_error():
    model = load_base("toy").model
    before = model.config._attn_implementation
    with pytest.raises(RuntimeError), beam_attention(model):
        assert model.config._attn_implementation != before
        raise RuntimeError
    assert model.config._attn_implementation == before


@pytest.mark.parametrize("kind", ["codegen", "gptj"])
def test_the_own_attention_of_an_older_class_is_put_back_even_after_an_error(kind):
    config = AutoConfig.for_model(kind, vocab_size=50, n_embd=32, n_layer=2, n_head=4, rotary_dim=4,
                                  bos_token_id=1, eos_token_id=2)  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    ids = torch.tensor([[3, 4, 5]])
    before = model(ids).logits
    with pytest.raises(RuntimeError), beam_attention(model):
        raise RuntimeError
    assert model.config._attn_implementation == "eager"
    assert torch.equal(model(ids).logits, before)


@pytest.mark.parametrize("kind", ["codegen", "gptj"])
def test_an_older_class_is_decoded_from_one_copy_of_each_prompt_as_by_generate(kind):
    base = load_base("toy")
    config = AutoConfig.for_model(kind, vocab_size=len(base.tokenizer), n_embd=32, n_layer=2, n_head=4, rotary_dim=4,
                                  bos_token_id=1, eos_token_id=2)  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    assert choose_path(model, base.tokenizer, Search(6, num_beams=4)).path == "shared"


@pytest.mark.parametrize(
    ("layer_types", "expected"),
    [(None, True), (["full_attention", "sliding_attention"], True), (["full_attention", "linear_attention"], False)],
)
def test_every_layer_must_have_keys_that_can_be_kept_whole(layer_types, expected):
    config = SimpleNamespace(layer_types=layer_types)
    assert supports(SimpleNamespace(config=config, _supports_attention_backend=True)) is expected


WINDOW = 4


def test_a_window_is_taken_from_the_models_mask_which_is_padded_on_the_other_side():
    torch.manual_seed(0)
    beams, heads, prompt, generated, size = 2, 3, 6, 2, 8
    lengths = torch.tensor([6, 2])
    rows, total = len(lengths) * beams, prompt + generated
    query = torch.randn(rows, heads, 1, size)
    key, value = (torch.randn(len(lengths), heads, prompt, size) for _ in range(2))
    own_key, own_value = (torch.randn(rows, heads, generated, size) for _ in range(2))
    real = torch.arange(prompt) < lengths[:, None]
    mask = torch.arange(total) >= torch.maximum(prompt - lengths, torch.tensor(total - WINDOW))[:, None]
    mask = mask.repeat_interleave(beams, 0)[:, None, None, :]
    split = [SplitStates(key, own_key, Seen(real)), SplitStates(value, own_value, Seen(real))]
    ours, _ = attend(torch.nn.Module(), query, *split, mask)
    for row in range(rows):
        example = row // beams
        states = [
            torch.cat([shared[example, :, : lengths[example]], own[row]], dim=1)[:, -WINDOW:]
            for shared, own in ((key, own_key), (value, own_value))
        ]
        expected = functional.scaled_dot_product_attention(query[row], *states)
        torch.testing.assert_close(ours[row].transpose(0, 1), expected, rtol=1e-5, atol=1e-6)


def test_a_mask_that_is_not_understood_is_refused():
    states = SplitStates(torch.zeros(1, 1, 3, 4), torch.zeros(2, 1, 1, 4), Seen(torch.ones(1, 3, dtype=torch.bool)))
    with pytest.raises(ValueError, match=r"boolean, and \(rows, 1, 1, 4\), but got torch.float32"):
        attend(torch.nn.Module(), torch.zeros(2, 1, 1, 4), states, states, torch.zeros(2, 1, 1, 4))


def test_bounded_scores_and_a_score_for_nothing_are_part_of_the_softmax():
    torch.manual_seed(0)
    query, states = torch.randn(1, 1, 1, 4), torch.randn(1, 1, 3, 4)
    split = SplitStates(states[:, :, :2], states[:, :, 2:], Seen(torch.ones(1, 2, dtype=torch.bool)))
    ours, _ = attend(torch.nn.Module(), query, split, split, None, scaling=1.0, softcap=0.5, s_aux=torch.tensor([0.3]))
    scores = torch.cat([0.5 * (query @ states.transpose(2, 3) / 0.5).tanh(), torch.full((1, 1, 1, 1), 0.3)], dim=-1)
    torch.testing.assert_close(ours, scores.softmax(-1)[..., :3] @ states)
