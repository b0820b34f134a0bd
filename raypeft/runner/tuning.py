"""The Ray Tune run over a sweep's trials.

A Tune trial is one raypeft trial. `reuse_actors` keeps a trial's process for the next one of equal resources, so
imports and, for trials of one model, the loaded base are paid once (0.02 s between two trials against 5 to 7 s).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from raypeft.events import Evaluated, Event, Finished, Noted, Started, to_plain
from raypeft.gpu import is_broken, take_budget
from raypeft.machine import quiet_libraries, use_threads
from raypeft.methods import TrainedMethod
from raypeft.methods.optimizers import OPTIMIZERS
from raypeft.models.loading import BaseCache
from raypeft.results.attempts import attempt, left_alone, record_fault
from raypeft.results.store import ResultStore
from raypeft.runner.cards import Fleet, away_from, placement, trial_request, trial_share
from raypeft.runner.ending import Ending, stopped_by_note
from raypeft.runner.nodes import Waiting, lacking
from raypeft.runner.observers import Observer, listener_to
from raypeft.runner.observers.evaluations import EvaluationWriter
from raypeft.runner.observers.progress import Progress
from raypeft.runner.pulse import Pulse
from raypeft.runner.relay import Relay, events_of
from raypeft.runner.run import SweepRun
from raypeft.runner.scratch import scratch_folder
from raypeft.runner.search.halving import PrunedByNote
from raypeft.runner.search.setup import tune_search
from raypeft.services.cluster import ClusterServices
from raypeft.stopping import Stop, Stopped
from raypeft.study.config import Trial
from raypeft.study.options import Resources, RunOptions
from raypeft.trial.columns import tables
from raypeft.trial.context import TrialContext
from raypeft.trial.run import run_and_record
from raypeft.trial.shared_training import SharedTraining

SERVICES = ClusterServices()
"""The handles to what trials share that this worker process holds."""

LOOK = 5.0
"""Seconds between two looks at whether Ray and the running trials live."""

BASES = BaseCache()
"""The base model that this worker process holds from one trial to the next."""


def tune_trials(
    run: SweepRun, trials: Sequence[Trial], observers: Sequence[Observer], stop: Stop, fleet: Fleet, pulse: Pulse
) -> None:
    """Run every trial under Ray Tune on the nodes of `fleet`, each in the order given as resources come free.

    Each writes its own row.

    Raises Stopped where `stop` was set, once the running trials have come to an end, and RayLost.
    """
    request = trial_request(run.resources, fleet)
    settings = {
        "sweep": run.name,
        "results": run.results,
        "resources": run.resources.model_dump(),
        "folder": str(Path.cwd()),
        "options": run.options.model_dump(),
        "driver": run.driver,
        "verbose": run.verbose,
        "use_gpu": "GPU" in request,
        "left_out": fleet.left_out,
        "needs": fleet.needs_later(run.resources),
        "prunes": bool(run.search and run.search.asha),
    }
    store = ResultStore(run.results, tables())
    watcher = Watcher(run, trials, store, observers)
    watcher.pulse, watcher.waiting = pulse, Waiting(request, fleet.left_out)
    ending = watcher.ending = Ending(stop, store, run.driver, lambda: watcher.running, pulse.say)
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # signals are ours
    search = tune_search(run, trials, store, stop, fleet.room(request))
    with scratch_folder() as scratch, closing(ending), stop.deferred():
        tuner = tune.Tuner(
            tune.with_resources(run_tune_trial, partial(placed, run.resources, fleet)),
            param_space=settings,
            tune_config=search.config,
            run_config=tune.RunConfig(
                storage_path=scratch,  # Tune's own bookkeeping; the results are elsewhere
                verbose=2 if run.verbose else 0,
                # A trial's own exceptions are rows: what Tune sees failing is a lost process or node.
                failure_config=tune.FailureConfig(max_failures=run.options.max_failures),
                callbacks=[watcher, *search.callbacks],
                stop=ending,
            ),
        )
        tuner.fit()
    stop.check()


def placed(resources: Resources, fleet: Fleet, settings: dict[str, Any]) -> tune.PlacementGroupFactory:
    """What a trial asks Ray for. It has a budget of its own where trials share a GPU."""
    own = resources.model_copy(update={"gpu_memory_gb": settings["planned"]["gpu_memory_gb"]})
    return placement(trial_request(own, fleet, resources.gpu_memory_gb), fleet)


def run_tune_trial(settings: dict[str, Any]) -> None:
    """The function that Ray Tune runs in a worker process: one trial, from settings to its row in the store."""
    if Path(settings["folder"]).is_dir():
        os.chdir(settings["folder"])
    if settings["needs"] and (lacks := lacking(settings["needs"])):
        note = f"{socket.gethostname()} cannot run trials: {'; '.join(lacks)}"
        tune.report({"refused_by": ray.get_runtime_context().get_node_id(), "events": [to_plain(Noted(note))]})
        raise RuntimeError(note)  # the command sends it to another node
    if not settings["use_gpu"]:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray does not share out the cards that there may be
    trial = Trial.model_validate(settings["planned"]["trial"])
    whole = Resources.model_validate(settings["resources"])
    resources = whole.model_copy(update={"gpu_memory_gb": settings["planned"]["gpu_memory_gb"]})
    share = trial_share()
    options = RunOptions.model_validate(settings["options"])
    use_threads(resources.cpus_per_trial)
    if not settings["verbose"]:
        quiet_libraries()
    SERVICES.sandbox_workers, SERVICES.left_out = options.sandbox.workers, settings["left_out"]
    SERVICES.check = partial(lacking, settings["needs"]) if settings["needs"] else None
    take_budget(resources.gpu_memory_gb)
    store = ResultStore(settings["results"], tables())
    progress = Progress(settings["planned"]["label"])
    relay = Relay(at_once=(Evaluated,) if settings["prunes"] else ())
    pruning = [PrunedByNote(store, settings["driver"])] if settings["prunes"] else []
    try:
        with attempt(store, trial.id, settings["driver"], settings["planned"]["seen"], progress.plain) as running:
            if running is not None:
                listener = listener_to(trial.id, EvaluationWriter(running.store), progress, relay, *pruning)
                told = settings["planned"]["shared"]
                shared = SharedTraining(store=store, driver=settings["driver"], **told) if told else None
                context = TrialContext(trial, settings["sweep"], running.store, BASES, SERVICES, resources, options,
                                       listener, attempt=running.number, gpu_share=share,
                                       whole_gpu_memory_gb=whole.gpu_memory_gb, shared=shared)  # fmt: skip
                with stopped_by_note(store, settings["driver"], context.stop):
                    context.stop.check()
                    run_and_record(context)
    except Stopped:  # without a row, so that the same command runs it again
        tune.report({"events": []})  # of a trial that reports nothing Tune prints a line
        return
    if running is None:
        relay.hear(trial.id, Finished(left_alone(store, trial.id)))
    elif settings["use_gpu"] and (spoilt := spoilt_process(trial)):
        raise RuntimeError(spoilt)  # its row is written; Tune gives the next trial a process of its own


def spoilt_process(trial: Trial) -> str | None:
    """Why no other trial may run in the process of this one, which has ended. None: it may."""
    if is_broken():
        return "this trial's error has broken the CUDA context of its process"
    if isinstance(trial.method, TrainedMethod) and OPTIMIZERS[trial.method.optim].leaves_memory:
        return f"{trial.method.optim} leaves GPU memory behind until its process ends"
    return None


class Watcher(tune.Callback):
    """Passes what Tune hears of its trials to the observers, and writes the row of a trial whose process died."""

    def __init__(
        self, run: SweepRun, trials: Iterable[Trial], store: ResultStore, observers: Sequence[Observer]
    ) -> None:
        self.run, self.store, self.observers = run, store, observers
        self.trials = {trial.id: trial for trial in trials}
        self.running: set[str] = set()
        """Ids of the trials that Tune has started and that have not ended."""
        self.heard: dict[str, float] = {}
        """When a running trial was heard of last."""
        self.silent: set[str] = set()
        """Ids of the trials that were ended because they said nothing."""
        self.ended: set[str] = set()
        """Ids of the trials whose end has been heard."""
        self.looked = time.monotonic()
        self.ending: Ending | None = None
        self.pulse: Pulse | None = None
        self.waiting = Waiting({}, ())
        self.refused: set[str] = set()
        """Ids of the trials that the node to which they came has refused, until they start elsewhere."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks to resume an experiment; a sweep resumes from its rows instead.
        return {}

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **_: Any) -> None:
        if self.ending and not iteration:
            self.ending.stop.listen()  # Ray and Tune have set handlers of their own by now
        if self.pulse:
            self.pulse.check()
        if time.monotonic() - self.looked >= LOOK:
            self.looked = time.monotonic()
            for trial in trials:
                self._end_if_silent(trial)
            self._look_for_nodes([trial for trial in trials if trial.status == TuneTrial.PENDING])

    def _look_for_nodes(self, waiting: list[TuneTrial]) -> None:
        """Say where no node can take the trials that wait. Raises RayLost after a while."""
        is_waiting = bool(waiting) and not self.running
        if self.pulse and (said := self.waiting.look(is_waiting, self.pulse.nodes)):
            self._tell(waiting[0].config["planned"]["id"], Noted(said))

    def _end_if_silent(self, trial: TuneTrial) -> None:
        """Kill the process of a trial that has said nothing for `stall_minutes`: Tune then reports it as lost."""
        trial_id, minutes = trial.config["planned"]["id"], self.run.options.stall_minutes
        if minutes is None or trial_id not in self.running or trial_id in self.silent:
            return
        if time.monotonic() - self.heard[trial_id] >= 60 * minutes and trial.temporary_state.ray_actor:
            self.silent.add(trial_id)
            ray.kill(trial.temporary_state.ray_actor)

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **_: Any) -> None:
        self.running.discard(trial.config["planned"]["id"])

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **_: Any) -> None:
        ours = self._of(trial)
        self.running.add(ours.id)
        self.silent.discard(ours.id)
        self.refused.discard(ours.id)
        self.heard[ours.id] = time.monotonic()
        if self.ending and self.ending.stop.number:
            return  # it ends at once
        self._tell(ours.id, Started(trial.config["planned"]["label"], ours.fields))

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **_: Any
    ) -> None:
        refuser = result.get("refused_by")
        is_news = refuser not in self.waiting.left_out
        if refuser:
            self._send_elsewhere(trial, refuser)
        for event in events_of(result) if is_news else ():
            self._tell(trial.config["planned"]["id"], event)
            if isinstance(event, Finished):  # its row is written, whatever becomes of its process now
                self.ended.add(trial.config["planned"]["id"])
                trial.max_failures = 0

    def _send_elsewhere(self, trial: TuneTrial, node: str) -> None:
        """A node that joined later has refused a trial, which is no failure of the trial's: it goes to other nodes."""
        self.waiting.left_out.add(node)
        self.refused.add(trial.config["planned"]["id"])
        trial.max_failures += 1  # Tune counts what follows as one
        # Here, while it runs: Tune keeps the trials that wait in order by what they ask for.
        trial.placement_group_factory = away_from(self.waiting.left_out, trial.placement_group_factory)

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **_: Any) -> None:
        trial_id = trial.config["planned"]["id"]
        self.running.discard(trial_id)
        if trial_id not in self.refused:
            self._tell(trial_id, Noted(f"{self._why(trial_id)}; it is started again"))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **_: Any) -> None:
        # A trial's own exceptions are rows already; here its whole process is gone.
        ours = self._of(trial)
        self.running.discard(ours.id)
        if ours.id in self.ended:
            return
        row: dict[str, Any] = {
            "id": ours.id,
            "sweep": self.run.name,
            **ours.fields,
            "status": "failed" if ours.id in self.silent else "lost",
            "error": self._why(ours.id),
        }
        try:
            row = record_fault(self.store, row, self.run.driver, self.run.seen.get(ours.id))
        except (OSError, pa.ArrowException) as error:  # an error here would end the trials beside it
            row["error"] += f" (its row could not be written: {error})"
        self._tell(ours.id, Finished(row))

    def _of(self, trial: TuneTrial) -> Trial:
        """The trial that a trial of Tune's is: a planned one, or one that the search has suggested since."""
        planned = trial.config["planned"]
        if planned["id"] not in self.trials:
            self.trials[planned["id"]] = Trial.model_validate(planned["trial"])
        return self.trials[planned["id"]]

    def _why(self, trial_id: str) -> str:
        """Why a trial's process is gone."""
        if trial_id in self.silent:
            return (f"the trial said nothing for {self.run.options.stall_minutes:g} minutes and was ended (if it is "
                    f"only slow, raise stall_minutes)")  # fmt: skip
        return (
            "the trial's process died before it could record anything; most often the machine ran out of "
            "memory (to see why, run it alone: python -m raypeft trial SWEEP --index N)"
        )

    def _tell(self, trial_id: str, event: Event) -> None:
        self.heard[trial_id] = time.monotonic()
        for observer in self.observers:
            observer.hear(trial_id, event)
