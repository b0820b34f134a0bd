"""What every tracker has in common: its calls are made in a thread of their own, and its faults cost one warning.

A sweep must never wait for a tracker, and no trial may fail by one.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, Protocol

from raypeft.events import Evaluated, Event, Finished, Started, Step
from raypeft.methods import METHODS
from raypeft.metrics.scoring import declared_scores
from raypeft.runner.observers import Observer
from raypeft.secrets import hidden_in_message, hider, without_password
from raypeft.study.config import Trial

ROOM = 10_000
"""Events that wait for a slow tracker. What comes when there is no room is left out, and a line says so."""
STEP_SECONDS = 1.0
"""Between two training losses of a trial that are reported."""
END_SECONDS = 10.0
"""How long the end of a sweep waits for a tracker."""
ELSEWHERE = "elsewhere"
"""The status of a trial that another command runs, which reports it itself."""
COSTS = ("best_eval_loss", "test_loss", "train_seconds", "generate_seconds", "total_seconds", "trainable_params",
         "peak_memory_allocated_gb", "train_tokens_per_second")  # fmt: skip
"""Columns of a finished trial that are reported beside its scores."""


NAMING = ("model", "dataset", "tuning_method")
"""Fields that are reported whatever they are."""
DECLARED = ("declared", "test_declared")
"""Fields that hold a whole declaration of a dataset."""


@dataclass(frozen=True, slots=True)
class ReportedSweep:
    """The sweep that is reported."""

    name: str
    results: str
    """Folder or URL of its results."""

    @property
    def place(self) -> str:
        """`results`, a folder by its whole path, and a URL without a password."""
        is_local = "://" not in self.results
        return str(Path(self.results).expanduser().absolute()) if is_local else without_password(self.results)

    @property
    def links(self) -> dict[str, str]:
        """Where a reader of a tracker finds the results, and the report once `raypeft report` has written it."""
        base = self.place if "://" in self.place else Path(self.place).as_uri()
        return {"results": base, "report": f"{base.rstrip('/')}/report.html"}

    @property
    def note(self) -> str:
        """The links, in Markdown."""
        return " · ".join(f"[{name}]({url})" for name, url in self.links.items())

    def run_id(self, trial_id: str) -> str:
        """Tells a trial of this folder from all others, so that one that goes on after an interruption has one run."""
        return hashlib.sha256(f"{self.place}/{trial_id}".encode()).hexdigest()[:16]


@dataclass(slots=True)
class Run:
    """One trial, as a tracker has it."""

    trial: str
    label: str
    params: Mapping[str, Any]
    handle: Any = None
    """Whatever the tracker needs to find its run again."""
    step: int = 0
    """The last step that was reported."""
    reported: float = field(default=-STEP_SECONDS)
    """When a training loss was reported last, by the monotonic clock."""


class Backend(Protocol):
    """A tracker. Its methods are called by one thread, one after the other; any of them may raise."""

    def begin(self, run: Run) -> None:
        """A trial starts, or goes on."""

    def log(self, run: Run, step: int, values: Mapping[str, float]) -> None:
        """Figures of one step."""

    def end(self, run: Run, status: str, scores: Mapping[str, float]) -> None:
        """A trial is over. `status` is that of its row, such as ok, failed or pruned."""

    def interrupt(self, run: Run) -> None:
        """The sweep was interrupted, and this trial with it. It may go on later."""

    def close(self) -> None:
        """The sweep is over."""


class Reporter(Observer):
    """Passes events to a tracker."""

    def __init__(self, name: str, make: Callable[[], Backend], say: Callable[[str], None]) -> None:
        self.name, self.make, self.say = name, make, say
        self.waiting: queue.Queue[tuple[str, Event] | None] = queue.Queue(ROOM)
        self.runs: dict[str, Run] = {}
        self.left_out = 0
        self.is_given_up = False
        self.thread = threading.Thread(target=self._work, name=f"report to {name}", daemon=True)
        self.thread.start()

    def hear(self, trial_id: str, event: Event) -> None:
        if not self.thread.is_alive():
            return
        if isinstance(event, Step) and self.waiting.qsize() > ROOM // 2:  # the rest of the room is for what is rarer
            self.left_out += 1
            return
        try:
            self.waiting.put_nowait((trial_id, event))
        except queue.Full:
            self.left_out += 1

    def close(self) -> None:
        """Wait for what is still to be reported, but not for long."""
        if self.thread.is_alive():
            try:
                self.waiting.put(None, timeout=END_SECONDS)
            except queue.Full:
                self.left_out += 1
            self.thread.join(END_SECONDS)
        if self.thread.is_alive():
            self.is_given_up = True
            self.say(f"warning: {self.name} does not answer; what it has of this sweep is not whole")
        elif self.left_out:
            self.say(f"warning: {self.name} was too slow; {self.left_out} events were left out there")

    def _work(self) -> None:
        """Until the end, or the first fault: a tracker that fails is left alone."""
        try:
            backend = self.make()
            while (item := self.waiting.get()) is not None:
                self._pass_on(backend, *item)
            for run in self.runs.values():
                backend.interrupt(run)
            backend.close()
        except Exception as error:
            if self.is_given_up:  # it was said already
                return
            reason = " ".join(hidden_in_message(str(error)).split())[:200]
            self.say(f"warning: {self.name} failed and is left out from here on; trials and results are not touched "
                     f"({type(error).__name__}: {reason})")  # fmt: skip

    def _pass_on(self, backend: Backend, trial_id: str, event: Event) -> None:
        if isinstance(event, Started) and trial_id not in self.runs:  # a lost process is started again
            self.runs[trial_id] = Run(trial_id, hidden_in_message(event.label), parameters(event.fields))
            backend.begin(self.runs[trial_id])
        run = self.runs.get(trial_id)
        if run is None:
            return
        if isinstance(event, Step) and time.monotonic() - run.reported >= STEP_SECONDS:
            run.reported, run.step = time.monotonic(), event.step
            backend.log(run, event.step, {"train/loss": event.loss, "train/learning_rate": event.learning_rate})
        elif isinstance(event, Evaluated):
            run.step = event.step
            values = {"train/mean_loss": event.train_loss, "eval/loss": event.eval_loss, "train/epoch": event.epoch}
            backend.log(run, event.step, values)
        elif isinstance(event, Finished):
            del self.runs[trial_id]
            if event.row["status"] != ELSEWHERE:
                backend.end(run, str(event.row["status"]), figures(event.row))


def parameters(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields away from their defaults, and those that name a trial; without secrets."""
    method = METHODS.get(fields.get("tuning_method", ""))
    known = Trial.model_fields | (method.model_fields if method else {})
    hide = hider()
    return {
        name: hide(value) if isinstance(value, str) else value
        for name, value in fields.items()
        if value is not None and name not in DECLARED
        and (name in NAMING or name not in known or value != known[name].get_default(call_default_factory=True))
    }  # fmt: skip


def figures(row: Mapping[str, Any]) -> dict[str, float]:
    """The scores and the cost in a row of results."""
    names = dict.fromkeys([*(score.name for score in declared_scores()), *COSTS])
    return {name: float(row[name]) for name in names
            if isinstance(row.get(name), Real) and not isinstance(row.get(name), bool)}  # fmt: skip
