"""The embedded model and the first examples of its dataset, for modules that need nothing else of them."""

import pytest

from raypeft.data import DATASETS
from raypeft.models.loading import load_base
from raypeft.prompting.encoding import Encoder


@pytest.fixture(scope="module")
def base():
    return load_base("toy")


@pytest.fixture(scope="module")
def prompts(base):
    encoder = Encoder(base.tokenizer)
    return [encoder.encode(example) for example in DATASETS["toy"].load(None, None)["train"][:64]]
