"""Who hears the events of a sweep's trials: one file an observer.

An observer is a class with `hear`. The command's observers are made in `raypeft.sweep` and hear every trial; those that
must write what a trial says even if the command is gone (`evaluations.py`) are made in the trial's own process.
"""

from raypeft.events import Event, Listener


class Observer:
    """Hears what the trials of a sweep say, one event at a time. Use it as a context manager."""

    def hear(self, trial_id: str, event: Event) -> None:
        """Take one event of one trial. It is called from one thread at a time, in the order of the trial's events."""
        raise NotImplementedError

    def close(self) -> None:
        """The sweep is over, or was interrupted."""

    def __enter__(self) -> "Observer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def listener_to(trial_id: str, *observers: Observer) -> Listener:
    """What a trial tells its events to, so that all of these observers hear them."""

    def listener(event: Event) -> None:
        for observer in observers:
            observer.hear(trial_id, event)

    return listener
