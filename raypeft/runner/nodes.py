"""The nodes of a cluster: whether each has what the trials need, and which cards, before the first trial starts.

    with fleet_of(run, trials, ray_is_ours=False) as fleet:     # asks all nodes at once
        fleet.notes                                              # which nodes are left out and why

A node that lacks something takes no trials: there a trial would fail, or write its rows where nobody looks for them.
raypeft's own code travels with the trials (`raypeft.runner.session`), and a node on which another raypeft comes
first is left out; other packages must be on every node.
"""

from __future__ import annotations

import os
import socket
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ray

from raypeft.data.declared.declaration import DeclaredData
from raypeft.data.declared.mix import MixedData
from raypeft.mistakes import number_of, some
from raypeft.models.table import MODELS
from raypeft.results.files import Folder
from raypeft.runner.cards import Fleet, Needs, check_gpu_is_there, nvidia_smi, with_small_cards
from raypeft.runner.code import PACKAGE, code_digest
from raypeft.runner.pulse import RayLost
from raypeft.runner.run import SweepRun
from raypeft.runner.share import VISIBLE
from raypeft.secrets import hidden_in_message, without_password
from raypeft.study.config import Trial
from raypeft.study.sweepfile import ConfigError

NODE_PATIENCE = 120.0
"""Seconds in which a node must answer: it starts a process and fetches raypeft's code."""
SAY_AFTER, GIVE_UP = 30.0, 1800.0
"""Seconds in which no trial begins until it is said, and in which no node could take one until the sweep ends."""
PACKAGES = ("torch", "transformers", "tokenizers", "peft", "datasets", "bitsandbytes", "pyarrow", "numpy", "pydantic")
"""What every trial needs, and what numbers depend on."""
PLACES = ("model", "model_path", "dataset_path", "test_dataset_path", "embedding_model", "reranker")
"""Fields of a trial that may name a file or folder."""


@dataclass(frozen=True, slots=True)
class Node:
    """What a node has told of itself."""

    host: str
    lacks: Sequence[str] = ()
    versions: dict[str, str] = field(default_factory=dict)
    cards_gb: Sequence[float] = ()


def needs_of(run: SweepRun, trials: Iterable[Trial]) -> Needs:
    """What a sweep needs on each node. Of its trials' fields, these are those that name something on this disk."""
    points = run.search.points if run.search and run.search.unsuggested else ()  # of others, the trials tell
    named = [*(trial.fields for trial in trials), *(point.fixed for point in points)]
    paths = {str(fields[name]) for fields in named for name in PLACES if fields.get(name)}
    for declared in [*_declared(trials), *(each for point in points for each in point.datasets.values())]:
        paths |= set(declared.paths)
    here = sorted(each for each in paths if each not in MODELS and Path(each).expanduser().exists())
    return Needs(str(Path.cwd()), tuple(here), run.results, f".nodes/{run.driver}", code_digest())


def _declared(trials: Iterable[Trial]) -> Iterator[DeclaredData | MixedData]:
    for trial in trials:
        yield from filter(None, (trial.declared, trial.test_declared))


def look(needs: Needs) -> Node:
    """Runs on the node: what it has, and what it lacks."""
    return Node(socket.gethostname(), lacking(needs), dict(_versions()), nvidia_smi())


@cache
def lacking(needs: Needs) -> Sequence[str]:
    """What this machine lacks. Asked by each process that runs trials too: its node may have joined later."""
    if Path(needs.folder).is_dir():
        os.chdir(needs.folder)  # as its trials will
    lacks = [f"{path} is not there" for path in needs.paths if not Path(path).expanduser().exists()]
    results = without_password(needs.results)
    try:
        if not Folder(needs.results).exists(needs.mark):
            lacks.append(f"{results} is another folder there than here (it must be on a shared disk, or a URL such as "
                         f"s3://bucket/results)")  # fmt: skip
    except (OSError, ValueError) as error:
        lacks.append(f"the results in {results} cannot be read there ({hidden_in_message(str(error))})")
    lacks += _of_code_and_cards(needs)
    found = dict(_versions())
    return (*lacks, *(f"the package {name} is not installed" for name in PACKAGES if name not in found))


def _of_code_and_cards(needs: Needs) -> Iterator[str]:
    if needs.code and needs.code != code_digest():
        yield (f"the code of raypeft is another there ({PACKAGE}) than here (install the same one, or remove it there: "
               f"that of the command travels)")  # fmt: skip
    smallest = min(nvidia_smi(), default=needs.card_gb) if needs.card_gb else 0.0
    if smallest < needs.card_gb:
        yield (f"its GPU has {smallest:.1f} GiB, and trials count on {needs.card_gb:.1f} GiB, as the cards have that "
               f"were there when the sweep began")  # fmt: skip


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            # What torch was built for (2.13.0+cu130) differs between nodes with and without a GPU.
            yield name, version(name).partition("+")[0]
        except PackageNotFoundError:
            continue


@contextmanager
def fleet_of(run: SweepRun, trials: Sequence[Trial], ray_is_ours: bool) -> Iterator[Fleet]:
    """The nodes that take the trials of a sweep. A Ray that was started for it has this machine alone.

    Raises ConfigError where there is none.
    """
    if ray_is_ours:
        # Of other nodes, only Ray knows which cards it was given.
        cards_gb = nvidia_smi(os.environ.get(VISIBLE))
        fleet = Fleet([node["Resources"] for node in _alive()], cards_gb)
        check_gpu_is_there(run.resources, fleet)
        yield fleet
        return
    needs, folder = needs_of(run, trials), Folder(run.results)
    folder.put(needs.mark, b"")
    try:
        yield look_at_nodes(needs, run.resources.gpu_memory_gb)
    finally:
        with suppress(OSError):
            folder.filesystem.delete_file(f"{folder.root}/{needs.mark}")


