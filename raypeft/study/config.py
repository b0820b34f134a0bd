"""The typed form of a sweep file: `SweepConfig`, `Trial` and what a trial may take.

A sweep is a list of grids; `raypeft.study.checking` reads and checks it, `raypeft.study.plan` turns it into trials.
None of them imports torch.
"""

import hashlib
import json
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from raypeft.methods import METHODS, TuningMethod
from raypeft.models.table import Weights
from raypeft.records import Column
from raypeft.sandbox import Limits, SandboxSettings


class Trial(BaseModel):
    """One model + dataset + tuning method + hyperparameters + seed. A field is a column of the results."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    model: str = Field(description="a name of the model table, a hub id, or a local folder or GGUF file")
    model_path: str | None = Field(None, description="where the model's weights lie, if not at its home")
    model_revision: str | None = Field(None, description="branch, tag or commit of the model on the hub, as asked for")
    dataset: str = Field(description="a dataset's name")
    dataset_path: str | None = Field(None, description="folder or URL of the dataset's splits, if not its home")
    dataset_revision: str | None = Field(
        None, description="branch, tag or commit of the dataset on the hub, as asked for"
    )
    method: TuningMethod
    fidelity: Literal["corrected", "paper"] = Field(
        "corrected", description="what the paper's text describes, or what its code did"
    )
    seed: int = Field(42, ge=0, description="seed of data order, adapter initialisation and dropout")
    limit: int | None = Field(None, ge=1, description="examples kept of each split, a seeded sample; None: all")
    test_limit: int | None = Field(None, ge=1, description="examples kept of the test split, at most")
    decode: bool = Field(
        True, description="whether the test split is answered; false: train and measure losses only, at half the cost"
    )
    num_beams: int = Field(10, ge=1, description="beams of beam search")
    num_return_sequences: int = Field(10, ge=1, description="candidates for each example")
    do_sample: bool = Field(False, description="draw candidates at random, by the trial's seed, instead of beam search")
    temperature: float = Field(1.0, gt=0, description="samples: below 1, likely tokens grow likelier")
    top_p: float = Field(1.0, gt=0, le=1, description="samples: the share of probability that tokens are drawn from")
    max_new_tokens: int | None = Field(None, ge=1, description="longest answer in tokens; None: the dataset's")
    max_length: int | None = Field(
        None, ge=1, description="training texts of more tokens are left out; None: the dataset's bound, if it has one"
    )

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
        """Every field by its column's name, the method's own among them."""
        method = self.method.model_dump()
        return {**self.model_dump(exclude={"method"}), "tuning_method": method.pop("name"), **method}

    @property
    def id(self) -> str:
        """Ten hex digits of the canonical JSON without fields at their defaults, so that a new field changes no id."""
        method = self.method.model_dump(exclude_defaults=True)
        method.pop("name", None)
        written = {**self.model_dump(exclude={"method"}, exclude_defaults=True), **method, "method": self.tuning_method}
        return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()[:10]

    @property
    def base_key(self) -> tuple[str, str | None, str | None, Weights]:
        """What a loaded base model must match to serve this trial: model, path, revision, how its weights are held."""
        return self.model, self.model_path, self.model_revision, self.method.base_weights

    @property
    def label(self) -> str:
        """A short name for people: what sets most trials apart."""
        shots = f" {self.method.num_shots}-shot" if self.method.num_shots else ""
        return f"{self.model} {self.dataset} {self.tuning_method}{shots}"


class Resources(BaseModel):
    """What one trial may take."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    gpu_memory_gb: float = Field(24, gt=0, description="budget of one trial, in GiB (2**30 bytes)")
    cpus_per_trial: int = Field(2, ge=1, description="CPU cores (and torch threads) of a trial where there is no GPU")
    generation_batch_size: int = Field(16, ge=1, description="examples decoded at once; halved when memory runs out")


class SandboxOptions(BaseModel):
    """How candidates of a dataset with tests are run. `raypeft.sandbox` says what the tiers are."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    tier: Literal["auto", "A", "B", "C", "U"] = Field("auto", description="isolation; auto: the best that holds here")
    seconds_per_test: float = Field(4.0, ge=0.01, le=3600, description="CPU seconds; sleeping is limited as well")
    memory_mb: int = Field(1024, ge=64, le=1 << 20, description="address space of a program, in MiB")
    stop: Literal["first_fail"] | None = Field(
        None, description="leave out a candidate's tests after its first failure; avg_tests_passed is then unknown"
    )
    workers: int | None = Field(None, ge=1, description="programs run at once on a cluster; None: one a CPU core")
    allow_unsafe_execution: bool = Field(False, description="run programs even where the machine gives no isolation")

    @property
    def settings(self) -> SandboxSettings:
        limits = Limits(seconds_per_test=self.seconds_per_test, memory_mb=self.memory_mb)
        return SandboxSettings(limits, self.tier, self.stop, self.allow_unsafe_execution)


class RunOptions(BaseModel):
    """How trials are run; none of it is part of a trial's identity."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    force: bool = False
    """Run trials that are predicted not to fit their GPU memory."""
    generate_only: bool = False
    """Store candidates and leave the scores to `raypeft score`."""
    sandbox: SandboxOptions = SandboxOptions()


class SweepConfig(BaseModel):
    """A sweep file, checked field by field. `grids` hold plain values: `raypeft.study.plan` builds the trials."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$")
    defaults: dict[str, Any] = Field(default_factory=dict)
    grids: list[dict[str, Any]] = Field(min_length=1)
    resources: Resources = Resources()
    sandbox: SandboxOptions = SandboxOptions()
    results: str = "results"


def trial_fields() -> dict[str, Any]:
    """Every trial field a sweep may set, by name, as pydantic's FieldInfo; the first method with a field gives it."""
    fields: dict[str, Any] = {name: info for name, info in Trial.model_fields.items() if name != "method"}
    for method in METHODS.values():
        fields |= {name: info for name, info in method.model_fields.items() if name not in fields and name != "name"}
    return fields


def trial_columns() -> list[Column]:
    """The results' columns for the trial fields, typed and described from the fields themselves."""
    fields = trial_fields()
    order = ["model", "dataset", "tuning_method", "seed", *fields]
    fields["tuning_method"] = FieldInfo(annotation=str, description="how the model is specialised")
    return [
        Column(name, _kind(fields[name].annotation), fields[name].description or "") for name in dict.fromkeys(order)
    ]


def _kind(annotation: Any) -> Any:
    """The kind of column for a field's type, a union with None or a Literal included."""
    options = [option for option in get_args(annotation) if option is not type(None)] or [annotation]
    if get_origin(annotation) is tuple or get_origin(options[0]) is tuple:
        return list[str]
    return type(options[0]) if get_origin(annotation) is Literal else options[0]
