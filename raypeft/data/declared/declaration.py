"""The fields of a declared dataset, as a sweep file gives them.

reviews: {path: data.jsonl, prompt: instruction, answer: output}
chats:   {path: hf://owner/name, messages: messages, split: {validation: 0.1, test: 0.1, seed: 42}}
kata:    {path: {train: a.jsonl, test: c.parquet}, prompt: "{question}\\n{signature}", answer: code, tests: tests}
"""

import json
from collections.abc import Iterable
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from raypeft.data.text import as_strings, template_parts

HUB = "hf://"
HUB_FILES = "hf://datasets/"
"""A URL of a file on the hub, which fsspec opens; `hf://owner/name` is a dataset with its splits."""


class Split(BaseModel):
    """How missing splits are made: by a seeded hash of the prompt, so that equal prompts stand in one split."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    validation: float = Field(0.1, ge=0, lt=1, description="Share of the prompts for validation, if it has no file")
    test: float = Field(0.1, ge=0, lt=1, description="Share of the prompts for testing, if it has no file")
    seed: int = Field(42, ge=0, description="Seed of the hash")

    @model_validator(mode="after")
    def _leave_some(self) -> "Split":
        if self.validation + self.test >= 1:
            raise ValueError(f"validation and test must leave prompts for training but got {self.validation:g} and "
                             f"{self.test:g}")  # fmt: skip
        return self


class Declaration(BaseModel):
    """A dataset of the user's own: where its rows are, and which columns hold what."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    path: str | dict[Literal["train", "validation", "test"], str] = Field(
        description="A file (JSONL, JSON, CSV, TSV or Parquet), a folder with train, validation and test files, a URL, "
        "a dataset on the hub (hf://owner/name), or a mapping from split to file. A relative path is looked for beside "
        "the sweep file, then in the current folder",
    )
    prompt: str | None = Field(
        None, description="Column of the instruction, or a template of columns: '{task}\\n{sig}'"
    )
    answer: str | None = Field(
        None, description="Column of the reference answer, or a template of columns. May be left out if there are tests"
    )
    messages: str | None = Field(
        None,
        description="Column with a chat, instead of prompt and answer: a list of messages with role and content, the "
        "user's and the assistant's in turn, perhaps after a system's. The assistant's last message is the answer; all "
        "before it stands in the prompt",
    )
    tests: str | None = Field(
        None,
        description="Column with tests: a mapping of inputs and outputs as in APPS, a list of assertions (or a mapping "
        "of asserts and setup) as in MBPP, or a mapping of test and entry_point as in HumanEval. Each assertion runs "
        "alone, after the program and setup",
    )
    levels: str | None = Field(
        None,
        description="Column with each problem's level, such as its difficulty: functional scores are also computed for "
        "each level",
    )
    id: str | None = Field(None, description="Column with the ids of examples. null: numbers in the order of the rows")
    split: Split = Field(Split(), description="How splits are made that have no file")
    stop: Annotated[tuple[str, ...] | None, BeforeValidator(as_strings)] = Field(
        None, description="Strings that end the answer of an untuned model. null: derived from the reference answers"
    )
    bad_rows: Literal["refuse", "drop"] = Field(
        "refuse", description="What to do with rows that cannot be used: refuse the dataset, or drop and count them"
    )
    config: str | None = Field(None, description="Configuration of a dataset on the hub")
    revision: str | None = Field(None, description="Branch, tag or commit of a dataset on the hub")

    @field_validator("path")
    @classmethod
    def _has_a_file(cls, value: Any) -> Any:
        if not value:
            raise ValueError("must be a file, a folder, a URL or a mapping from split to file but is empty")
        return value

    @model_validator(mode="after")
    def _says_what_to_ask(self) -> "Declaration":
        if self.messages is not None and (self.prompt is not None or self.answer is not None):
            raise ValueError("must have either messages, or prompt and answer, but got both")
        if self.messages is None and self.prompt is None:
            raise ValueError("must have prompt and answer (columns or templates of columns), or messages (a column)")
        if self.messages is None and self.answer is None and self.tests is None:
            raise ValueError("must have answer or tests: nothing else can judge what a model writes")
        if self.levels is not None and self.tests is None:
            raise ValueError("levels has no effect without tests: scores that need no tests are not computed by level")
        for name in ("prompt", "answer"):
            if getattr(self, name) is not None:
                check_template(name, getattr(self, name))
        if self.stop is not None and not all(self.stop):
            raise ValueError(f"stop must have strings of at least one character but got {list(self.stop)}")
        if not self.is_on_hub and (self.config or self.revision):
            raise ValueError(
                "config and revision must be left out unless path is a dataset on the hub (hf://owner/name)"
            )
        return self

    @property
    def is_on_hub(self) -> bool:
        """Whether its rows are those of a dataset on the hub, which `datasets` loads."""
        return isinstance(self.path, str) and self.path.startswith(HUB) and not self.path.startswith(HUB_FILES)

    @property
    def judged_by(self) -> tuple[Literal["reference", "tests"], ...]:
        """How answers are judged: by the reference, by tests, or by both."""
        has_reference = self.answer is not None or self.messages is not None
        return (*(("reference",) if has_reference else ()), *(("tests",) if self.tests else ()))

    def columns(self) -> Iterable[tuple[str, str]]:
        """(field, column) of every column that a row must have."""
        for name in ("prompt", "answer"):
            text = getattr(self, name)
            for column in template_columns(text) if text is not None else ():
                yield name, column
        for name in ("messages", "tests", "levels", "id"):
            if column := getattr(self, name):
                yield name, column


