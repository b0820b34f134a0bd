"""Carries a trial's events from its own process to the command's, through Tune's reports."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ray import tune

from raypeft.events import Event, Finished, Noted, Stage, Started, from_plain, to_plain
from raypeft.runner.observers import Observer

INTERVAL = 0.5
"""Seconds that an event waits at most for others to travel with it: a report to Tune costs more than a short step."""


class Relay(Observer):
    """Reports every event to Tune, several in one report where they come fast. It loses none."""

    def __init__(self, at_once: tuple[type[Any], ...] = ()) -> None:
        """`at_once` are kinds of events that are reported as they come, besides those that always are."""
        self.at_once = (Noted, Finished, *at_once)
        self.waiting: list[dict[str, Any]] = []
        self.last = time.monotonic()

    def hear(self, trial_id: str, event: Event) -> None:
        if isinstance(event, Started):
            return  # the command knows: it started the trial
        self.waiting.append(to_plain(event))
        stage_begins = isinstance(event, Stage) and event.done == 0
        if stage_begins or isinstance(event, self.at_once) or time.monotonic() - self.last >= INTERVAL:
            tune.report({"events": self.waiting})
            self.waiting, self.last = [], time.monotonic()


def events_of(report: Mapping[str, Any]) -> Iterator[Event]:
    """The events in a report of Tune's."""
    return map(from_plain, report.get("events", ()))
