"""What this version of raypeft declares at this moment, and a folder's manifest made of it."""

from collections.abc import Iterable, Sequence
from dataclasses import fields

import yaml

from raypeft.data import DATASETS
from raypeft.methods import METHODS, Method
from raypeft.metrics.scoring import declared_scores, level_columns
from raypeft.results.completeness import absent_tables, note_left_out
from raypeft.results.declarations import Declarations, DeclaredDataset, DeclaredMethod
from raypeft.results.leftovers import drop_temporaries
from raypeft.results.manifest import Manifest
from raypeft.results.schema import schema_of
from raypeft.results.statuses import STATUSES
from raypeft.results.store import ResultStore
from raypeft.study.checking import LoadedSweep
from raypeft.study.config import NOT_SET, Trial
from raypeft.study.plan import Plan
from raypeft.study.searching import SearchPoint
from raypeft.study.sweepfile import ConfigError
from raypeft.training.columns import SCORES
from raypeft.trial.columns import tables
from raypeft.trial.provenance import versions


def own_declarations(trials: Iterable[Trial] = ()) -> Declarations:
    """The datasets, methods, scores and statuses that there are; of declared datasets those of `trials`."""
    trials = list(trials)
    declared = {trial.dataset: trial.data for trial in trials if trial.declared}
    declared |= {trial.test_dataset: trial.test_data for trial in trials if trial.test_dataset and trial.test_declared}
    return Declarations(
        scores=(*declared_scores(levels_of(trials)), *SCORES),
        statuses=dict(STATUSES),
        datasets={
            name: DeclaredDataset(**{part.name: getattr(dataset, part.name) for part in fields(DeclaredDataset)})
            for name, dataset in {**DATASETS, **declared}.items()
        },
        methods={name: _declared(method) for name, method in METHODS.items()},
        trial_fields=tuple(name for name in Trial.model_fields if name not in NOT_SET),
    )


def levels_of(trials: Iterable[Trial]) -> list[str]:
    """The levels of the datasets that the trials are tested on, each once."""
    return [*dict.fromkeys(level for trial in trials for level in trial.test_data.levels)]


def _declared(method: type[Method]) -> DeclaredMethod:
    infos = {**Trial.model_fields, **method.model_fields}
    names = tuple(name for name in infos if name not in (*NOT_SET, "name"))
    defaults = {name: infos[name].default for name in names if not infos[name].is_required()}
    return DeclaredMethod(names, defaults, method.trains)


def prepare_store(results: str, sweep: LoadedSweep, plan: Plan) -> ResultStore:
    """The store of a sweep, ready for its rows: its folders made, older files upgraded, the manifest written, and what
    killed processes have left half-written removed.

    Raises ConfigError where the folder cannot be made or holds a file that cannot be read.
    """
    try:
        absent = absent_tables(results)
        store = ResultStore(results, tables())
        drop_temporaries(store)
        store.upgrade()
        # Rows of other sweeps that are taken over may have scores by level.
        store.adopt("trials", schema_of(level_columns(levels_of(plan.trials))))
        write_manifest(store, sweep, plan)
        note_left_out(store, absent)
    except (OSError, ValueError) as error:
        raise ConfigError(sweep.document.source, [f"results: {results} cannot be used: {error}"]) from error
    return store


def suggested_trials(store: ResultStore, searches: Sequence[SearchPoint]) -> list[Trial]:
    """The trials that Optuna has suggested until now, by the stored plan. Raises ValueError for a damaged manifest."""
    manifest = store.read_manifest() if searches else None
    if manifest is None:
        return []
    found = {trial: (point, values) for point in searches for trial, values in point.known(manifest.plan).items()}
    return [point.trial(values) for point, values in found.values()]


def unsuggested(plan: Plan, trials: Sequence[Trial]) -> int:
    """How many trials Optuna has still to suggest beside `trials`."""
    return plan.unsuggested({trial.id: trial.fields for trial in trials}) if plan.suggesting else 0


def write_manifest(store: ResultStore, sweep: LoadedSweep | None = None, plan: Plan | None = None) -> Manifest:
    """Write `manifest.json` of this version and this sweep over the one that is there; returns what it now says.

    Declarations that only the older manifest has are kept, for the rows of its version, as are the suggestions of the
    plan's searches. Without a sweep the older one's stays. Raises ValueError where the older manifest cannot be read.
    """
    trials = [*plan.trials, *suggested_trials(store, plan.suggesting)] if plan else []
    manifest = Manifest(
        declarations=own_declarations(trials),
        tables={name: tuple(columns) for name, columns in tables(levels_of(trials)).items()},
        made_by=versions(),
        sweep=_as_run(sweep, plan, trials) if sweep else {},
        plan={trial.id: trial.fields for trial in trials},
    )
    manifest = manifest.over(store.read_manifest())
    store.write_manifest(manifest)
    return manifest


def _as_run(sweep: LoadedSweep, plan: Plan | None, trials: Sequence[Trial]) -> dict[str, str]:
    """The sweep file with its overrides applied. Where the results went is left out: a URL may hold a password."""
    data = {name: value for name, value in sweep.document.data.items() if name != "results"}
    return {
        "name": sweep.config.name,
        "file": sweep.document.source,
        "text": yaml.safe_dump(data, sort_keys=False, allow_unicode=True),
        **({"trials": str(len(trials) + unsuggested(plan, trials))} if plan else {}),
    }
