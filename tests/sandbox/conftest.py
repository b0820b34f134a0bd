"""A sandbox of each tier to run programs in; tier B as a user without rights, in another process if need be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from sandboxes import LIMITS, LocalSandbox, make_sandbox

from raypeft.sandbox import Limits, SandboxUnavailable


@pytest.fixture(autouse=True)
def long_integers() -> Iterator[None]:
    """Tests send long integers as JSON; what runs after them finds Python's own limit again."""
    usual = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(usual)


@pytest.fixture(scope="session", params=["A", "B"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A sandbox in tier A, then one in tier B as an unprivileged user."""
    made = make_sandbox(request.param)
    yield made
    made.close()


@pytest.fixture(scope="session")
def any_sandbox() -> Iterator[Any]:
    """A sandbox of the strongest tier that there is."""
    try:
        made = LocalSandbox(Limits(**LIMITS))
    except SandboxUnavailable as error:
        pytest.skip(str(error)[-300:])
    yield made
    made.close()
