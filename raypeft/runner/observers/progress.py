"""How far a trial is, for the signs of life that its process leaves in the results folder for anyone to read."""

from __future__ import annotations

import time
from typing import Any

from raypeft.events import Event
from raypeft.runner.observers import Observer
from raypeft.runner.observers.view import RunningTrial


class Progress(Observer):
    """Follows one trial in its own process."""

    def __init__(self, label: str) -> None:
        now = time.monotonic()
        self.trial = RunningTrial(label, now, stage_started=now)

    def hear(self, trial_id: str, event: Event) -> None:
        self.trial.update(event)

    def plain(self) -> dict[str, Any]:
        """As JSON has it: a short name, the stage in words, and the seconds to its end if they can be estimated."""
        return {"label": self.trial.label, "stage": self.trial.describe(), "seconds_left": self.trial.seconds_left}
