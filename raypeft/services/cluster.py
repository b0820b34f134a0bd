"""The services of a Ray cluster, which all trials of a sweep share: retrieval, and a pool of sandboxes.

    services = ClusterServices()
    services.judge(program, tests, SandboxSettings()).result()

Both are named Ray actors. An actor is started by the first process that needs it, on its node, and lives as long as
that process. When it is gone, the next process that needs it starts a new one, and requests to the lost actor are
sent again. This module does not import torch, so its actors start within a second.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any

import ray

from raypeft.records import Example
from raypeft.retrieval.embeddings import located
from raypeft.sandbox import RunResult, SandboxSettings
from raypeft.services.local import LocalServices
from raypeft.services.protocol import Retrieval, Retrieved
from raypeft.services.queue import Answers, Executor, SandboxWorker

ATTEMPTS = 5
"""Maximum number of times a request is sent to a new actor after its actor was lost. Then the trial fails."""
MOST_WORKERS = 64
"""Default limit on the number of sandboxes. Together they run about ten thousand programs per second."""
AT_ONCE = 2 * MOST_WORKERS
"""Programs that a pool accepts in addition to the running ones, so that no sandbox waits for a message."""

LOST = (ray.exceptions.RayActorError, ray.exceptions.ActorUnschedulableError)
"""What a request to an actor raises that is gone; the second one, where its node is."""

NODE_LABEL = "ray.io/node-id"
"""A label that Ray gives to each node."""

Check = Callable[[], Sequence[str]]
"""Run on a node: what it lacks for the trials."""


def all_but(nodes: Collection[str]) -> dict[str, str]:
    """The labels of all nodes but these (their ids), as Ray selects them."""
    return {NODE_LABEL: f"!in({','.join(sorted(nodes))})"} if nodes else {}


class NodeSandboxWorker(SandboxWorker):
    """The actor that is one sandbox of a pool."""

    def node(self) -> str:
        """The id of its node."""
        return str(ray.get_runtime_context().get_node_id())

    def lacks(self, check: Check) -> Sequence[str]:
        """What its node lacks."""
        return check()


class SharedRetriever:
    """The actor that retrieves shots for all trials. A new one reads its embeddings from the cache on disk."""

    def __init__(self, train: Sequence[Example]) -> None:
        from raypeft.machine import quiet_libraries

        quiet_libraries()
        # The retriever is built at its first use, since the message of an exception raised here would be lost.
        self.train, self.own = train, LocalServices()

    def retrieve(self, how: Retrieval, queries: Sequence[Example], k: int) -> Retrieved:
        return self.own.retrieve("", self.train, how, queries, k)


class SharedSandboxes:
    """The actor that distributes programs to sandboxes on all nodes, and caches their results.

    Each sandbox runs one program at a time. If its process or node is lost, it is replaced and the program runs again.
    A node that joined after the trials began is checked before its first program.
    """

    def __init__(self, settings: SandboxSettings, workers: int, left_out: Collection[str], check: Check | None) -> None:
        self.settings, self.check = settings, check
        self.left_out, self.fit = set(left_out), {str(ray.get_runtime_context().get_node_id())}
        self.answers = Answers(self._run)
        self.idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(workers):
            self.idle.put(None)  # started at its first use

    def run(self, program: str, tests: str) -> RunResult:
        return self.answers(program, tests)

    def _run(self, program: str, tests: str) -> RunResult:
        for attempt in range(ATTEMPTS):
            sandbox = self.idle.get()
            try:
                if sandbox is None:
                    sandbox = self._started()
                return ray.get(sandbox.run.remote(program, tests))
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayActorError:
                sandbox = None
                time.sleep(0.1 * 4**attempt)
            finally:
                self.idle.put(sandbox)
        raise RuntimeError(f"a program must be run but {ATTEMPTS} sandboxes were lost one after the other")

    def _started(self) -> Any:
        """A new sandbox on some node that has what trials need. This one has it."""
        while True:
            options = {"num_cpus": 0, "scheduling_strategy": "SPREAD", "label_selector": all_but(self.left_out)}
            sandbox = ray.remote(NodeSandboxWorker).options(**options).remote(self.settings)
            if self.check is None or (node := ray.get(sandbox.node.remote())) in self.fit:
                return sandbox
            if not ray.get(sandbox.lacks.remote(self.check)):
                self.fit.add(node)
                return sandbox
            self.left_out.add(node)
            ray.kill(sandbox)


def pool_name(settings: SandboxSettings) -> str:
    """The name of the actor that judges under these settings."""
    return f"sandboxes {hashlib.sha256(repr(settings).encode()).hexdigest()[:12]}"


def beside_this_process() -> dict[str, Any]:
    """Ray's options of an actor on this node, which has what trials need. It ends with the node.

    A strategy keeps it out of the trial's placement group, whose actors end with the trial. A soft one is no help: Ray
    2.60 puts such an actor anywhere.
    """
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    return {"num_cpus": 0, "scheduling_strategy": affinity(ray.get_runtime_context().get_node_id(), soft=False)}


class ClusterServices:
    """`raypeft.services.protocol.Services` on Ray. Safe to call from threads."""

    def __init__(self) -> None:
        self.sandbox_workers: int | None = None
        """Programs run at once by all nodes; None: one a CPU core."""
        self.left_out: Collection[str] = ()
        """Ids of the nodes that take no trials, and so no sandboxes."""
        self.check: Check | None = None
        """What other nodes are asked before they take any. None: this machine is the only one."""
        self.lock = threading.Lock()
        self.actors: dict[str, Any] = {}
        self.executors: dict[SandboxSettings, Executor] = {}

    def retrieve(
        self, corpus: str, train: Sequence[Example], how: Retrieval, queries: Sequence[Example], k: int
    ) -> Retrieved:
        reranker = located(how.reranker) if how.reranker else None
        how = replace(how, embedding_model=located(how.embedding_model), reranker=reranker)

        def start(options: dict[str, Any]) -> Any:
            return ray.remote(SharedRetriever).options(**options, max_restarts=-1).remote(train)

        # Trials that differ only in their reranker share the index.
        index = " ".join(filter(None, (how.embedding_model, how.embedding_revision)))
        return self._ask(
            f"retriever {corpus} {index}", start, lambda actor: actor.retrieve.remote(how, list(queries), k)
        )

    def judge(self, program: str, tests: str, settings: SandboxSettings) -> Future[RunResult]:
        if settings not in self.executors:
            self.executors[settings] = Executor(partial(self._judge, settings), workers=AT_ONCE)
        return self.executors[settings].submit(program, tests)

    def _judge(self, settings: SandboxSettings, program: str, tests: str) -> RunResult:
        def start(options: dict[str, Any]) -> Any:
            workers = self.sandbox_workers or min(MOST_WORKERS, int(ray.cluster_resources().get("CPU", 1)))
            shared = ray.remote(SharedSandboxes).options(**options, max_concurrency=workers + AT_ONCE)
            return shared.remote(settings, workers, self.left_out, self.check)

        return self._ask(pool_name(settings), start, lambda actor: actor.run.remote(program, tests))

    def _ask(self, name: str, start: Callable[[dict[str, Any]], Any], ask: Callable[[Any], Any]) -> Any:
        """Send a request to the actor of this name (in the namespace of this Ray job), which is started if needed."""
        for _ in range(ATTEMPTS):
            with self.lock:
                if name not in self.actors:
                    self.actors[name] = start({"name": name, "get_if_exists": True, **beside_this_process()})
                actor = self.actors[name]
            try:
                return ray.get(ask(actor))
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None  # so that the trial's row has the original message, without Ray's traceback
            except LOST as error:
                lost = error
                with self.lock:
                    if self.actors.get(name) is actor:
                        del self.actors[name]
                time.sleep(1)
        raise lost
