"""Plain records that the parts of raypeft pass to each other: examples, prompts, candidates, columns, statuses.

No third-party imports.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Judge = Literal["reference", "tests"]
"""How an answer can be judged: by the reference answer of the dataset, or by running tests."""

Splits = dict[str, "list[Example]"]
"""`train`, `validation` and `test`, each a list of examples."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a dataset: an instruction in natural language and the code that answers it."""

    id: str
    nl: str
    code: str
    """The reference answer. Empty if the dataset has none."""
    other_codes: tuple[str, ...] = ()
    """Other correct answers, in the dataset's order."""
    starter_code: str = ""
    """Code that the answer should begin with, such as the signature of a function."""
    level: str = ""
    """Level of difficulty, as the dataset names it."""
    tests: str = ""
    """JSON text in one of the forms of `raypeft.sandbox.cases`: inputs and outputs, or assertions. Empty: no tests."""
    defect: str = ""
    """Why the example has no usable tests, although the dataset has tests."""
    earlier: tuple["Example", ...] = ()
    """The exchanges of a chat before this one. They stand in the prompt, with their answers."""

    @property
    def asked(self) -> str:
        """All that is asked, with the exchanges before: what two examples must have in common to be duplicates."""
        return "\n".join([*(text for each in self.earlier for text in (each.nl, each.code)), self.nl])

    @property
    def searched(self) -> str:
        """What the example is found by: its instruction, and behind it the exchanges before, the last one first. An
        embedding model reads no more than the beginning of a long text."""
        return "\n".join([self.nl, *(text for each in reversed(self.earlier) for text in (each.nl, each.code))])


@dataclass(frozen=True, slots=True)
class Form:
    """A prompt template: the text around instructions and answers."""

    query: str = "### Instruction:\n{nl}\n### Response:\n"
    shot: str = "### Instruction:\n{nl}\n### Response:\n{code}\n\n"
    answer: str = "{code}"
    before: str = ""
    """Text before the whole prompt."""
    after: str = ""
    """Text after the whole prompt."""
    stop: tuple[str, ...] | None = None
    """Strings that end an answer to this prompt. None: those of the dataset."""
    starter: Literal["below", "placed", "prefilled", "asked", "left out"] = "below"
    """Place of the starter code: below the instruction, at `{starter_code}` in `query` and `shot`, or at the prompt's
    end, where the model continues it. With `prefilled` it then counts as a part of the answer, with `asked` it does
    not."""
    joined: bool = False
    """Whether prompt and answer are tokenised as one text, the answer without outer white space and without an
    end-of-sequence token, as the paper's code did for APPS."""
    chat: bool = False
    """Whether the model's own chat template surrounds the turns. `query` is then the user's turn and `answer` the
    model's; shots are earlier turns, and `shot`, `before` and `after` have no use."""

    @property
    def opens_fence(self) -> bool:
        """Whether the answer stands in a code fence that the prompt has opened."""
        return "```" in self.query.rpartition("{nl}")[2] + self.after


