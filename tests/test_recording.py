"""Recording work of the GPU: which models are refused, and what a recording that fails leaves behind."""

from types import SimpleNamespace

import pytest
import torch

from raypeft.gpu import is_out_of_memory
from raypeft.recording import on_side_stream, recording, unrecordable


def test_a_model_whose_work_depends_on_values_is_not_recorded():
    def model(**config):
        return SimpleNamespace(config=SimpleNamespace(**config))

    assert unrecordable(model(rope_parameters={"rope_type": "default", "rope_theta": 1e4})) is None
    assert "length" in unrecordable(model(rope_parameters={"rope_type": "dynamic", "factor": 2.0}))
    assert "length" in unrecordable(model(rope_parameters={"full_attention": {"rope_type": "longrope"}}))
    assert "experts" in unrecordable(model(num_local_experts=8))
    assert "8-bit" in unrecordable(SimpleNamespace(config=SimpleNamespace(), is_loaded_in_8bit=True))


def test_memory_that_runs_out_within_a_recording_is_known_behind_the_error_that_ends_it():
    with pytest.raises(RuntimeError) as caught:
        try:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
    assert is_out_of_memory(caught.value)


@pytest.mark.gpu
def test_what_is_recorded_is_repeated_on_new_values():
    value, pool, graph = torch.ones(4, device="cuda"), torch.cuda.graph_pool_handle(), torch.cuda.CUDAGraph()
    with on_side_stream():
        2 * value
    with recording(graph, pool):
        found = 2 * value
    value.fill_(5)
    graph.replay()
    assert found.tolist() == [10.0] * 4


@pytest.mark.gpu
def test_a_recording_that_fails_leaves_random_numbers_memory_and_stream_as_they_were():
    usual, value = torch.cuda.current_stream(), torch.ones(4, device="cuda")
    for error, block in ((RuntimeError, lambda: value.sum().item()), (KeyError, lambda: {}["a"])):
        with pytest.raises(error), recording(torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()):
            torch.rand(3, device="cuda")
            block()
        assert torch.rand(2, device="cuda").shape == (2,)
        torch.cuda.empty_cache()
        assert torch.cuda.current_stream() == usual
