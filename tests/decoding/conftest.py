"""What the tests of searches share."""

from contextlib import contextmanager

import pytest
from small_models import make_small_model


@pytest.fixture(scope="session")
def window(tmp_path_factory):
    """The folder of a model whose layers see the last sixteen tokens."""
    settings = {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 0}
    return make_small_model("qwen2", tmp_path_factory.mktemp("window"), **settings)


@pytest.fixture(scope="session")
def computed():
    """`with computed(model) as rows`: how many rows the model computes, for each step and each read of prompts."""

    @contextmanager
    def counting(model):
        rows = []
        output = model.get_output_embeddings()
        hook = output.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
        try:
            yield rows
        finally:
            hook.remove()

    return counting
