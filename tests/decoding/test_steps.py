"""The model in a search of our own: which rows may be left out."""

from transformers import DynamicCache

from raypeft.decoding.beam_attention import BeamCache
from raypeft.decoding.steps import may_narrow


def test_rows_of_a_cache_with_states_of_another_kind_all_stay():
    assert may_narrow(DynamicCache()) and may_narrow(BeamCache())

    class OfItsOwn(DynamicCache):
        pass

    assert not may_narrow(OfItsOwn()) and not may_narrow(None)
    mixed = DynamicCache()
    mixed.layers = [object()]
    assert not may_narrow(mixed)
