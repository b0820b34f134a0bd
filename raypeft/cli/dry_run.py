"""`raypeft sweep NAME --dry-run`: list the trials of a sweep. Downloads nothing and does not import torch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from raypeft.analysis.claims.planning import check_claims
from raypeft.analysis.settings import data_of, settings
from raypeft.analysis.timing import Timing
from raypeft.cli.data_report import data_report
from raypeft.cli.searching import plan_lines
from raypeft.mistakes import number_of, page
from raypeft.models.kinds import is_slow
from raypeft.models.table import config_of, looked_up_once
from raypeft.results.reuse import counts_here
from raypeft.results.statuses import is_settled
from raypeft.results.store import ResultStore
from raypeft.runner.observers.view import duration
from raypeft.study.checking import LoadedSweep
from raypeft.study.config import SweepConfig, Trial
from raypeft.study.memory import predict
from raypeft.study.plan import parameter_counts, plan_sweep, plan_trials
from raypeft.study.trainings import shared_trainings
from raypeft.trial.declarations import own_declarations

Row = Mapping[str, Any]


@looked_up_once()
def describe_plan(sweep: LoadedSweep, planned: Sequence[Trial] | None = None) -> dict[str, Any]:
    """The plan as one object for JSON. Its keys are the names of the results' columns. `planned`: the plan, if it is
    made already."""
    trials = []
    planned = plan_trials(sweep) if planned is None else planned
    for trial in planned:
        prediction = predict(trial, sweep.config.resources)
        fits = prediction.fits(sweep.config.resources.gpu_memory_gb) if prediction else None
        peak = round(prediction.peak_gb, 3) if prediction else None
        counts = parameter_counts(trial)
        trials.append({"id": trial.id, **trial.fields, **counts, "predicted_peak_memory_gb": peak, "fits": fits})
    described = {"sweep": sweep.config.name, "gpu_memory_gb": sweep.config.resources.gpu_memory_gb, "trials": trials}
    claims = check_claims(sweep, planned)
    told = [{"claim": each.sentence, "undecidable": each.hindrance or None} for each in claims]
    return {**described, "claims": told}


def print_plan(sweep: LoadedSweep, verbose: bool = False) -> None:
    """Print one line for each trial: its fields, its number of trained parameters and its predicted GPU memory.

    With `verbose` examples of the prompts follow (`raypeft.cli.prompts`).
    """
    whole = plan_sweep(sweep)
    planned = whole.trials
    plan = describe_plan(sweep, planned)
    trials, budget = plan["trials"], plan["gpu_memory_gb"]
    count = number_of(len(trials), "trial")
    print(f"{plan['sweep']}: {count}, {budget:g} GB of GPU memory for each (on a machine with a GPU)")
    for index, (row, shown_settings) in enumerate(zip(trials, settings(trials, own_declarations()), strict=True)):
        trained = f"{row['trainable_params']:,} trained" if row["trainable_params"] else ""
        peak = row["predicted_peak_memory_gb"]
        needs = "GPU memory unknown" if peak is None else f"{peak:.1f} GB" + ("" if row["fits"] else " DOES NOT FIT")
        parts = [row["id"], row["model"], data_of(row), row["tuning_method"], shown_settings, trained, needs]
        print(f"{index:4}  " + "  ".join(part for part in parts if part))
    for line in (*plan_lines(sweep.config, whole), *training_lines(sweep, planned)):
        print(line)
    if too_large := [row for row in trials if row["fits"] is False]:
        print(f"predicted not to fit {budget:g} GB: {number_of(len(too_large), 'trial')}; on a GPU recorded as "
              f"infeasible and not run (--force runs them)")  # fmt: skip
    for line in time_lines(planned, sweep.config):
        print(line)
    console = Console(highlight=False, soft_wrap=True)
    for line, warns in data_report(planned):
        console.print(line, style="red" if warns else "", markup=False)
    if slow := [trial for trial in planned if is_slow(config_of(trial.model, trial.model_path))]:
        names = ", ".join(dict.fromkeys(trial.model for trial in slow))
        print(f"decoded by generate of Transformers itself, which is slower: {number_of(len(slow), 'trial')}; the "
              f"layers of {names} are not ones whose prompts can be read beforehand ({page('models.md')})")  # fmt: skip
    print_claims(plan["claims"])
    if verbose:
        from raypeft.cli.prompts import print_prompts

        print_prompts(planned)


def training_lines(sweep: LoadedSweep, planned: Sequence[Trial]) -> Iterator[str]:
    """How many trials train nothing themselves, because others train alike."""
    trainings = shared_trainings(planned) if sweep.config.run_options().share_trainings else {}
    if spared := len(trainings) - len(set(trainings.values())):
        each = "1 trial takes" if spared == 1 else f"{spared} trials take"
        yield f"{each} over the training of another one that differs only in what is tested, or in how it answers"


def time_lines(planned: Sequence[Trial], config: SweepConfig) -> Iterator[str]:
    """How long the trials that are still to run will probably take, by those like them in the same folder of results.
    Nothing where that is not known, or not on this machine's disk."""
    results = config.results
    folder = Path(results).expanduser()
    if "://" in results or not folder.is_dir():
        return
    by_sweep: dict[str, list[Row]] = {}
    for place in sorted(folder.iterdir()):
        with suppress(FileNotFoundError, ValueError, OSError):
            by_sweep[place.name] = [*ResultStore.existing(str(place), {}).read_rows()]
    rows = [row for found in by_sweep.values() for row in found]
    timing, done = Timing(rows), _done(by_sweep, config)
    seconds = [timing.expected(trial.fields) for trial in planned if trial.id not in done]
    known = [each for each in seconds if each is not None]
    if known:
        devices = ", ".join(sorted({str(row["device"]) for row in rows if row.get("device")}))
        whole = f"the {number_of(len(seconds), 'trial')}"
        of = whole if len(known) == len(seconds) else f"{len(known)} of {whole}"
        yield (f"{of} still to run will take about {duration(sum(known))}, one after the other, by the time "
               f"of trials like them in {results} ({devices})")  # fmt: skip


def _done(by_sweep: Mapping[str, Sequence[Row]], config: SweepConfig) -> set[str]:
    """Ids of the trials that the sweep would not run: settled in its own folder, or to be copied from another's."""
    own = [row for row in by_sweep.get(config.name, ()) if is_settled(row["status"])]
    others = (row for name in config.reuse for row in by_sweep.get(name, ()))
    copied = [row for row in others if counts_here(row, config.resources.gpu_memory_gb)]
    # Without a scheduler, every trial is trained to its end.
    return {row["id"] for row in (*own, *copied) if config.scheduler or row["status"] != "pruned"}


def print_claims(claims: Sequence[Mapping[str, str | None]]) -> None:
    """Print the claims that a sweep tests, and why the planned trials cannot decide some of them."""
    if claims:
        print(f"the sweep tests {len(claims)} claims:" if len(claims) > 1 else "the sweep tests a claim:")
    for each in claims:
        print(f"  {each['claim']}")
        if each["undecidable"]:
            print(f"    these trials cannot decide it: {each['undecidable']}")