@dataclass(frozen=True, slots=True)
class Forms:
    """The prompt templates of a dataset: one for `fidelity: corrected`, and the two of the paper's code."""

    corrected: Form
    paper_training: Form
    paper_generation: Form


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset: how to load it, and its settings. Each file in `raypeft/data/` defines one."""

    name: str
    load: Callable[[str | None, str | None], Splits]
    """`load(source, revision)` returns the splits. `source` is a folder or URL; None: the dataset's usual place."""
    max_new_tokens: int | None
    """Maximum length of a generated answer, in tokens. None: that of the longest reference answer, as the model's
    tokenizer has it, as far as its context has room."""
    longest_tokens: int
    """Length of the longest training example (prompt and answer) in tokens. Planning needs it and reads no data."""
    longest_answer: int = 0
    """Length of the longest reference answer in tokens, for planning. Needed where `max_new_tokens` is None."""
    untuned_stop: tuple[str, ...] = ()
    """Strings that end the answer of an untuned model, which rarely generates its end-of-sequence token."""
    paper_stop: tuple[str, ...] = ("<|endoftext|>", "</s>")
    """Stop strings used by the paper's program for exact match (replication package, commit e7971c0)."""
    max_length: int | None = None
    """Maximum length of a training example (prompt and answer) in tokens. Longer ones are left out and counted.
    None: all must fit the model's context."""
    parts: tuple["Dataset", ...] = ()
    """The datasets that it joins, where it is a mix: the ids of its examples begin with the name of their dataset and a
    slash. Empty: it is one dataset."""
    decoding: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of trial fields for this dataset, such as `do_sample`. Values in the sweep file override these."""
    test_size: int | None = None
    """Number of examples that its test split has, without those that have no usable tests. None: not known before it
    is loaded."""
    splits: tuple[str, ...] = ("train", "validation", "test")
    """The splits that it has. One that is only for testing can train nothing and has no shots."""
    embedded: bool = False
    """Whether its examples come with raypeft, so that nothing is downloaded."""
    forms: Forms | None = None
    """Prompt templates. None: those of `raypeft.prompting.forms`."""
    judged_by: tuple[Judge, ...] = ("reference",)
    """How its answers are judged. Every metric that needs one of these is computed."""
    levels: tuple[str, ...] = ()
    """Possible values of `Example.level`, easiest first. Some scores are also computed for each level."""
    source_of: Callable[[str], str] | None = None
    """Example id -> the source that it was made from, in a collection that several datasets share by sharing this
    function. What one of them trains on must not have the source of what another one tests. None: a source of its own.
    """
    paper_training: Literal["cut", "drawn"] = "cut"
    """How the paper's code prepared training examples. `cut`: it truncated long ones (RQ2). `drawn`: it chose one
    answer at random, and left the example out if that answer was too long (RQ4)."""
    paper_defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Tuning method -> its fields that have another default for this dataset under `fidelity: paper`."""

    @property
    def joined(self) -> tuple["Dataset", ...]:
        """The datasets whose examples it has: those of a mix, or itself."""
        return self.parts or (self,)

    def divided(self, examples: Sequence[Example]) -> list[tuple["Dataset", list[Example]]]:
        """Its examples by the dataset that they are from, each with its own in their order."""
        if not self.parts:
            return [(self, list(examples))]
        return [(part, [each for each in examples if self.of(each)[0] is part]) for part in self.parts]

    def of(self, example: Example) -> tuple["Dataset", str]:
        """The dataset that one of its examples is from, and the example's id there."""
        if not self.parts:
            return self, example.id
        name, _, own_id = example.id.partition("/")
        return next(part for part in self.parts if part.name == name), own_id


@dataclass(frozen=True, slots=True)
class Prompt:
    """An example as token ids: the prompt, and the expected answer with its end-of-sequence token."""

    example: Example
    prompt_ids: list[int]
    answer_ids: list[int]
    shots: tuple[str, ...] = ()
    """Ids of the training examples (shots) before the query, in the order of the prompt."""
    dropped_shots: int = 0
    """Number of shots that did not fit into the prompt."""
    padding: int = 0
    """Number of padding tokens before the prompt in training, which are not attended to but counted as positions."""
    prefilled: str = ""
    """The beginning of the answer that is already in the prompt. A candidate's text includes it."""
    too_long: bool = False
    """Whether the model has no room for the prompt and an answer, so that nothing is generated for it."""

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.answer_ids)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One generated program. Each example has several."""

    example_id: str
    rank: int
    """0 is the best candidate according to the model."""
    text: str
    token_count: int
    """Number of generated tokens, including the stopping token."""
    stop_reason: str
    """`eos`, `stop` (a stop string), `length` (max_new_tokens) or `too_long` (`Prompt.too_long`: nothing generated)."""
    log_probability: float | None = field(default=None, compare=False)
    """Sum of the log-probabilities of its tokens, including the stopping token, in nats. The last digits depend on the
    batch, so equality of candidates ignores it."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table of the results. The module that fills a column declares it."""

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
    """Whether the trial counts as done, so that it is not run again."""
    is_fault: bool = True
    """Whether a trial with this status makes the sweep end with exit code 1."""
    runs_again: bool = False
    """Whether the next start of the sweep runs the trial again without being asked to."""
    is_scored: bool = False
    """Whether the row has scores. Other rows are listed below the table, with their error."""
    has_answers: bool = False
    """Whether the trial has answered the test examples, unless it was not to decode: then its candidates are stored."""
