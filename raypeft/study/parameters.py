"""What a sweep searches over, in the words of W&B's sweeps: `parameters`, and the fields around them.

    parameters:
      learning_rate: {min: 1.0e-4, max: 1.0e-2, distribution: log_uniform}
      lora_r: {values: [4, 8, 16, 32]}

`raypeft.study.searching` makes trials of them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

DIGITS = 3
"""Significant digits of a number that is drawn: enough for any field, and short enough to be read and typed."""
Distribution = Literal[
    "categorical", "uniform", "log_uniform", "log_uniform_values", "int", "int_uniform", "q_uniform", "q_log_uniform",
    "q_log_uniform_values",
]  # fmt: skip


class Parameter(BaseModel):
    """The values that a search may give to one field."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    values: tuple[Any, ...] | None = Field(None, min_length=1, description="The values to choose from")
    min: float | int | None = Field(None, description="The smallest value")
    max: float | int | None = Field(None, description="The largest value")
    distribution: Distribution | None = Field(
        None,
        description="How values between min and max are drawn. log_uniform: evenly on a logarithmic scale between min "
        "and max themselves (W&B's log_uniform_values, not its exponents); q_...: multiples of q. null: int if min and "
        "max are integers, else uniform",
    )
    q: float | int | None = Field(None, gt=0, description="With a q_... distribution: values are multiples of q")

    @model_validator(mode="after")
    def _is_whole(self) -> Parameter:
        if self.values is not None:
            if self.distribution not in (None, "categorical") or (self.min, self.max, self.q) != (None, None, None):
                raise ValueError("must have values alone, or min and max with their distribution, but got both")
            return self
        if self.min is None or self.max is None or self.distribution == "categorical":
            raise ValueError("must have values: [...], or min and max")
        if self.min >= self.max:
            raise ValueError(f"min must be below max but got {self.min:g} and {self.max:g}")
        if self.is_log and self.min <= 0:
            raise ValueError(f"min must be above 0 on a logarithmic scale but got {self.min:g} (min and max are the "
                             f"values themselves, not their exponents)")  # fmt: skip
        if self.is_int and not (float(self.min).is_integer() and float(self.max).is_integer()):
            raise ValueError(f"min and max of an int must be integers but got {self.min:g} and {self.max:g}")
        if self.kind.startswith("q_") != (self.q is not None):
            raise ValueError(f"q must be given with a q_... distribution, and with no other, but got {self.kind} and "
                             f"{'no q' if self.q is None else f'q {self.q:g}'}")  # fmt: skip
        if self.q is not None and math.ceil(self.min / self.q) * self.q > self.max:
            raise ValueError(f"a multiple of q must lie between min and max but got q {self.q:g}")
        return self

    @property
    def kind(self) -> str:
        """The distribution, chosen if none is given."""
        if self.values is not None:
            return "categorical"
        return self.distribution or ("int" if isinstance(self.min, int) and isinstance(self.max, int) else "uniform")

    @property
    def is_log(self) -> bool:
        return "log" in self.kind

    @property
    def is_int(self) -> bool:
        return self.kind in ("int", "int_uniform")

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest value of a parameter with min and max."""
        assert self.min is not None and self.max is not None
        return self.min, self.max

    @property
    def ends(self) -> tuple[Any, Any]:
        """The first and the last value."""
        if self.values is not None:
            return self.values[0], self.values[-1]
        low, high = self.range
        return self.settled(low), self.settled(high)

    @property
    def count(self) -> float:
        """How many values there are; infinite for numbers that are not multiples of q."""
        if self.values is not None:
            return len({repr(each) for each in self.values})
        low, high = self.range
        if self.is_int:
            return int(high) - int(low) + 1
        return math.inf if self.q is None else math.floor(high / self.q) - math.ceil(low / self.q) + 1

    def draw(self, chance: random.Random) -> Any:
        """One value, drawn at random."""
        if self.values is not None:
            return chance.choice(self.values)
        low, high = self.range
        if self.is_int:
            return chance.randint(int(low), int(high))
        if self.is_log:
            return self.settled(math.exp(chance.uniform(math.log(low), math.log(high))))
        return self.settled(chance.uniform(low, high))

    def settled(self, value: float) -> float | int:
        """The value that a trial gets for a number between min and max: a multiple of q, or of few digits."""
        low, high = self.range
        if self.is_int:
            return int(value)
        if self.q is not None:
            lowest, highest = math.ceil(low / self.q), math.floor(high / self.q)
            count = min(max(round(value / self.q), lowest), highest)
            return count * self.q if isinstance(self.q, int) else float(f"{count * self.q:.{2 * DIGITS}g}")
        return min(max(float(f"{value:.{DIGITS}g}"), low), high)

    def quantile(self, value: float) -> float:
        """Where a value lies between min (0) and max (1), on the scale on which values are drawn."""
        low, high = self.range
        if self.is_log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low)

    def holds(self, value: Any) -> bool:
        """Whether a search may give this value."""
        if self.values is not None:
            return any(_same(value, each) for each in self.values)
        low, high = self.range
        return isinstance(value, (int, float)) and low <= value <= high

    @property
    def words(self) -> str:
        """For people: `1e-05 to 0.01 (log_uniform)`."""
        if self.values is not None:
            return f"one of {', '.join(map(_text, self.values))}"
        low, high = self.range
        return f"{low:g} to {high:g} ({self.kind}{f', q {self.q:g}' if self.q is not None else ''})"


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same, where one of them was stored as JSON."""
    return (list(one) if isinstance(one, tuple) else one) == (list(other) if isinstance(other, tuple) else other)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def read_parameter(value: Any) -> Any:
    """A list stands for `values`, a single value for a list of one."""
    if isinstance(value, (Mapping, Parameter)):
        if isinstance(value, Mapping) and set(value) == {"value"}:
            return {"values": [value["value"]]}
        return value
    return {"values": value if isinstance(value, list) else [value]}


