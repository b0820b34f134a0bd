"""The shared-prompt attention against PyTorch's own on the expanded tensors."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from raypeft.decoding.beam_attention import BeamLayer, SplitStates, attend, beam_attention, supports
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
    split = [SplitStates(key, own_key, mask), SplitStates(value, own_value, mask)]
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


def test_a_model_with_sliding_windows_is_left_to_transformers():
    windows = SimpleNamespace(layer_types=["full_attention", "sliding_attention"])
    assert not supports(SimpleNamespace(config=windows, _supports_attention_backend=True))
