"""The services of a Ray cluster, which all trials of a sweep share: retrieval, and a pool of sandboxes.

    services = ClusterServices()
    services.judge(program, tests, SandboxSettings()).result()

Both are named Ray actors. An actor is started by the first process that needs it, and lives as long as that process.
When it is gone, the next process that needs it starts a new one, and requests to the lost actor are sent again. This
module does not import torch, so its actors start within a second.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
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

# DEFAULT keeps an actor out of the trial's placement group, whose actors end with the trial.
OUTSIDE = {"num_cpus": 0, "scheduling_strategy": "DEFAULT"}


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
    """

    def __init__(self, settings: SandboxSettings, workers: int, selector: Mapping[str, str]) -> None:
        self.settings, self.selector = settings, selector
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
                    options = {"num_cpus": 0, "scheduling_strategy": "SPREAD", "label_selector": self.selector}
                    sandbox = ray.remote(SandboxWorker).options(**options).remote(self.settings)
                return ray.get(sandbox.run.remote(program, tests))
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayActorError:
                sandbox = None
                time.sleep(0.1 * 4**attempt)
            finally:
                self.idle.put(sandbox)
        raise RuntimeError(f"a program must be run but {ATTEMPTS} sandboxes were lost one after the other")


def pool_name(settings: SandboxSettings) -> str:
    """The name of the actor that judges under these settings."""
    return f"sandboxes {hashlib.sha256(repr(settings).encode()).hexdigest()[:12]}"


class ClusterServices:
    """`raypeft.services.protocol.Services` on Ray. Safe to call from threads."""

    def __init__(self) -> None:
        self.sandbox_workers: int | None = None
        """Programs run at once by all nodes; None: one a CPU core."""
        self.selector: Mapping[str, str] = {}
        """Labels of the nodes that take trials, and so retrievers and sandboxes."""
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
            return shared.remote(settings, workers, self.selector)

        return self._ask(pool_name(settings), start, lambda actor: actor.run.remote(program, tests))

    def _ask(self, name: str, start: Callable[[dict[str, Any]], Any], ask: Callable[[Any], Any]) -> Any:
        """Send a request to the actor of this name (in the namespace of this Ray job), which is started if needed."""
        for _ in range(ATTEMPTS):
            with self.lock:
                if name not in self.actors:
                    self.actors[name] = start(
                        {"name": name, "get_if_exists": True, "label_selector": self.selector, **OUTSIDE}
                    )
                actor = self.actors[name]
            try:
                return ray.get(ask(actor))
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None  # so that the trial's row has the original message, without Ray's traceback
            except ray.exceptions.RayActorError as error:
                lost = error
                with self.lock:
                    if self.actors.get(name) is actor:
                        del self.actors[name]
                time.sleep(1)
        raise lost
