"""What a running trial has decoded and tested so far, stored as it comes, and taken up by the trial that goes on.

parts = Parts(store, trial_id, made_by)
batches = parts.load(prompts)             # of the trial that was interrupted
parts.add(rows)

verdicts = Verdicts(store, trial_id, settings)
verdicts.known(program, tests)
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import count
from typing import Any

from raypeft.gpu import larger_peak, peak_now_gb
from raypeft.records import Candidate, Prompt
from raypeft.results.leftovers import folder_of
from raypeft.results.store import ResultStore
from raypeft.sandbox import RunResult, SandboxSettings
from raypeft.sandbox.records import TestResult
from raypeft.trial.checkpoints import code_hash

DECODING = "decoding.json"
"""Says beside the stored parts what they were decoded by, and what that took."""
VERDICTS = "tests"
EVERY = 20.0
"""Seconds after which the verdicts that have come are stored together."""

Batch = list[list[Candidate]]


@dataclass(frozen=True, slots=True)
class Spent:
    """What the stored batches have taken."""

    seconds: float = 0.0
    peak_memory_gb: tuple[float, float] | None = None
    """GPU memory, allocated and reserved. None without a GPU."""


class Parts:
    """The stored candidates of a trial that is being decoded, one file for each batch."""

    def __init__(self, store: ResultStore, trial_id: str, made_by: Mapping[str, str]) -> None:
        """`made_by` names all that the candidates depend on: weights, prompts, search, code and versions."""
        self.store, self.trial_id, self.made_by = store, trial_id, dict(made_by)
        self.name = f"{folder_of(trial_id)}/{DECODING}"
        self.number = 0
        self.earlier = Spent()
        """By the batches that `load` found."""
        self.began = time.perf_counter()

    def load(self, prompts: Sequence[Prompt], each: int) -> list[Batch]:
        """The batches that are there, of the first of `prompts`, which are in the order of decoding.

        An example has `each` candidates. Parts of other circumstances are set aside, and nothing is there.
        """
        batches = self._batches(prompts, each)
        if batches is None:
            self.store.set_aside_parts("candidates", self.trial_id)
            self._write(Spent())
        self.number = len(batches or ())
        return batches or []

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store the rows of one more batch."""
        self.store.write_part("candidates", self.trial_id, self.number, [dict(row) for row in rows])
        self.number += 1
        seconds = self.earlier.seconds + time.perf_counter() - self.began
        self._write(Spent(seconds, larger_peak(self.earlier.peak_memory_gb, peak_now_gb())))

    def _write(self, spent: Spent) -> None:
        self.store.put(self.name, json.dumps({"made_by": self.made_by, "spent": asdict(spent)}).encode())

    def _batches(self, prompts: Sequence[Prompt], each: int) -> list[Batch] | None:
        """None where the parts cannot be used as they are."""
        try:
            if not self.store.exists(self.name):
                return None
            with self.store.reading(self.name) as stream:
                noted = json.loads(stream.read())
            if noted["made_by"] != self.made_by:
                return None
            seconds, peak = noted["spent"]["seconds"], noted["spent"]["peak_memory_gb"]
            parts = self.store.read_parts("candidates", self.trial_id)
        except (OSError, ValueError, LookupError, TypeError):  # damaged, or of another version: decode again
            return None
        names = [field.name for field in fields(Candidate)]
        found = [[Candidate(**{name: row[name] for name in names}) for row in rows] for rows in parts]
        places = [(candidate.example_id, candidate.rank) for rows in found for candidate in rows]
        expected = [(prompt.example.id, rank) for prompt in prompts for rank in range(each)]
        if places != expected[: len(places)] or any(len(rows) % each for rows in found):
            return None
        if parts:
            self.earlier = Spent(seconds, tuple(peak) if peak else None)
        return [[rows[at : at + each] for at in range(0, len(rows), each)] for rows in found]


class Verdicts:
    """The results of a trial's programs, stored every `EVERY` seconds while the trial runs."""

    def __init__(self, store: ResultStore, trial_id: str, settings: SandboxSettings) -> None:
        self.store, self.folder = store, f"{folder_of(trial_id)}/{VERDICTS}"
        self.made_by = f"{settings} {code_hash('sandbox')}"
        self.stored_at = time.monotonic()
        self.waiting: dict[str, dict[str, Any]] = {}
        self.found: dict[str, RunResult] = {}
        for name in store.names(self.folder):
            self._read(name)
        self.numbers = count(len(store.names(self.folder)))

    def _read(self, name: str) -> None:
        try:
            with self.store.reading(name) as stream:
                read = json.loads(stream.read())
            for key, plain in read.items():
                found = RunResult(**plain | {"tests": [TestResult(**each) for each in plain["tests"]]})
                self.found.setdefault(key, found)  # of equal programs the first one was run
        except (OSError, ValueError, TypeError):
            return  # damaged: the programs run again

    def known(self, program: str, tests: str) -> RunResult | None:
        """The stored result of a program; from its second use on it counts as one of an equal program."""
        key = self._key(program, tests)
        result = self.found.get(key)
        if result is not None:
            self.found[key] = replace(result, cached=True)
        return result

    def add(self, program: str, tests: str, result: RunResult) -> None:
        """Take a result that has come; store what has come when it is time to."""
        self.waiting.setdefault(self._key(program, tests), asdict(result))
        if time.monotonic() - self.stored_at >= EVERY:
            self.store_waiting()

    def store_waiting(self) -> None:
        """Store the results that are not stored yet."""
        if self.waiting:
            with self.store.writing(f"{self.folder}/{next(self.numbers):05}.json") as stream:
                stream.write(json.dumps(self.waiting).encode())
        self.waiting, self.stored_at = {}, time.monotonic()

    def _key(self, program: str, tests: str) -> str:
        text = f"{self.made_by}\0{len(program)}\0{program}{tests}"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
