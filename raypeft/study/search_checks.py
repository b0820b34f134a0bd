"""Mistakes in the part of a sweep file that makes it a search, each with its line.

for problem in search_problems(document): ...
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Annotated, Any

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from raypeft.metrics.scoring import declared_scores, score_columns
from raypeft.mistakes import nearest
from raypeft.study.axes import fields_of
from raypeft.study.config import trial_fields
from raypeft.study.parameters import Goal, Parameter, SearchFields, read_goal, read_parameter
from raypeft.study.sweepfile import Document, Place
from raypeft.study.values import explain, is_axis, value_problems

PARAMETERS = TypeAdapter(dict[str, Annotated[Parameter, BeforeValidator(read_parameter)]])
VALIDATION = "_validation"
"""The end of the names of scores on the validation split."""
CONDITIONS = ("model", "model_path", "model_revision", "dataset", "dataset_path", "dataset_revision", "test_dataset",
              "test_dataset_path", "test_dataset_revision", "tuning_method", "fidelity")  # fmt: skip
MEASURES = ("limit", "test_limit", "validation_limit", "decode", "max_length")
CONDITION = "is a condition of the study: put its values in a grid, and each of them is searched at equal cost"
SEED = "is chance: a search would choose the luckiest seed; put seeds in a grid, or run the best configuration again"
MEASURE = "changes what the metric is measured on, so that its values cannot be compared"
UNSEARCHABLE = {**dict.fromkeys(CONDITIONS, CONDITION), "seed": SEED, **dict.fromkeys(MEASURES, MEASURE)}
"""Field -> why a search may not choose it."""


def search_problems(document: Document) -> Iterator[str]:
    """What is wrong with the keys of `SearchFields` and with the grids' own parameters."""
    data = document.data
    grids = data.get("grids") if isinstance(data.get("grids"), list) else []
    own = {index: grid["parameters"] for index, grid in enumerate(grids)
           if isinstance(grid, dict) and "parameters" in grid}  # fmt: skip
    if not data.get("search"):
        for name in SearchFields.model_fields:
            if name in data and name not in ("search", "max_concurrent_trials", "time_budget_hours"):
                yield f"{document.where((name,))}: has no effect without search: random or search: optuna"
        for index in own:
            yield f"{document.where(('grids', index, 'parameters'))}: has no effect without search: random or optuna"
        return
    if not data.get("parameters") and not own:
        yield f"{document.where(('search',))}: needs parameters: the fields to search over, here or in a grid"
    if "num_samples" not in data:
        yield f"{document.where(('search',))}: needs num_samples: the number of trials at each point of the grids"
    if data["search"] == "optuna":
        yield from _optuna_problems(document)
    yield from _metric_problems(document)
    yield from _parameter_problems(document, ("parameters",), data.get("parameters"), data.get("defaults") or {})
    for index, parameters in own.items():
        yield from _shape_problems(document, ("grids", index, "parameters"), parameters)
        yield from _parameter_problems(document, ("grids", index, "parameters"), parameters,
                                       {**(data.get("defaults") or {}), **fields_of(grids[index])})  # fmt: skip


def _optuna_problems(document: Document) -> Iterator[str]:
    if find_spec("optuna") is None:
        yield f"{document.where(('search',))}: optuna must be installed but is not: pip install 'raypeft[optuna]'"
    if document.data.get("claims"):
        yield (f"{document.where(('claims',))}: must be left out with search: optuna, whose trials are not known "
               "before it runs; test claims in a sweep file of their own, with this one under reuse")  # fmt: skip


def _metric_problems(document: Document) -> Iterator[str]:
    try:
        goal = Goal.model_validate(read_goal(document.data.get("metric", {})))
    except ValueError:
        return  # the file's own check reports it
    known = validation_scores()
    if goal.name in ("eval_loss", "best_eval_loss", *known):
        if goal.goal and (goal.goal == "minimize") != lower_is_better(goal):
            better = "lower" if lower_is_better(goal) else "higher"
            yield (
                f"{document.where(('metric', 'goal'))}: must be left out, or agree with the figure, but got "
                f"{goal.goal}: a {better} {goal.name} is better, so the search would look for the worst"
            )
        return
    place = document.where(("metric", "name"))
    if f"{goal.name}{VALIDATION}" in known or goal.name == "test_loss":
        instead = "eval_loss" if goal.name == "test_loss" else f"{goal.name}{VALIDATION}, with validation_limit"
        yield (f"{place}: must be a figure of the validation split but got {goal.name}: the test score of a "
               f"configuration that was chosen by it would be too high; write {instead}")  # fmt: skip
    else:
        yield (f"{place}: must be eval_loss or a score on the validation split, such as em_at_1{VALIDATION}, but got "
               f"{goal.name!r}{nearest(goal.name, ['eval_loss', *known])}")  # fmt: skip


def lower_is_better(metric: Goal) -> bool:
    """By the definition of the figure; a `goal` that says otherwise is refused."""
    higher = {score.name: score.higher_is_better for score in declared_scores()}
    return not higher.get(metric.column.removesuffix(VALIDATION), False)


def validation_scores() -> list[str]:
    """The columns of scores on the validation split."""
    return [column.name for column in score_columns() if column.name.endswith(VALIDATION)]


def _shape_problems(document: Document, place: Place, parameters: Any) -> Iterator[str]:
    """Mistakes in the form of a grid's own parameters; those of the sweep are checked with its other keys."""
    try:
        PARAMETERS.validate_python(parameters)
    except ValidationError as error:
        for problem in error.errors():
            yield explain(document, (*place, *problem["loc"]), problem, Parameter.model_fields)


def _parameter_problems(document: Document, place: Place, parameters: Any, fixed: Mapping[str, Any]) -> Iterator[str]:
    """Fields that are unknown, may not be searched, are set beside the search, or cannot have such values."""
    for name, given in parameters.items() if isinstance(parameters, dict) else ():
        where = document.where((*place, name))
        if name not in trial_fields() and name not in UNSEARCHABLE:
            yield f"{where}: unknown key{nearest(name, trial_fields())}"
        elif name in UNSEARCHABLE:
            yield f"{where}: must not be searched over: it {UNSEARCHABLE[name]}"
        elif name in fixed:
            yield f"{where}: must be searched over or set in the grid or the defaults, not both"
        elif isinstance(given, list) and not is_axis(name, given):
            yield (f"{where}: must be given as values: [...], since one {name} is a list itself: values: "
                   f"[{json.dumps(given)}, ...]")  # fmt: skip
        else:
            yield from _value_problems(document, (*place, name), name, given)


def _value_problems(document: Document, place: Place, name: str, given: Any) -> Iterator[str]:
    """The values of a parameter that its field does not take."""
    try:
        parameter = Parameter.model_validate(read_parameter(given))
    except ValidationError:
        return  # reported with its form
    if parameter.values is not None:
        for index, value in enumerate(parameter.values):
            yield from value_problems(document, (*place, "values", index), name, value)
        return
    low, high = parameter.range
    for value in (low, high, parameter.settled(0.37 * low + 0.63 * high)):
        if found := list(value_problems(document, place, name, value)):
            whole = " (distribution: int, or q_log_uniform with q: 1)" if "integer" in found[0] else ""
            yield f"{found[0]}{whole}"
            return


def parameters_in(grid: Mapping[str, Any]) -> dict[str, Parameter]:
    """The parameters of a grid that was checked."""
    return PARAMETERS.validate_python(grid.get("parameters") or {})
