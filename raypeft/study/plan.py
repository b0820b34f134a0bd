"""Makes the trials of a sweep. Loads no weights and does not import torch.

Of a model outside the model table only its config.json is read.

trials = plan_trials(load_config(path))
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from raypeft.data import dataset_of
from raypeft.data.declared.declaration import DeclaredData
from raypeft.methods import METHODS
from raypeft.models import kinds
from raypeft.models.table import chat_refusal, config_of, family_of, total_params
from raypeft.study.axes import grid_points
from raypeft.study.checking import LoadedSweep
from raypeft.study.config import Trial
from raypeft.study.datasets import misfits
from raypeft.study.idle_fields import fields_without_effect
from raypeft.study.sweepfile import ConfigError


def plan_trials(sweep: LoadedSweep) -> list[Trial]:
    """All trials of all grids, each once. Trials of one base model follow each other; else the file's order is kept.

    Raises ConfigError that lists all impossible combinations of values, each with the line of its grid.
    """
    trials: dict[str, Trial] = {}
    problems = list(fields_without_effect(sweep))
    for index, grid in enumerate(sweep.config.grids):
        for point in grid_points({**sweep.config.defaults, **grid}):
            where = f"{sweep.document.where(('grids', index))}: {point['tuning_method']}"
            try:
                trial = make_trial(point, sweep.declared)
            except ValidationError as error:
                problems.extend(f"{where}: {_message(problem)}" for problem in error.errors())
                continue
            if refusal := trial.method.refusal(family_of(trial.model, trial.model_path)):
                problems.append(f"{where}: {refusal}")
            beams = trial.num_beams > 1 and not trial.do_sample and (trial.decode or bool(trial.validation_limit))
            config = config_of(trial.model, trial.model_path)
            if refusal := kinds.problem(config, trial.tuning_method, beams):
                problems.append(f"{where}: {refusal}")
            if trial.prompt_form == "chat" and (refusal := chat_refusal(trial.model, trial.model_path)):
                problems.append(f"{where}: {refusal}")
            problems.extend(f"{where}: {problem}" for problem in misfits(trial))
            if trial.validation_limit and "reference" not in trial.data.judged_by:
                problems.append(f"{where}: validation_limit must be left out for {trial.dataset}, whose answers are "
                                f"judged by tests alone, but got {trial.validation_limit}")  # fmt: skip
            problems.extend(f"{where}: {problem}" for problem in unstorable(trial))
            trials.setdefault(trial.id, trial)
    if problems:
        raise ConfigError(sweep.document.source, list(dict.fromkeys(problems)))
    return _by_model(list(trials.values()))


def unstorable(trial: Trial) -> Iterator[str]:
    """What a row of the results cannot hold of a trial's fields: Parquet has integers of 64 bits, and Unicode text."""
    for name, value in trial.fields.items():
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            yield f"{name} must be an integer of 64 bits at most but got {value}"
        texts = [value] if isinstance(value, str) else value if isinstance(value, tuple) else []
        if any(re.search("[\0\ud800-\udfff]", text) for text in texts):
            yield f"{name} must be text without NUL and halves of surrogate pairs but got {value!r}"


def make_trial(point: dict[str, Any], datasets: Mapping[str, DeclaredData] = {}) -> Trial:
    """A trial from its fields. Fields of other methods, and fields without effect, are left out.

    `datasets` are those of the user's own.
    """
    name, declared = point["tuning_method"], datasets.get(point["dataset"], point.get("declared"))
    dataset = dataset_of(point["dataset"], declared)
    method, point = METHODS[name], _with_decoding(point, dataset.decoding)
    method_fields = {key: value for key, value in point.items() if key in method.model_fields and key != "name"}
    if point.get("fidelity") == "paper":
        method_fields = {**method.paper_defaults, **dataset.paper_defaults.get(name, {}), **method_fields}
    trial_fields = {key: value for key, value in point.items() if key in Trial.model_fields}
    idle = method(**method_fields).idle_fields
    effective = {key: value for key, value in method_fields.items() if key not in idle}
    return Trial(**{**trial_fields, "declared": declared}, method=method(**effective))


def _with_decoding(point: dict[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Add the dataset's defaults for decoding. They are meant for sampling, so beam search does not use them."""
    if not usual or point.get("do_sample", True) != usual["do_sample"]:
        return point
    # A number of beams in the sweep is meant for its other datasets.
    beams = {} if "do_sample" in point else {"num_beams": usual["num_beams"]}
    return {**usual, **point, **beams}


def parameter_counts(trial: Trial) -> dict[str, int | None]:
    """`trainable_params` and `total_params` (base and adapter, unquantised) of a trial, without loading a model.

    They follow from the sizes of the model. None if neither the model table nor a local config.json has these sizes.
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


def _by_model(trials: list[Trial]) -> list[Trial]:
    """Trials ordered so that those that can share a loaded base follow each other."""
    order: dict[tuple[Any, ...], int] = {}
    for trial in trials:
        order.setdefault(trial.base_key, len(order))
    return sorted(trials, key=lambda trial: order[trial.base_key])


def _message(problem: Any) -> str:
    field = ".".join(str(part) for part in problem["loc"] if part != "method")
    text = re.sub(r"^\w+ should", "must", problem["msg"].removeprefix("Value error, "))
    says_what_it_got = " but got " in text or isinstance(problem["input"], dict)
    got = "" if says_what_it_got else f" but got {problem['input']!r}"
    return f"{field + ': ' if field else ''}{text}{got}"
