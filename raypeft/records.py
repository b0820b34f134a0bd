"""The plain records that flow through a trial: examples in, candidates out. No third-party imports."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

Splits = dict[str, "list[Example]"]
"""`train`, `validation` and `test`, each a list of examples."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a dataset: an instruction in natural language and the code that answers it."""

    id: str
    nl: str
    code: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """What raypeft knows of a dataset besides its rows. One file in `raypeft/data/` makes one."""

    name: str
    load: Callable[[str | None, str | None], Splits]
    """`load(source, revision)`: the splits, from `source` (a folder or URL) or, where None, from the dataset's home."""
    max_new_tokens: int
    """The longest answer that is generated, in tokens."""
    longest_tokens: int
    """Length of its longest training example, prompt and answer, in tokens: planning reads no data."""
    untuned_stop: tuple[str, ...] = ()
    """Strings at which an untuned model's answer ends: it rarely emits its end-of-sequence token."""
    paper_stop: tuple[str, ...] = ("<|endoftext|>", "</s>")
    """The stop strings of the paper's own exact match (replication package, commit e7971c0)."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """An example as token ids: what the model reads, and what it should answer (end of sequence included)."""

    example: Example
    prompt_ids: list[int]
    answer_ids: list[int]
    shots: tuple[str, ...] = ()
    """Ids of the training examples before the query, in the order of the prompt."""
    dropped_shots: int = 0
    """Shots that the prompt had no room for."""

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.answer_ids)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One generated program of the k for an example."""

    example_id: str
    rank: int
    """0 is the model's first choice."""
    text: str
    token_count: int
    """Generated tokens, the stopping token included."""
    stop_reason: str
    """`eos`, `stop` (a stop string) or `length` (max_new_tokens)."""
    log_probability: float | None = field(default=None, compare=False)
    """Sum over its tokens, the stopping one included, in nats. Its last digits depend on the batch, so that two equal
    candidates may differ in it."""


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
    """What the trials of a sweep share. Without Ray a process has its own (`raypeft.retriever.LocalServices`)."""

    def retrieve(
        self, corpus: str, train: Sequence[Example], embedding_model: str, queries: Sequence[Example], k: int
    ) -> Retrieved:
        """The k examples of `train` nearest to each query. `corpus` is a name that no other training split has.

        Raises ValueError as `raypeft.retriever` does: a model that is not at hand, an empty split, a k above its size.
        """
        ...


class Report(Protocol):
    """How a running trial says where it is. It may be called often; the receiver thins it out."""

    def __call__(self, stage: str, done: int, total: int, **figures: float) -> None: ...


def report_nothing(stage: str, done: int, total: int, **figures: float) -> None:
    """A `Report` for callers that do not watch."""
