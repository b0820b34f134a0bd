"""The services of one process: retrievers, and a sandbox with its queue.

services = LocalServices()
services.judge("print(1)", '{"inputs": [""], "outputs": ["1"]}', SandboxSettings()).result()
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from raypeft.records import Example
from raypeft.retrieval.reranker import Reranker
from raypeft.retrieval.retriever import BM25Retriever, Retriever, make_retriever, near_duplicates
from raypeft.sandbox import RunResult, SandboxSettings
from raypeft.services.protocol import Retrieval, Retrieved
from raypeft.services.queue import Executor, SandboxWorker


class LocalServices:
    """`raypeft.services.protocol.Services` within one process. A retriever is built at its first use, and kept."""

    def __init__(self, cache_folder: str | Path | None = None) -> None:
        self.cache_folder = cache_folder
        self.retrievers: dict[tuple[str, str, str | None], Retriever | BM25Retriever] = {}
        self.rerankers: dict[str, Reranker] = {}
        self.executors: dict[SandboxSettings, Executor] = {}

    def retrieve(
        self, corpus: str, train: Sequence[Example], how: Retrieval, queries: Sequence[Example], k: int
    ) -> Retrieved:
        key = corpus, how.embedding_model, how.embedding_revision
        if key not in self.retrievers:
            self.retrievers[key] = make_retriever(how.embedding_model, train, self.cache_folder, how.embedding_revision)
        retriever, texts = self.retrievers[key], [each.searched for each in queries]
        near = None
        if isinstance(retriever, Retriever):
            near = len({each.query for each in near_duplicates(retriever, queries)})
        if how.reranker is None:
            return Retrieved(retriever.search(texts, k), retriever.revision, near)
        if how.reranker not in self.rerankers:
            self.rerankers[how.reranker] = Reranker(how.reranker)
        reranker = self.rerankers[how.reranker]
        # Fewer training examples than rerank_candidates are fine, fewer than k are an error.
        rows = retriever.search(texts, max(k, min(how.rerank_candidates, len(train))))
        best = [found[:k] for found in reranker.reorder(texts, rows, [each.searched for each in train])]
        return Retrieved(best, f"{retriever.revision}; reranked by {reranker.identity}", near)

    def judge(self, program: str, tests: str, settings: SandboxSettings) -> Future[RunResult]:
        if settings not in self.executors:
            self.executors[settings] = Executor(SandboxWorker(settings).run)
        return self.executors[settings].submit(program, tests)
