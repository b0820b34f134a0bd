"""The fields of a sweep file, as pydantic models: `SweepConfig`, `Trial` and the options of a run.

A sweep is a list of grids. `raypeft.study.checking` reads and checks the file, and `raypeft.study.plan` makes trials
from it. None of these modules imports torch.
"""

import hashlib
import json
import re
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

from raypeft.data import DATASETS, data_name, dataset_of
from raypeft.data.declared.declaration import Declaration, DeclaredData
from raypeft.data.declared.mix import MixedData, Parts, read_declared
from raypeft.methods import METHODS, TuningMethod
from raypeft.models.table import Weights
from raypeft.prompting.forms import PromptForm
from raypeft.prompting.templates import PromptTemplate, as_text, read_template
from raypeft.records import Column, Dataset
from raypeft.study.options import Resources, RunFields, RunOptions
from raypeft.study.parameters import SearchFields
from raypeft.study.trackers import NAMES, Tracker, read_report_to

TUNING_METHOD = "Tuning method: how the model is specialised"


class Trial(BaseModel):
    """One model, dataset, tuning method, set of hyperparameters and seed. Each field is a column of the results."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    model: str = Field(description="Model: a name in the model table, a hub id, or the path of a folder or GGUF file")
    model_path: str | None = Field(
        None, description="Folder, GGUF file or hub id to load the weights from, if not the model's usual place"
    )
    model_revision: str | None = Field(None, description="Branch, tag or commit of the model on the hub")
    dataset: str = Field(description="Name of the dataset")
    dataset_path: str | None = Field(None, description="Folder or URL to load the dataset from, if not its usual place")
    dataset_revision: str | None = Field(None, description="Branch, tag or commit of the dataset on the hub")
    declared: Annotated[DeclaredData | MixedData | None, BeforeValidator(read_declared)] = Field(
        None,
        description="Declaration of the dataset, as JSON, with what was read from its files, or the datasets of a mix. "
        "null: a built-in one",
    )
    test_dataset: str | None = Field(
        None,
        description="Name of another dataset, whose test split is answered: prompts, stop strings, defaults of "
        "decoding, tests and scores are its own. null: dataset",
    )
    test_dataset_path: str | None = Field(
        None, description="Folder or URL to load test_dataset from, if not its usual place"
    )
    test_dataset_revision: str | None = Field(None, description="Branch, tag or commit of test_dataset on the hub")
    test_declared: Annotated[DeclaredData | None, BeforeValidator(read_declared)] = Field(
        None, description="Declaration of test_dataset, as declared is that of dataset. null: a built-in one, or none"
    )
    method: TuningMethod = Field(description=TUNING_METHOD)
    fidelity: Literal["corrected", "paper"] = Field(
        "corrected",
        description="Follow the text of the paper (corrected), or reproduce what its code did (paper)",
    )
    prompt_form: PromptForm | None = Field(
        None,
        description="Form of the prompts. plain: the paper's template; fenced: the same, with the answer in a Python "
        "code fence; chat: the chat template of the model. null: the dataset's own form",
    )
    prompt_template: Annotated[str | PromptTemplate | None, BeforeValidator(read_template)] = Field(
        None,
        description="Prompt template of your own: the text of the query with {nl}, such as `# {nl}\\n`, or a mapping "
        "of query, shot, answer and stop. With prompt_form: chat it is the user's turn. null: the template of "
        "prompt_form",
    )
    seed: int = Field(42, ge=0, description="Random seed of data order, adapter initialisation, dropout and sampling")
    limit: int | None = Field(
        None, ge=1, description="Maximum number of examples in each split, drawn at random with a fixed seed. null: all"
    )
    test_limit: int | None = Field(
        None, ge=1, description="Maximum number of examples in the test split. null: no further limit"
    )
    validation_limit: int | None = Field(
        None,
        ge=1,
        description="Also decode this many examples of the validation split and score them, so that settings can be "
        "chosen without the test split. null: none",
    )
    decode: bool = Field(
        True, description="Whether to generate answers for the test split. false: train and measure losses only"
    )
    num_beams: int = Field(10, ge=1, description="Number of beams in beam search")
    num_return_sequences: int = Field(10, ge=1, description="Number of candidates generated for each test example")
    do_sample: bool = Field(False, description="Generate candidates by random sampling instead of beam search")
    temperature: float = Field(1.0, gt=0, description="Sampling temperature. Values below 1 favour likely tokens")
    top_p: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Nucleus sampling: sample from the most likely tokens whose probabilities sum to top_p",
    )
    max_new_tokens: int | None = Field(
        None, ge=1, description="Maximum number of tokens in an answer. null: the dataset's value"
    )
    max_length: int | None = Field(
        None,
        ge=1,
        description="Training examples with more tokens than this are left out. null: the dataset's value, if any",
    )

    @model_validator(mode="after")
    def _paper_has_its_prompts(self) -> "Trial":
        for name in ("prompt_form", "prompt_template"):
            if self.fidelity == "paper" and getattr(self, name) is not None:
                raise ValueError(f"{name} must be left out under fidelity: paper, whose prompts are those of the "
                                 f"paper's code, but got {getattr(self, name)}")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _one_template(self) -> "Trial":
        if self.prompt_template is None or self.prompt_form is None:
            return self
        if self.prompt_form != "chat":
            raise ValueError(f"prompt_form must be chat or left out beside a prompt_template, which takes the place of "
                             f"its template, but got {self.prompt_form}")  # fmt: skip
        if isinstance(self.prompt_template, PromptTemplate) and self.prompt_template.shot is not None:
            raise ValueError(f"prompt_template must have no shot under prompt_form: chat, where a shot is two turns of "
                             f"the chat, but got {self.prompt_template.shot!r}")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _candidates_can_be_found(self) -> "Trial":
        if not self.decode and not self.method.trains:
            raise ValueError(f"decode must be true for {self.method.name}, which trains nothing, but got false")
        if self.do_sample:
            if self.num_beams != 1:
                raise ValueError(f"num_beams must be 1 where do_sample is true but got {self.num_beams}")
            return self
        if (self.temperature, self.top_p) != (1.0, 1.0):
            raise ValueError(f"temperature and top_p must be left out unless do_sample is true but got "
                             f"{self.temperature:g} and {self.top_p:g}")  # fmt: skip
        if self.num_return_sequences > self.num_beams:
            got = f"{self.num_return_sequences} of {self.num_beams}"
            raise ValueError(f"num_return_sequences must be at most num_beams but got {got}")
        return self

    @property
    def tuning_method(self) -> str:
        return self.method.name

    @property
    def fields(self) -> dict[str, Any]:
        """All fields by the name of their column, including the fields of the tuning method."""
        method = self.method.model_dump()
        own = {**self.model_dump(exclude={"method"}), "prompt_template": as_text(self.prompt_template)}
        own["declared"] = self.declared.text if self.declared else None
        own["test_declared"] = self.test_declared.text if self.test_declared else None
        return {**own, "tuning_method": method.pop("name"), **method}

    @property
    def id(self) -> str:
        """Ten hex digits: a hash of all fields that differ from their defaults. A new field thus changes no id."""
        method = self.method.model_dump(exclude_defaults=True)
        method.pop("name", None)
        written = {**self.model_dump(exclude={"method"}, exclude_defaults=True), **method, "method": self.tuning_method}
        if self.declared:
            written["declared"] = self.declared.identity
        if self.test_declared:
            written["test_declared"] = self.test_declared.identity
        return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()[:10]

    @property
    def data(self) -> Dataset:
        """The dataset that is trained on, and that shots are drawn from: declared, built-in, or a mix of both."""
        return dataset_of(self.dataset, self.declared)

    @property
    def validated_data(self) -> Dataset:
        """The dataset whose validation split is answered: `data`, or of a mix the part that is tested."""
        data, tested = self.data, self.test_dataset
        return next((part for part in data.parts if part.name == tested), data)

    @property
    def test_data(self) -> Dataset:
        """The dataset whose test split is answered."""
        return dataset_of(self.test_dataset, self.test_declared) if self.test_dataset else self.data

    @property
    def data_name(self) -> str:
        """`toy`, or `toy->odex` for a trial that trains on one dataset and is tested on another."""
        return data_name(self.dataset, self.test_dataset)

    @property
    def base_key(self) -> tuple[str, str | None, str | None, Weights]:
        """Identifies the base model: trials with the same key can share one loaded model."""
        return self.model, self.model_path, self.model_revision, self.method.base_weights

    @property
    def label(self) -> str:
        """A short name for people. Several trials may have the same one."""
        shots = f" {self.method.num_shots}-shot" if self.method.num_shots else ""
        return f"{self.model} {self.data_name} {self.tuning_method}{shots}"


class SweepConfig(SearchFields, RunFields):
    """The top level of a sweep file. Grids are plain mappings here; `raypeft.study.plan` makes trials from them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$", description="Name of the sweep and of its folder of results")
    question: str | None = Field(None, description="What the sweep is to find out, in words. The report shows it")
    defaults: dict[str, Any] = Field({}, description="Fields of all grids. A grid may override them")
    grids: list[dict[str, Any]] = Field(
        min_length=1, description="Grids of trial fields. A list is an axis of the grid"
    )
    claims: list[dict[str, Any]] = Field(
        [], description="Statements that the sweep tests. The report says of each whether it is supported"
    )
    resources: Resources = Field(Resources(), description="What one trial may use")
    results: str = Field("results", min_length=1, description="Folder or URL for the results of all sweeps")
    report_to: Annotated[tuple[Tracker, ...], BeforeValidator(read_report_to)] = Field(
        (), description=f"Experiment trackers that are told of each trial, one or a list: {NAMES}"
    )
    datasets: dict[str, Declaration] = Field(
        {}, description="Datasets of your own: name -> where their rows are, and which columns hold what"
    )
    mixes: dict[str, Parts] = Field(
        {},
        description="Datasets to train on together: name -> a list of names, or of mappings of name, dataset_path and "
        "dataset_revision. Each is tested apart",
    )
    reuse: list[str] = Field(
        [],
        description="Names of other sweeps in the same results folder. Trials that one of them has finished are copied "
        "instead of being run; of those that ran out of GPU memory, the ones that had no less of it",
    )

    def run_options(self, force: bool = False, generate_only: bool = False) -> RunOptions:
        """How its trials are run."""
        said = {name: getattr(self, name) for name in RunFields.model_fields}
        return RunOptions(**said, force=force, generate_only=generate_only)

    @field_validator("datasets")
    @classmethod
    def _have_names_of_their_own(cls, value: dict[str, Declaration]) -> dict[str, Declaration]:
        for name in value:
            if name in DATASETS:
                raise ValueError(f"must not have the name of a built-in dataset but got {name}")
            if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
                raise ValueError(f"must have names of letters, digits, '_', '.' and '-' but got {name!r}")
        return value

    @field_validator("mixes")
    @classmethod
    def _are_named_apart(cls, value: dict[str, Parts], info: ValidationInfo) -> dict[str, Parts]:
        for name in value:
            if name in DATASETS or name in info.data.get("datasets", {}):
                raise ValueError(f"must not have the name of a dataset but got {name}")
            if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name):
                raise ValueError(f"must have names of letters, digits, '_', '.', '+' and '-' but got {name!r}")
        return value

    @field_validator("results")
    @classmethod
    def _is_a_place(cls, value: str) -> str:
        if problem := place_problem(value):
            raise ValueError(problem)
        return value


