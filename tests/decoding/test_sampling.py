"""Sampling against its distribution, and noise that belongs to one candidate."""

import numpy as np
import pytest
import torch

from raypeft.decoding.sampling import Picker, noise

PROBABILITIES = torch.tensor([0.5, 0.3, 0.15, 0.05])


def picks(uniforms, **settings):
    """The tokens that these uniform numbers pick from PROBABILITIES, one row each."""
    count = len(uniforms)
    pick = Picker(np.array(uniforms)[:, None], **settings)
    ids, scores = torch.zeros(count, 1, dtype=torch.long), PROBABILITIES.log().repeat(count, 1)
    return pick(ids, scores, torch.arange(count), 0).tolist()


def test_the_same_candidate_has_the_same_noise_and_any_other_has_another():
    first = noise(42, "7", 0, 5)
    assert np.array_equal(first, noise(42, "7", 0, 5))
    others = [noise(43, "7", 0, 5), noise(42, "8", 0, 5), noise(42, "7", 1, 5)]
    assert all(not np.array_equal(first, other) for other in others)


def test_longer_noise_begins_with_the_shorter():
    assert np.array_equal(noise(1, "a", 2, 10)[:4], noise(1, "a", 2, 4))


def test_a_token_is_picked_where_the_distribution_function_passes_the_number():
    assert picks([0.0, 0.49, 0.51, 0.79, 0.81, 0.949, 0.951, 1 - 1e-12]) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_tokens_are_drawn_as_often_as_they_are_likely():
    drawn = picks(noise(0, "frequencies", 0, 20_000))
    assert np.bincount(drawn, minlength=4) / 20_000 == pytest.approx(PROBABILITIES.numpy(), abs=0.01)


def test_the_nucleus_leaves_unlikely_tokens_out():
    assert set(picks(np.linspace(0, 0.999, 50), top_p=0.8)) == {0, 1}


def test_a_low_temperature_makes_the_likeliest_token_nearly_certain():
    assert set(picks(np.linspace(0, 0.99, 50), temperature=0.05)) == {0}


def test_without_noise_the_likeliest_token_is_taken():
    ids = torch.zeros(1, 1, dtype=torch.long)
    assert Picker(None)(ids, PROBABILITIES.log()[None], torch.tensor([0]), 0).tolist() == [0]


def test_a_row_has_its_own_noise_also_where_others_are_left_out():
    pick = Picker(np.array([[0.1, 0.1], [0.1, 0.6], [0.1, 0.9]]))
    assert pick(torch.zeros(2, 1), PROBABILITIES.log().repeat(2, 1), torch.tensor([1, 2]), 1).tolist() == [1, 2]


def test_top_k_leaves_out_all_but_the_likeliest_tokens():
    assert set(picks(np.linspace(0, 0.999, 50), top_k=3)) == {0, 1, 2}
    assert set(picks(np.linspace(0, 0.999, 50))) == {0, 1, 2, 3}
