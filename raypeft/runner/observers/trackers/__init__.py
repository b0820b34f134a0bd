"""Experiment trackers: one file each, which has a `BACKEND`; `reporter` runs one beside a sweep.

`raypeft.study.trackers` has their names.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from raypeft.runner.observers.trackers.backend import Backend, ReportedSweep, Reporter


def reporter(name: str, sweep: ReportedSweep, say: Callable[[str], None]) -> Reporter:
    """An observer that reports a sweep to a tracker. `say` is given a warning where the tracker does not answer."""

    def make() -> Backend:
        return import_module(f"{__name__}.{name}").BACKEND(sweep, say)

    return Reporter(name, make, say)
