"""The plain records that flow through a trial: examples in, candidates out, columns and statuses of its row.

No third-party imports.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Judge = Literal["reference", "tests"]
"""What an answer can be scored against: the dataset's own answer, or tests that are run."""

Splits = dict[str, "list[Example]"]
"""`train`, `validation` and `test`, each a list of examples."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a dataset: an instruction in natural language and the code that answers it."""

    id: str
    nl: str
    code: str
    """The reference; empty where the dataset has none."""
    other_codes: tuple[str, ...] = ()
    """Further right answers, in the dataset's order."""
    starter_code: str = ""
    """What the answer is to begin with, as a function's signature."""
    level: str = ""
    """The dataset's own word for how difficult it is."""
    tests: str = ""
    """JSON text in APPS's form, {"inputs": [...], "outputs": [...], "fn_name": optional}; empty: no tests."""
    defect: str = ""
    """Why there are no tests where there should be some."""


@dataclass(frozen=True, slots=True)
class Form:
    """The text around instructions and answers."""

    query: str = "### Instruction:\n{nl}\n### Response:\n"
    shot: str = "### Instruction:\n{nl}\n### Response:\n{code}\n\n"
    answer: str = "{code}"
    before: str = ""
    """What opens the whole prompt."""
    after: str = ""
    """What closes it."""
    stop: tuple[str, ...] | None = None
    """Strings that end an answer to this form; None: the dataset's."""
    starter: Literal["below", "prefilled", "left out"] = "below"
    """Where an example's starter code stands: below the instruction, or at the prompt's end, to be gone on with."""


@dataclass(frozen=True, slots=True)
class Forms:
    """The forms of a dataset that has its own: under `corrected`, and the two of the paper's code."""

    corrected: Form
    paper_training: Form
    paper_generation: Form


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
    max_length: int | None = None
    """Training texts of more tokens, prompt and answer, are left out and counted; None: all must fit the context."""
    decoding: Mapping[str, Any] = field(default_factory=dict)
    """Trial fields that a sweep need not write for this dataset, as `do_sample`; what it writes goes before."""
    forms: Forms | None = None
    """None: those of `raypeft.prompting.forms`."""
    judged_by: tuple[Judge, ...] = ("reference",)
    """What its answers are scored against; every metric that needs one of these applies."""
    levels: tuple[str, ...] = ()
    """What `Example.level` may be, easiest first; each has scores of its own."""
    paper_training: Literal["cut", "drawn"] = "cut"
    """What the paper's code did to training texts: cut the long ones (RQ2), or drew one of an example's answers and
    left the example out where that one was too long (RQ4)."""


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
    prefilled: str = ""
    """What the answer begins with in the prompt: a candidate's text begins with it, too."""

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
class Column:
    """One column of a table of the results. Whoever fills a column declares it."""

    name: str
    kind: Any
    """`float`, `int`, `str`, `bool`, `datetime` (in UTC) or `list[str]`."""
    description: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """How a trial ended."""

    name: str
    description: str = ""
    is_finished: bool = False
    """Whether the trial need not run again."""
    is_fault: bool = True
    """Whether a sweep with such a trial ends with exit code 1."""
    is_scored: bool = False
    """Whether the row has scores; the others are listed below the table, with their error."""
