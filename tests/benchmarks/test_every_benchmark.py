"""Benchmarks are run seldom, and the code that they use changes: each can at least be loaded."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = sorted(path.stem for path in (Path(__file__).parents[2] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_benchmark_can_be_loaded_and_says_what_it_does(name: str, benchmark: Callable[[str], ModuleType]) -> None:
    assert benchmark(name).__doc__