class DeclaredData(Declaration):
    """A declaration as a trial holds it: with absolute paths, and what planning read from the data."""

    content: str | None = None
    """Hash of the files; None where they are not on this machine."""
    longest_prompt: int | None = None
    """Characters of the longest prompt. None where the rows were not read."""
    longest_answer: int | None = None
    """Characters of the longest reference answer. None where the rows were not read, or have none."""
    sizes: dict[str, int] | None = None
    """Examples in each split. None where the rows were not read."""
    derived_stop: tuple[str, ...] | None = None
    """Strings that end an untuned answer, derived from rows that are not on this machine. They do not stand in `stop`,
    which is a part of the identity: the trials' ids must be the same before such rows are read."""
    level_names: tuple[str, ...] = ()
    """The levels of the test split, numbers in their order, words as they come. Empty where the rows were not read."""

    @property
    def paths(self) -> list[str]:
        """Its files, folders or URLs."""
        return [self.path] if isinstance(self.path, str) else list(self.path.values())

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it this dataset, for a trial's id: what the files hold, and not where they are."""
        read = {"longest_prompt", "longest_answer", "sizes", "derived_stop", "level_names"}
        given = self.model_dump(exclude_defaults=True, exclude=read)
        if self.content:
            given.pop("path")
        return given

    @property
    def text(self) -> str:
        """Itself as JSON text, for its column."""
        return json.dumps(self.model_dump(exclude_defaults=True), ensure_ascii=False)


def is_template(text: str) -> bool:
    """Whether a text is a template of columns, and not the name of one."""
    return "{" in text


def template_columns(text: str) -> list[str]:
    """The columns that a template names; a text without braces is the name of one column."""
    return [name for _, name, _, _ in Formatter().parse(text) if name is not None] if is_template(text) else [text]


def filled(template: str, values: dict[str, str]) -> str:
    """A template with the columns' texts. A column's name may hold what `str.format` reads as more, such as a dot."""
    return "".join(
        literal + ("" if name is None else values[name]) for literal, name, _, _ in Formatter().parse(template)
    )


def check_template(field: str, text: str) -> None:
    """Raise ValueError where a template's braces are not in order, or name nothing."""
    if not text:
        raise ValueError(f"{field} must be a column or a template of columns but is empty")
    if not is_template(text):
        return
    parts = template_parts(field, text)
    if any(name == "" or spec or conversion for _, name, spec, conversion in parts):
        raise ValueError(f"{field} must have plain names of columns in its braces, without : or !, but got {text!r}")
    if all(name is None for _, name, _, _ in parts):
        raise ValueError(f"{field} must name a column in braces but got {text!r}")