class Goal(BaseModel):
    """What a search looks for."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(
        "eval_loss",
        description="A figure of the validation split: eval_loss (of the best evaluation), or a score with "
        "validation_limit, such as em_at_1_validation",
    )
    goal: Literal["minimize", "maximize"] | None = Field(
        None, description="null: what is better by the definition of the figure, which is all that is accepted"
    )

    @property
    def column(self) -> str:
        """The column of a trial's row that holds it."""
        return "best_eval_loss" if self.name == "eval_loss" else self.name


class Asha(BaseModel):
    """Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934): trials that lag behind are stopped early."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Literal["asha"] = Field("asha", description="The scheduler")
    grace_period: float = Field(
        0.12,
        gt=0,
        lt=1,
        description="Share of its training after which a trial may be stopped for the first time (the first rung)",
    )
    reduction_factor: float = Field(
        3,
        gt=1,
        description="Of the trials that reach a rung (a step at which trials are compared), one in so many goes on; "
        "each rung comes after so many times as many steps as the one before",
    )


def read_search(value: Any) -> Any:
    """The kinds of search that other tools have are answered with what is nearest here."""
    if value == "grid":
        raise ValueError("must be left out to try all points of the grids, but got 'grid'")
    if value in ("bayes", "bayesian", "tpe"):
        raise ValueError(f"must be optuna, whose TPE is a Bayesian search, but got {value!r}")
    return value


def read_goal(value: Any) -> Any:
    """A name stands for the figure, better by its definition."""
    if not isinstance(value, (str, Mapping, Goal)):
        raise ValueError(f"must be a figure such as eval_loss, or a mapping with its name, but got {value!r}")
    return {"name": value} if isinstance(value, str) else value


def read_scheduler(value: Any) -> Any:
    """`asha` stands for the scheduler with its defaults."""
    if value is not None and not isinstance(value, (str, Mapping, Asha)):
        raise ValueError(f"must be asha, or a mapping such as {{name: asha, grace_period: 0.12}}, but got {value!r}")
    return {"name": value} if isinstance(value, str) else value


class SearchFields(BaseModel):
    """The keys of a sweep file that make it a search."""

    search: Annotated[Literal["random", "optuna"] | None, BeforeValidator(read_search)] = Field(
        None,
        description="Search over `parameters` at each point of the grids. random: all trials are drawn beforehand; "
        "optuna: each trial is suggested by Optuna's TPE from those that have ended. null: the grids are all trials",
    )
    parameters: dict[str, Annotated[Parameter, BeforeValidator(read_parameter)]] = Field(
        {}, description="Field -> the values that the search may give it. A grid may have parameters of its own"
    )
    num_samples: int | None = Field(
        None, ge=1, le=100_000, description="Number of trials of the search at each point of the grids"
    )
    search_seed: int = Field(0, ge=0, description="Random seed of the search")
    metric: Annotated[Goal, BeforeValidator(read_goal)] = Field(Goal(), description="What the search looks for")
    scheduler: Annotated[Asha | None, BeforeValidator(read_scheduler)] = Field(
        None, description="asha: stop trials early that lag behind others of the same search. null: none is stopped"
    )
    max_concurrent_trials: int | None = Field(
        None, ge=1, description="Most trials that run at the same time. null: as many as there is room for"
    )
    time_budget_hours: float | None = Field(
        None,
        gt=0,
        description="After so many hours the command saves what runs, and ends; the same command goes on. "
        "null: no limit",
    )
