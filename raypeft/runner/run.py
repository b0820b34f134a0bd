"""`SweepRun`: what running a sweep is given besides its trials. Knows neither Ray nor torch."""

from __future__ import annotations

from dataclasses import dataclass

from raypeft.study.config import Resources, RunOptions


@dataclass(frozen=True, slots=True)
class SweepRun:
    """A sweep as it is run: where its results go, what a trial may take, what the command asked for."""

    name: str
    results: str
    """Folder or URL of the sweep's own results."""
    resources: Resources
    options: RunOptions
    verbose: bool = False
