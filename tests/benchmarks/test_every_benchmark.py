"""Benchmarks are run seldom, and the code that they use changes: each can at least be loaded."""

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_benchmark_can_be_loaded_and_says_what_it_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))  # as Python does for a script
    before = set(sys.modules)
    try:
        module = importlib.import_module(name)
        assert module.__doc__
    finally:
        for added in set(sys.modules) - before:
            if getattr(sys.modules[added], "__file__", None) and str(FOLDER) in str(sys.modules[added].__file__):
                del sys.modules[added]
