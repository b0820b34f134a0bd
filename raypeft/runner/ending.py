"""How a sweep that is told to stop comes to an end: its trials save what they have, and no new ones begin.

The command leaves a note in the results folder, which every trial's process can read; where a trial sees it, its own
`Stop` is set. Tune goes on until the trials that ran then have ended. The command says so at once. The same
signal again, or twenty seconds, end it at once (`raypeft.stopping`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ray import tune

from raypeft.mistakes import number_of
from raypeft.results.store import ResultStore
from raypeft.stopping import GRACE, Stop

POLL = 1.0
"""Seconds between two looks for the note."""


STOP = ".stop"
"""The folder of notes in a results folder."""


def note_of(key: str) -> str:
    """Name of the note that stops a run, in its results folder."""
    return f"{STOP}/{key}"


@contextmanager
def stopped_by_note(store: ResultStore, key: str, stop: Stop) -> Iterator[None]:
    """Within the block, set `stop` once the note of the run is there. It may be there already."""
    over = threading.Event()

    def look() -> None:
        with suppress(OSError, ValueError):  # the next look may go better
            store.look_anew(STOP)
            if store.exists(note_of(key)):
                with store.reading(note_of(key)) as stream:
                    stop.number = int(stream.read())

    def watch() -> None:
        while stop.number is None and not over.wait(POLL):
            look()

    look()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=POLL)


class Ending(tune.Stopper):
    """Ends a Tune run once `stop` is set and the trials that were running have ended."""

    def __init__(
        self, stop: Stop, store: ResultStore, key: str, running: Callable[[], set[str]], say: Callable[[str], None]
    ) -> None:
        self.stop, self.store, self.key, self.running, self.say = stop, store, key, running, say
        self.awaited: set[str] | None = None
        """The trials that ran when the signal came."""

    def __getstate__(self) -> dict[str, object]:
        return {}  # Tune pickles its stopper to resume an experiment; a sweep resumes from its rows instead

    def __call__(self, trial_id: str, result: object) -> bool:
        return False

    def stop_all(self) -> bool:
        """Asked by Tune several times a second."""
        if self.stop.number is None:
            return False
        if self.awaited is None:
            awaited = set(self.running())
            try:
                with self.store.writing(note_of(self.key)) as stream:
                    stream.write(str(int(self.stop.number)).encode())
            except OSError:  # an error here would end all trials unsaved; Tune asks again
                return False
            self.awaited = awaited
            why = "the time budget is used up" if self.stop.is_time_over else "told to stop"
            count = len(self.awaited)
            stops, them = ("stops after its", "it") if count == 1 else ("stop after their", "them")
            self.say(f"{why}: {number_of(count, 'running trial')} {stops} current step or batch, within {GRACE} "
                     f"seconds; Ctrl-C (again) ends {them} at once")  # fmt: skip
        return not self.awaited & self.running()

    def close(self) -> None:
        """Remove the note."""
        with suppress(OSError):
            if self.awaited is not None:
                self.store.remove(note_of(self.key))
