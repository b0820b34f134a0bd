"""SweepConfig -> list[Trial]. No torch and no weights; of a model outside the table, its config.json.

trials = plan_trials(load_config(path))
"""

import re
from collections.abc import Mapping
from itertools import product
from typing import Any

from pydantic import ValidationError

from raypeft.data import DATASETS
from raypeft.methods import METHODS
from raypeft.models.table import family_of, total_params
from raypeft.study.checking import LoadedSweep, as_axis
from raypeft.study.config import Trial
from raypeft.study.sweepfile import ConfigError


def plan_trials(sweep: LoadedSweep) -> list[Trial]:
    """Every trial of every grid, in the file's order, equal ones merged; trials of one model stand together.

    Raises ConfigError with every trial that cannot be (values that do not go together), each named by its grid's line.
    """
    trials: dict[str, Trial] = {}
    problems: list[str] = []
    for index, grid in enumerate(sweep.config.grids):
        for point in grid_points({**sweep.config.defaults, **grid}):
            where = f"{sweep.document.where(('grids', index))}: {point['tuning_method']}"
            try:
                trial = make_trial(point)
            except ValidationError as error:
                problems.extend(f"{where}: {_message(problem)}" for problem in error.errors())
                continue
            if refusal := trial.method.refusal(family_of(trial.model, trial.model_path)):
                problems.append(f"{where}: {refusal}")
            trials.setdefault(trial.id, trial)
    if problems:
        raise ConfigError(sweep.document.source, list(dict.fromkeys(problems)))
    return _by_model(list(trials.values()))


def grid_points(grid: dict[str, Any]) -> list[dict[str, Any]]:
    """The product of a grid's axes as flat mappings from field to value; an axis entry may set several fields."""
    axes = [[_settings(key, entry) for entry in as_axis(key, value)] for key, value in grid.items()]
    points = []
    for settings in product(*axes):
        # A value coupled to an axis entry is the more particular one, so it is laid over the plain ones.
        points.append({key: value for setting in sorted(settings, key=len) for key, value in setting.items()})
    return points


def make_trial(point: dict[str, Any]) -> Trial:
    """A trial from flat fields; those of methods other than its own, and those without effect, are left out."""
    method = METHODS[point["tuning_method"]]
    point = _with_decoding(point, DATASETS[point["dataset"]].decoding)
    own = {key: value for key, value in point.items() if key in method.model_fields and key != "name"}
    if point.get("fidelity") == "paper":
        own = {**method.paper_defaults, **own}
    rest = {key: value for key, value in point.items() if key in Trial.model_fields}
    idle = method(**own).idle_fields
    return Trial(**rest, method=method(**{key: value for key, value in own.items() if key not in idle}))


def _with_decoding(point: dict[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """The point's fields over the dataset's usual ones, which are for sampling, unless it asks for beam search."""
    if not usual or point.get("do_sample", True) != usual["do_sample"]:
        return point
    # Beams that were meant for the sweep's other datasets are none of this one's.
    beams = {} if "do_sample" in point else {"num_beams": usual["num_beams"]}
    return {**usual, **point, **beams}


def parameter_counts(trial: Trial) -> dict[str, int | None]:
    """`trainable_params` and `total_params` (base and adapter, unquantised) of a trial, without loading anything.

    By closed formula from the sizes of the model; None where neither the table nor a config.json at hand has them.
    """
    architecture = family_of(trial.model, trial.model_path).architecture
    if architecture is None:
        base = total_params(trial.model, trial.model_path)
        return {
            "trainable_params": None if trial.method.trains else 0,
            "total_params": None if trial.method.trains else base,
        }
    return {
        "trainable_params": trial.method.trainable_params(architecture),
        "total_params": architecture.total_params + trial.method.added_params(architecture),
    }


def _settings(key: str, entry: Any) -> dict[str, Any]:
    """One axis entry as the fields that it sets: `full`, or `{name: ia3, learning_rate: 3e-3}`."""
    if not isinstance(entry, dict):
        return {key: entry}
    return {key: entry["name"], **{other: value for other, value in entry.items() if other != "name"}}


def _by_model(trials: list[Trial]) -> list[Trial]:
    """Trials that can share a loaded base one after the other, otherwise in the order they were written."""
    order: dict[tuple[Any, ...], int] = {}
    for trial in trials:
        order.setdefault(trial.base_key, len(order))
    return sorted(trials, key=lambda trial: order[trial.base_key])


def _message(problem: Any) -> str:
    field = ".".join(str(part) for part in problem["loc"] if part != "method")
    text = re.sub(r"^\w+ should", "must", problem["msg"].removeprefix("Value error, "))
    told = " but got " in text or isinstance(problem["input"], dict)
    got = "" if told else f" but got {problem['input']!r}"
    return f"{field + ': ' if field else ''}{text}{got}"
