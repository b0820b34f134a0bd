"""Retrieved examples in a second order: a cross-encoder reads each query together with each example's instruction.

    Reranker("cross-encoder/ms-marco-MiniLM-L6-v2").reorder(queries, rows, instructions)

An embedding knows an instruction without the query; a cross-encoder sees both, at the cost of one pass for each pair.
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
    """A sentence-transformers cross-encoder, by hub id or folder.

    Raises ValueError for one that is not at hand or does not give one score for a pair.
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
        """Each query's rows, which are positions in `instructions`, best first; ties keep the order they came in."""
        from torch.nn import Identity

        pairs = [(query, instructions[row]) for query, own in zip(queries, rows, strict=True) for row in own]
        # Raw scores: a sigmoid would press the far ones into ties.
        told = self.model.predict(pairs, batch_size=64, show_progress_bar=False, activation_fn=Identity())
        scores = np.asarray(told, dtype=np.float64)
        if scores.shape != (len(pairs),) or not np.isfinite(scores).all():
            raise ValueError(f"reranker must give one finite number a pair but {self.name} gives {scores.shape}")
        ordered, start = [], 0
        for own in rows:
            # Rounded, since a score moves a little with what else is in its batch.
            order = np.argsort(-scores[start : start + len(own)].round(SCORE_DECIMALS), kind="stable")
            ordered.append([own[place] for place in order])
            start += len(own)
        return ordered

    @cached_property
    def model(self) -> Any:
        """The CrossEncoder, loaded when first needed. Never runs code that came with a checkpoint."""
        from sentence_transformers import CrossEncoder

        try:
            return CrossEncoder(str(Path(self.name).expanduser()), revision=self.commit, device=DEVICE)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"reranker must be a complete cross-encoder but {self.name} does not load: {error}"
            ) from error
