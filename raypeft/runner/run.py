"""`SweepRun`: what running a sweep is given besides its trials. Knows neither Ray nor torch."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from raypeft.study.config import Resources, RunOptions


@dataclass(frozen=True, slots=True)
class SweepRun:
    """A sweep as it is run: where its results go, what a trial may take, what the command asked for."""

    name: str
    results: str
    """Folder or URL of the sweep's own results."""
    resources: Resources
    options: RunOptions
    labels: Mapping[str, str] = field(default_factory=dict)
    """Trial id -> a short name that tells the trial from the sweep's others; a trial without one has its own label."""
    verbose: bool = False
    key: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    """Tells this run from others of the same folder."""
