"""What the trials of a sweep share, and who provides it: `Services`.

A process has its own (`raypeft.services.local`); on a Ray cluster all trials share one (`raypeft.services.cluster`).
"""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from raypeft.records import Example
from raypeft.sandbox import RunResult, SandboxSettings


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How shots are retrieved, in the words of the methods' fields."""

    embedding_model: str
    embedding_revision: str | None = None
    reranker: str | None = None
    rerank_candidates: int = 50


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The training examples nearest to each query, and how they were found."""

    rows: list[list[int]]
    """For each query its k examples as positions in the training split, nearest first."""
    revision: str
    """What searched: model, weights and libraries."""
    near_duplicates: int | None
    """Queries whose instruction is (nearly) one of the training split's; None where nothing compares meanings."""


class Services(Protocol):
    """What the trials of a sweep share. Without Ray a process has its own (`raypeft.services.local.LocalServices`)."""

    def retrieve(
        self, corpus: str, train: Sequence[Example], how: Retrieval, queries: Sequence[Example], k: int
    ) -> Retrieved:
        """The k examples of `train` nearest to each query. `corpus` is a name that no other training split has.

        Raises ValueError as `raypeft.retrieval.retriever` does: a model that is not at hand, an empty split, a k above
        its size.
        """
        ...

    def judge(self, program: str, tests: str, settings: SandboxSettings) -> Future[RunResult]:
        """How a program does on tests, given as JSON text in APPS's form. Returns at once, unless the queue is full.

        The result raises SandboxUnavailable where the machine gives no sandbox, ValueError for tests of another form.
        """
        ...