def look_at_nodes(needs: Needs, budget_gb: float) -> Fleet:
    """Ask every node of the cluster what it has. Raises ConfigError where none can take trials."""
    nodes = {node["NodeID"]: node for node in _alive()}
    found = dict(_answers(nodes, needs))
    reasons: dict[str, list[str]] = defaultdict(list)
    for name, node in found.items():
        for reason in node.lacks:
            reasons[reason].append(_name(nodes[name]))
    if all(node.lacks for node in found.values()):
        raise ConfigError("the Ray cluster", [f"must have what the trials need on at least one of its nodes but "
                                              f"{reason} ({_listed(names)})"
                                              for reason, names in reasons.items()])  # fmt: skip
    unfit = [name for name, node in found.items() if node.lacks]
    small = with_small_cards({name: node.cards_gb for name, node in found.items() if not node.lacks}, budget_gb)
    notes = [f"{_listed(names)} of {len(nodes)} left out: {reason}" for reason, names in reasons.items()]
    notes += [f"{_listed(_name(nodes[name]) for name in small)} of {len(nodes)} left out: the GPU has less than the "
              f"{budget_gb:g} GiB of a trial, and other nodes have larger ones"] if small else []  # fmt: skip
    used = {name: node for name, node in found.items() if name not in {*unfit, *small}}
    notes += _differences(used.values())
    return Fleet(
        [nodes[name]["Resources"] for name in used],
        [size for node in used.values() for size in node.cards_gb],
        [*unfit, *small],
        notes,
        needs,
    )


class Waiting:
    """Notices that trials wait for a node: one that the cluster does not have, or one that others use."""

    def __init__(self, request: Mapping[str, float], left_out: Collection[str]) -> None:
        self.request = request
        self.left_out = set(left_out)
        """Ids of the nodes that take no trials: left out from the start, or later by their own refusal."""
        self.is_there: bool | None = None
        """Whether some node could take the trials that wait. None: none waits."""
        self.since = 0.0
        """When that came to be so, by time.monotonic."""
        self.was_said = False

    def look(self, is_waiting: bool, nodes: Iterable[Mapping[str, Any]]) -> str | None:
        """What to say of it, once. Raises RayLost after `GIVE_UP` seconds without a node that could take them.

        `is_waiting`: whether trials wait while none is running. `nodes`: as Ray tells them.
        """
        is_there = any(self._can_take(node) for node in nodes if node["Alive"]) if is_waiting else None
        if is_there != self.is_there:
            self.is_there, self.since, self.was_said = is_there, time.monotonic(), False
        waited = time.monotonic() - self.since
        if is_there is False and waited >= GIVE_UP:
            raise RayLost(f"no {self} joined for {GIVE_UP / 60:g} minutes; the same command goes on from what is "
                          f"stored")  # fmt: skip
        if is_there is None or waited < SAY_AFTER or self.was_said:
            return None
        self.was_said = True
        if is_there:
            return (f"waiting: no trial has begun for {SAY_AFTER:g} s; other jobs may have what every {self} offers "
                    f"(`ray status`)")  # fmt: skip
        return f"waiting: no {self} is there (`ray status`); after {GIVE_UP / 60:g} minutes the command ends"

    def __str__(self) -> str:
        wanted = " and ".join(f"{need:g} {name}" for name, need in self.request.items())
        return f"node that can take a trial ({wanted})"

    def _can_take(self, node: Mapping[str, Any]) -> bool:
        fits = all(node["Resources"].get(name, 0) >= need for name, need in self.request.items())
        return fits and node["NodeID"] not in self.left_out


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _answers(nodes: dict[str, dict[str, Any]], needs: Needs) -> Iterator[tuple[str, Node]]:
    """What each node says. It takes none of their resources, so that nodes answer while all their cards are in use."""
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    task = ray.remote(num_cpus=0, max_retries=0)(look)
    asked = {name: task.options(scheduling_strategy=affinity(name, soft=False)).remote(needs) for name in nodes}
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=NODE_PATIENCE)
    for name, answer in asked.items():
        try:
            yield name, ray.get(answer, timeout=0)
        except ray.exceptions.GetTimeoutError:
            yield name, Node(_name(nodes[name]), [f"no answer within {NODE_PATIENCE:g} s"])
        except Exception as error:  # a package that the code needs, a node that ends just now: Ray has many classes
            lines = str(error).strip().splitlines() or [type(error).__name__]
            yield name, Node(_name(nodes[name]), [f"raypeft cannot run there ({lines[-1][:200]})"])


def _differences(nodes: Iterable[Node]) -> Iterator[str]:
    """A line for each package of which the nodes have another version than this process."""
    here = dict(_versions())
    for name, ours in here.items():
        others = sorted({node.versions.get(name, ours) for node in nodes} - {ours})
        if others:
            yield (f"warning: {name} is {ours} here and {', '.join(others)} on other nodes: scores of trials on "
                   f"different nodes may differ in their last digits (the rows have the versions)")  # fmt: skip


def _name(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _listed(names: Iterable[str]) -> str:
    each = list(names)
    return f"{number_of(len(each), 'node')}: {some(each)}"
