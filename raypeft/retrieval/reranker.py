"""Reranks retrieved examples: a cross-encoder scores each pair of a query and an example's instruction.

    Reranker("cross-encoder/ms-marco-MiniLM-L6-v2").reorder(queries, rows, instructions)

An embedding is computed from the instruction alone. A cross-encoder reads both texts, which costs a forward pass for
each pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from raypeft.retrieval.embeddings import DEVICE, SCORE_DECIMALS, content_hash, hub_commit


class Reranker:
    """A cross-encoder of sentence-transformers, given as a hub id or folder.

    Raises ValueError for a model that cannot be found, or that does not give one score for each pair.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        folder = Path(name).expanduser()
        self.commit = None if folder.is_dir() else hub_commit(name, None, "config.json", "reranker")
        origin = f"folder@{content_hash(folder)}" if folder.is_dir() else f"{name}@{self.commit}"
        self.identity = f"{origin}, sentence-transformers {version('sentence-transformers')}"

    def reorder(
        self, queries: Sequence[str], rows: Sequence[Sequence[int]], instructions: Sequence[str]
    ) -> list[list[int]]:
        """The rows of each query (positions in `instructions`), best first. Ties keep the order of `rows`."""
        from torch.nn import Identity

        pairs = [(query, instructions[row]) for query, found in zip(queries, rows, strict=True) for row in found]
        # Raw scores, since a sigmoid would turn large differences into ties.
        raw = self.model.predict(pairs, batch_size=64, show_progress_bar=False, activation_fn=Identity())
        scores = np.asarray(raw, dtype=np.float64)
        if scores.shape != (len(pairs),) or not np.isfinite(scores).all():
            raise ValueError(f"reranker must give one finite number a pair but {self.name} gives {scores.shape}")
        ordered, start = [], 0
        for found in rows:
            # Rounded, since a score varies a little with its batch.
            order = np.argsort(-scores[start : start + len(found)].round(SCORE_DECIMALS), kind="stable")
            ordered.append([found[place] for place in order])
            start += len(found)
        return ordered

    @cached_property
    def model(self) -> Any:
        """The CrossEncoder, loaded at first use. Code in a checkpoint is never run."""
        from sentence_transformers import CrossEncoder

        try:
            return CrossEncoder(str(Path(self.name).expanduser()), revision=self.commit, device=DEVICE)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"reranker must be a complete cross-encoder but {self.name} does not load: {error}"
            ) from error
