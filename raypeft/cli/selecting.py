"""Which trials a sweep runs besides those without a result: `--rerun`, `--retry`, `--only`, `--prune`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from rich.console import Console

from raypeft.mistakes import nearest, number_of, some
from raypeft.results.leases import running
from raypeft.results.leftovers import files_by_trial
from raypeft.results.standing import Standing
from raypeft.results.store import ResultStore
from raypeft.runner.observers.view import say
from raypeft.study.config import Trial
from raypeft.study.sweepfile import ConfigError
from raypeft.trial.stale import other_data, other_weights


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command asks for besides the trials that have no result yet."""

    rerun: bool = False
    retry: tuple[str, ...] = ()
    """Statuses whose trials run again."""
    only: tuple[str, ...] = ()
    """Beginnings of the ids of the trials to run; empty: all."""
    prune: bool = False

    @classmethod
    def of(cls, options: argparse.Namespace) -> Asked:
        """What the arguments of `add_arguments` say."""
        retry = ("failed", "oom") if "all" in options.retry else tuple(options.retry)
        return cls(options.rerun, retry, tuple(options.only or ()), options.prune)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which trials run."""
    parser.add_argument(
        "--rerun",
        action="store_true",
        help="run finished trials again; their old files move to superseded/ when the new ones are there",
    )
    parser.add_argument(
        "--retry",
        action="append",
        choices=["failed", "oom", "pruned", "all"],
        default=[],
        help="also run trials again that failed, ran out of GPU memory or were pruned (all: those that failed or ran "
        "out of memory); lost ones run again anyway",
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="ID[,ID]",
        help="run only the trials of these ids, or of ids that begin so",
    )
    parser.add_argument(
        "--prune", action="store_true", help="move all files of trials that are no longer planned to superseded/"
    )


def only(trials: Sequence[Trial], beginnings: Sequence[str], source: str) -> Sequence[Trial]:
    """The trials whose ids begin so; all where nothing is asked for. Raises ConfigError for an id that no trial has."""
    beginnings = [each for some in beginnings for each in some.split(",") if each]
    known = [trial.id for trial in trials]
    unknown = [each for each in beginnings if not any(trial.startswith(each) for trial in known)]
    if unknown:
        raise ConfigError(source, [f"--only must be the id of a trial of this sweep but got {each}"
                                   f"{nearest(each, known)}; --dry-run lists them" for each in unknown])  # fmt: skip
    return [trial for trial in trials if trial.id.startswith(tuple(beginnings))] if beginnings else trials


def prune(store: ResultStore, planned: Collection[str], console: Console) -> None:
    """Move all files of trials that are not planned to superseded/, but for those that another command runs."""
    kept = {*planned, *running(store)}
    found = {trial: names for trial, names in files_by_trial(store).items() if trial not in kept}
    for names in found.values():
        store.supersede(names)
    say(console, f"moved to superseded/: {number_of(len(found), 'trial')} no longer planned")


def say_incomplete(console: Console, standing: Standing, missing: Collection[str]) -> None:
    """Say which results lack files, and are made again."""
    for what in dict.fromkeys(standing.incomplete.values()):
        ids = [trial for trial in missing if standing.incomplete.get(trial) == what]
        if ids:
            count, named = number_of(len(ids), "finished trial"), some(ids, 4)
            say(console, f"run again, since their {what} are missing: {count} ({named})")


def say_reused(console: Console, taken: Mapping[str, str]) -> None:
    """Say how many trials were copied from which sweep."""
    for name, count in Counter(taken.values()).items():
        say(console, f"copied from the results of {name}: {number_of(count, 'finished trial')}")


def say_changed(console: Console, trials: Sequence[Trial], store: ResultStore, missing: Collection[str]) -> list[str]:
    """Name the finished trials whose data or weights have changed since they ran, but for those that run again.
    Returns all of them.
    """
    read_rows = cache(store.read_rows)
    changed: list[str] = []
    for what, found in (("data", other_data(trials, read_rows)), ("weights", other_weights(trials, read_rows))):
        for place, those in found.items():
            changed += those
            if ids := [trial for trial in those if trial not in missing]:
                count = number_of(len(ids), "finished trial")
                say(console, f"warning: {place} has changed since {count} ran: their rows are of other {what}, and a "
                             f"search leaves them out; --rerun --only {','.join(ids)} runs them again")  # fmt: skip
    return changed