def place_problem(place: str) -> str | None:
    """Why results cannot be kept at a folder or URL, as far as its text tells. None if they can.

    A URL ends at a `#` for pyarrow, so that what follows would be lost.
    """
    if "://" in place and re.search(r"[#\s]", place):
        return f"must be a folder, or a URL without # and blanks (write %23 and %20 for them), but got {place!r}"
    return None


NOT_SET = ("method", "declared", "test_declared")
"""Fields of a trial that planning fills: tuning_method names the method, and `datasets` declares the data."""


def trial_fields() -> dict[str, Any]:
    """All trial fields that a sweep may set, with their FieldInfo; a field of several methods has the first one's."""
    fields: dict[str, Any] = {name: info for name, info in Trial.model_fields.items() if name not in NOT_SET}
    for method in METHODS.values():
        fields |= {name: info for name, info in method.model_fields.items() if name not in fields and name != "name"}
    return fields


def trial_columns() -> list[Column]:
    """The columns of the results for the trial fields. Types and descriptions come from the fields."""
    fields = trial_fields()
    order = ["model", "dataset", "tuning_method", "seed", *fields, "declared", "test_declared"]
    fields["tuning_method"] = FieldInfo(annotation=str, description=TUNING_METHOD)
    for name in ("declared", "test_declared"):
        fields[name] = FieldInfo(annotation=str, description=Trial.model_fields[name].description)
    return [
        Column(name, _kind(fields[name].annotation), fields[name].description or "") for name in dict.fromkeys(order)
    ]


def _kind(annotation: Any) -> Any:
    """The kind of column for the type of a field, which may be a Literal or a union with None."""
    options = [option for option in get_args(annotation) if option is not type(None)] or [annotation]
    if get_origin(annotation) is tuple or get_origin(options[0]) is tuple:
        return list[str]
    if get_origin(annotation) is Literal:
        return type(options[0])
    return type(get_args(options[0])[0]) if get_origin(options[0]) is Literal else options[0]
