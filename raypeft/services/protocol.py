"""The services that the trials of a sweep share: retrieval of shots, and running programs on tests.

`raypeft.services.local` provides them within one process, `raypeft.services.cluster` for all nodes of a Ray cluster.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from raypeft.records import Example
from raypeft.sandbox import RunResult, SandboxSettings


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How shots are retrieved. The fields have the same names as those of the tuning methods."""

    embedding_model: str
    embedding_revision: str | None = None
    reranker: str | None = None
    rerank_candidates: int = 50


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The training examples most similar to each query, and how they were found."""

    rows: list[list[int]]
    """For each query its k examples, as positions in the training split, most similar first."""
    revision: str
    """Versions of the embedding model and of the libraries."""
    near_duplicates: int | None
    """Number of queries whose instruction is nearly the same as a training instruction. None without embeddings."""


class Services(Protocol):
    """The services that the trials of a sweep share."""

    def retrieve(
        self, corpus: str, train: Sequence[Example], how: Retrieval, queries: Sequence[Example], k: int
    ) -> Retrieved:
        """The k examples of `train` most similar to each query. `corpus` is a unique name for this training split.

        Raises ValueError if the model cannot be found, the split is empty, or k is larger than the split.
        """
        ...

    def judge(self, program: str, tests: str, settings: SandboxSettings) -> Future[RunResult]:
        """Run a program on tests, given as JSON text in the format of APPS. Returns at once, unless the queue is full.

        The future raises SandboxUnavailable if the machine has no sandbox, and ValueError for tests in another format.
        """
        ...
