"""Benchmarks are scripts: they import each other by their bare names, which other modules could have too."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """`benchmark("generation")`: that script as a module, which is forgotten after the test."""
    monkeypatch.syspath_prepend(str(FOLDER))  # as Python does for a script
    before = set(sys.modules)
    yield importlib.import_module
    for added in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[added], "__file__", None)):
            del sys.modules[added]
