"""Makes the trials of a sweep, and finds where it searches for more. Loads no weights and does not import torch.

Of a model outside the model table only its config.json is read.

trials = plan_trials(load_config(path))
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from raypeft.data.declared.declaration import DeclaredData
from raypeft.data.declared.mix import MixedData
from raypeft.methods import METHODS, TrainedMethod
from raypeft.models import kinds
from raypeft.models.table import chat_refusal, config_of, family_of, looked_up_once, total_params
from raypeft.study.axes import fields_of, rival_settings
from raypeft.study.checking import LoadedSweep
from raypeft.study.config import Trial
from raypeft.study.datasets import misfits
from raypeft.study.idle_fields import fields_without_effect
from raypeft.study.parameters import Goal
from raypeft.study.searching import SearchPoint, grid_searches, search_key, search_points
from raypeft.study.sweepfile import ConfigError
from raypeft.study.trials import make_trial


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sweep runs."""

    trials: list[Trial]
    """All trials that are known beforehand, each once."""
    searches: list[SearchPoint]
    """Where the sweep searches."""
    is_suggested: bool
    """Whether Optuna suggests the trials of the searches while the sweep runs."""
    search_of: dict[str, str]
    """Trial id -> the key of its search, of the trials of a random search."""

    @property
    def suggesting(self) -> list[SearchPoint]:
        """The searches whose trials are not known beforehand."""
        return self.searches if self.is_suggested else []

    @property
    def total(self) -> int:
        """Number of trials at most."""
        return len(self.trials) + self.unsuggested({})

    def unsuggested(self, stored: Mapping[str, Mapping[str, Any]]) -> int:
        """Number of trials that the searches have still to suggest, beside those of a stored plan. One search with
        more than it now asks for takes nothing from another.
        """
        return sum(max(0, point.most - len(point.known(stored))) for point in self.suggesting)


def plan_trials(sweep: LoadedSweep) -> list[Trial]:
    """The trials of `plan_sweep` that are known beforehand."""
    return plan_sweep(sweep).trials


@looked_up_once()
def plan_sweep(sweep: LoadedSweep) -> Plan:
    """All trials of all grids, each once, those of a random search among them. Trials of one base model follow each
    other; else the file's order is kept.

    Raises ConfigError that lists all impossible combinations of values, each with the line of its grid.
    """
    problems = [*fields_without_effect(sweep), *_rivals(sweep), *_untaken(sweep)]
    searches, search_of = {search.key: search for search in search_points(sweep)}, {}
    trials: dict[str, Trial] = {}
    for where, point, parameters in grid_searches(sweep):
        key = search_key(point, parameters) if parameters else ""
        made, found = _search_trials(searches[key], sweep) if parameters else _attempt(point, sweep.declared)
        problems.extend(f"{where}: {problem}" for problem in found)
        if parameters and sweep.config.search != "random":
            continue
        for trial in made:
            trials.setdefault(trial.id, trial)
            if parameters:
                search_of[trial.id] = key
    if problems:
        raise ConfigError(sweep.document.source, list(dict.fromkeys(problems)))
    is_suggested = sweep.config.search == "optuna"
    return Plan(_by_model(list(trials.values())), list(searches.values()), is_suggested, search_of)


def _attempt(fields: dict[str, Any], declared: Mapping[str, DeclaredData | MixedData]) -> tuple[list[Trial], list[str]]:
    """The trial with these fields if it can be made, and all reasons why it cannot be made or run."""
    try:
        trial = make_trial(fields, declared)
    except ValidationError as error:
        return [], [_message(problem) for problem in error.errors()]
    return [trial], list(trial_problems(trial))


def _search_trials(search: SearchPoint, sweep: LoadedSweep) -> tuple[list[Trial], list[str]]:
    """The trials that a search draws (of Optuna's: some that it may suggest), and what is wrong with the search."""
    configurations = search.drawn() if sweep.config.search == "random" else search.examples()
    attempts = [(values, *_attempt({**search.fixed, **values}, sweep.declared)) for values in configurations]
    trials = [trial for _, made, _ in attempts for trial in made]
    problems = [*_goal_problems(search, sweep.config.metric)]
    if sweep.config.scheduler:
        problems += _halving_problems(search, trials)
    failed = [(values, found) for values, _, found in attempts if found]
    for why in dict.fromkeys(each for _, found in failed for each in found):
        values = next(values for values, found in failed if why in found)
        count = sum(why in found for _, found in failed)
        told = ", ".join(f"{name} {value}" for name, value in values.items())
        problems.append(why if count == len(attempts) else f"{count} of {len(attempts)} configurations that the search "
                        f"may draw cannot run, such as {told}: {why}; narrow the ranges, or search over values that do "
                        f"not fit each other in two grids")  # fmt: skip
    return trials, problems


