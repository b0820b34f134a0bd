"""What all tests share: no hub, the real datasets where they lie, and no GPU but for tests that are marked so."""

import gc
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models gain nothing from more, and tests run side by side
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

# Ray gives way to everything else by default; with other tests beside it a sweep would take minutes.
os.environ.setdefault("RAY_worker_niceness", "0")
# A sweep of a test waits for no other sweep of this machine, and joins no cluster of it.
os.environ.setdefault("RAY_ADDRESS", "local")

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real datasets (conala/train.jsonl, ...) named by RAYPEFT_REAL_DATA; skips where there is none."""
    folder = Path(os.environ.get("RAYPEFT_REAL_DATA", "/nowhere"))
    if not folder.is_dir():
        pytest.skip("RAYPEFT_REAL_DATA names no folder of real datasets")
    return folder


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory):
    """`small_model("t5")`: the folder of a small random model of that kind, made once a session."""
    from small_models import make_small_model

    made: dict[str, str] = {}

    def folder(kind: str) -> str:
        if kind not in made:
            made[kind] = make_small_model(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return folder


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of published values and of what others' code computed."""
    folder = os.environ.get("RAYPEFT_REFERENCE")
    if not folder:
        pytest.skip("RAYPEFT_REFERENCE is not set")
    return Path(folder)


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs, on which numbers have fewer digits, unless tests of them are asked for (`pytest -m gpu`)."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU, and pytest -m gpu"))


def pytest_runtest_setup() -> None:
    """Each test begins with one thread, whatever those before it asked for: two that tests side by side get take turns
    waiting for each other, which makes small models ten times as slow."""
    import torch

    torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """What the tests import stays: collections, which each trial asks for, need not look through it again."""
    gc.collect()
    gc.freeze()