def trial_problems(trial: Trial) -> Iterator[str]:
    """Why a trial cannot run, as far as its fields and the model's configuration tell."""
    if refusal := trial.method.refusal(family_of(trial.model, trial.model_path)):
        yield refusal
    beams = trial.num_beams > 1 and not trial.do_sample and (trial.decode or bool(trial.validation_limit))
    if refusal := kinds.problem(config_of(trial.model, trial.model_path), trial.tuning_method, beams):
        yield refusal
    if trial.prompt_form == "chat" and (refusal := chat_refusal(trial.model, trial.model_path)):
        yield refusal
    yield from misfits(trial)
    yield from _without_room(trial)
    if trial.validation_limit and "reference" not in trial.validated_data.judged_by:
        yield (f"validation_limit must be left out for {trial.validated_data.name}, whose answers are judged by tests "
               f"alone, but got {trial.validation_limit}")  # fmt: skip
    yield from unstorable(trial)


def _without_room(trial: Trial) -> Iterator[str]:
    """Why no prompt can fit the model's context beside virtual tokens and answer, where planning knows the context."""
    architecture = family_of(trial.model, trial.model_path).architecture
    if architecture is None or architecture.context_length is None or architecture.is_encoder_decoder:
        return
    fields = {"num_virtual_tokens": getattr(trial.method, "num_virtual_tokens", 0)}
    if trial.decode or trial.validation_limit:
        fields["max_new_tokens"] = trial.max_new_tokens or trial.test_data.max_new_tokens or 0
    taken = {name: value for name, value in fields.items() if value}
    if sum(taken.values()) >= architecture.context_length:
        yield (f"{' and '.join(taken)} must leave room for a prompt in the model's context of "
               f"{architecture.context_length} tokens but got {' and '.join(map(str, taken.values()))}")  # fmt: skip


def _rivals(sweep: LoadedSweep) -> Iterator[str]:
    """Fields that two mappings of a grid set differently."""
    for index, grid in enumerate(sweep.config.grids):
        for one, other, field in rival_settings({**sweep.config.defaults, **fields_of(grid)}):
            yield (f"{sweep.document.where(('grids', index))}: {field} must be set alike by the mappings of a trial, "
                   f"but mappings of {one} and of {other} set it differently; leave it out of one of them, or write "
                   f"two grids")  # fmt: skip


def _untaken(sweep: LoadedSweep) -> Iterator[str]:
    """Parameters that no trial of the sweep takes."""
    taken = {name for search in search_points(sweep) for name in search.parameters}
    named: list[tuple[str | int, ...]] = [("parameters", name) for name in sweep.config.parameters]
    for index, grid in enumerate(sweep.config.grids):
        named += [("grids", index, "parameters", name) for name in grid.get("parameters") or ()]
    for *place, name in named:
        if name not in taken:
            yield (f"{sweep.document.where((*place, name))}: no trial is searched over it: either no chosen method "
                   f"takes {name}, or every grid sets it")  # fmt: skip


def _goal_problems(search: SearchPoint, goal: Goal) -> Iterator[str]:
    """Why a search has no figure to go by."""
    trains = METHODS[search.fixed["tuning_method"]].trains
    if goal.column == "best_eval_loss" and not trains:
        yield (f"a search over {', '.join(search.parameters)} needs a metric such as em_at_1_validation, with "
               f"validation_limit: {search.fixed['tuning_method']} trains nothing and has no eval_loss")  # fmt: skip
    elif goal.column != "best_eval_loss" and not search.fixed.get("validation_limit"):
        yield f"a search by {goal.name} needs validation_limit: the number of validation examples to decode"


def _halving_problems(search: SearchPoint, trials: Sequence[Trial]) -> Iterator[str]:
    """Why ASHA has nothing to stop."""
    methods = [trial.method for trial in trials if isinstance(trial.method, TrainedMethod)]
    if not METHODS[search.fixed["tuning_method"]].trains:
        yield f"scheduler: asha must be left out where nothing is trained, but got {search.fixed['tuning_method']}"
    elif methods and all(method.eval_every_epochs >= method.num_train_epochs for method in methods):
        epochs, every = methods[0].num_train_epochs, methods[0].eval_every_epochs
        yield (f"scheduler: asha needs evaluations before the end of a training: eval_every_epochs must be below "
               f"num_train_epochs ({epochs:g}) but got {every:g}")  # fmt: skip


def unstorable(trial: Trial) -> Iterator[str]:
    """What a row of the results cannot hold of a trial's fields: Parquet has integers of 64 bits, and Unicode text."""
    for name, value in trial.fields.items():
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            yield f"{name} must be an integer of 64 bits at most but got {value}"
        texts = [value] if isinstance(value, str) else value if isinstance(value, tuple) else []
        if any(re.search("[\0\ud800-\udfff]", text) for text in texts):
            yield f"{name} must be text without NUL and halves of surrogate pairs but got {value!r}"


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
