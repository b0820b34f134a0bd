"""Which examples stand before a query, and that what asks for none, or in vain, changes nothing."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from raypeft.data import DATASETS
from raypeft.methods import METHODS
from raypeft.models.table import TOY_FOLDER
from raypeft.prompting.encoding import Encoder
from raypeft.prompting.room import Room
from raypeft.prompting.shots import (
    Shots,
    encode_queries,
    pick_shots,
    prompt_columns,
    random_shots,
    random_shots_of,
)
from raypeft.records import Example, Splits
from raypeft.retrieval.duplicates import exact_duplicates
from raypeft.retrieval.retriever import Retriever, make_retriever, near_duplicates
from raypeft.services.local import LocalServices
from raypeft.services.protocol import Retrieval, Retrieved

ENCODER, CONTEXT = Encoder(AutoTokenizer.from_pretrained(TOY_FOLDER)), 2048
RETRIEVED = {"shot_source": "retrieved", "embedding_model": "toy"}


@pytest.fixture(scope="module")
def splits() -> Splits:
    loaded = DATASETS["toy"].load(None, None)
    return {"train": loaded["train"][:200], "test": loaded["test"][:20]}


@pytest.fixture
def services(tmp_path: Path) -> LocalServices:
    return LocalServices(tmp_path)


class NoServices:
    """For methods that must not retrieve."""

    def retrieve(self, *_: object) -> Retrieved:
        raise AssertionError("nothing was to be retrieved")


def test_random_shots_are_one_draw_for_all_queries(splits: Splits) -> None:
    shots = pick_shots(METHODS["icl"](num_shots=5), splits["train"], splits["test"], NoServices())
    assert shots.of_each == [random_shots(splits["train"], 5, 42)] * 20
    assert shots.columns == {}


def test_random_shots_are_drawn_for_each_query_where_that_is_asked_for(splits: Splits) -> None:
    method = METHODS["icl"](num_shots=5, icl_sampling="per_example", icl_seed=7)
    shots = pick_shots(method, splits["train"], splits["test"], NoServices())
    assert shots.of_each == [random_shots_of(query, splits["train"], 5, 7) for query in splits["test"]]


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("icl", "rag")])
def test_a_method_left_at_its_defaults_has_no_shots(name: str, splits: Splits) -> None:
    shots = pick_shots(METHODS[name](), splits["train"], splits["test"], NoServices())
    assert shots.of_each == [[]] * 20


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("zero_shot", "icl")])
def test_every_method_but_those_named_after_other_shots_takes_retrieved_ones(
    name: str, splits: Splits, services: LocalServices, tmp_path: Path
) -> None:
    method = METHODS[name](num_shots=3, **RETRIEVED)
    shots = pick_shots(method, splits["train"], splits["test"], services)
    retriever = make_retriever("toy", splits["train"], tmp_path)
    rows = retriever.search([query.nl for query in splits["test"]], 3)
    assert shots.of_each == [[splits["train"][row] for row in found] for found in rows]
    assert shots.columns["embedding_resolved_revision"] == retriever.revision


@pytest.mark.parametrize(("order", "reverse"), [("nearest_first", False), ("nearest_last", True)])
def test_the_nearest_shot_stands_first_or_last(
    order: str, reverse: bool, splits: Splits, services: LocalServices
) -> None:
    method = METHODS["rag"](num_shots=3, shot_order=order, **RETRIEVED)
    shots = pick_shots(method, splits["train"], splits["test"], services)
    encoded = encode_queries(splits["test"], shots, method, ENCODER, Room(CONTEXT), 8)
    nearest = [tuple(shot.id for shot in own) for own in shots.of_each]
    assert [prompt.shots for prompt in encoded] == [own[::-1] if reverse else own for own in nearest]


def test_virtual_tokens_and_the_answer_take_their_room(splits: Splits) -> None:
    method = METHODS["icl"](num_shots=16)
    shots = pick_shots(method, splits["train"], splits["test"], NoServices())

    def most(max_new_tokens: int, virtual_tokens: int) -> int:
        room = Room(CONTEXT, virtual_tokens=virtual_tokens)
        encoded = encode_queries(splits["test"], shots, method, ENCODER, room, max_new_tokens)
        longest = max(len(prompt.prompt_ids) for prompt in encoded)
        assert longest + max_new_tokens + virtual_tokens <= 2048
        return sum(prompt.dropped_shots for prompt in encoded)

    assert most(8, 0) == 0
    assert 0 < most(1700, 0) < most(1700, 100) < most(1900, 0)


def test_with_on_overflow_error_a_prompt_too_long_is_refused(splits: Splits) -> None:
    method = METHODS["icl"](num_shots=16, on_overflow="error")
    shots = pick_shots(method, splits["train"], splits["test"], NoServices())
    with pytest.raises(ValueError, match="must fit the model's context of 2048 tokens"):
        encode_queries(splits["test"], shots, method, ENCODER, Room(CONTEXT), 1700)


@pytest.mark.parametrize("fields", [{}, RETRIEVED], ids=["random", "retrieved"])
@pytest.mark.parametrize("size", [0, 3])
def test_more_shots_than_training_examples_are_refused(
    fields: dict[str, str], size: int, splits: Splits, services: LocalServices
) -> None:
    with pytest.raises(ValueError, match=f"num_shots must be at most the {size} training examples but got 4"):
        pick_shots(METHODS["lora"](num_shots=4, **fields), splits["train"][:size], splits["test"], services)


@pytest.mark.parametrize("model", ["toy", "bm25"])
def test_one_process_builds_a_retriever_once_for_a_corpus_and_a_model(
    model: str, splits: Splits, services: LocalServices
) -> None:
    if model == "bm25":
        pytest.importorskip("bm25s")
    asked = [services.retrieve("a", splits["train"], Retrieval(model), splits["test"], 2) for _ in range(2)]
    assert asked[0] == asked[1] and len(services.retrievers) == 1
    other = services.retrieve("b", splits["train"][::-1], Retrieval(model), splits["test"], 2)
    assert len(services.retrievers) == 2
    assert other.rows != asked[0].rows


def test_queries_with_their_instruction_in_train_are_counted_once(
    splits: Splits, services: LocalServices, tmp_path: Path
) -> None:
    leaked = splits["train"][0]
    train = [*splits["train"], Example("again", leaked.nl.upper(), "x")]
    queries = [Example("q", leaked.nl, "y"), *splits["test"]]
    retriever = Retriever(train, "toy", tmp_path)
    assert exact_duplicates(train, queries) == 1
    found = services.retrieve("a", train, Retrieval("toy"), queries, 1)
    assert found.near_duplicates == len({each.query for each in near_duplicates(retriever, queries)}) >= 1


def test_words_alone_find_no_near_duplicates(splits: Splits, services: LocalServices) -> None:
    pytest.importorskip("bm25s")
    found = services.retrieve("a", splits["train"], Retrieval("bm25"), splits["test"], 1)
    assert found.near_duplicates is None and found.revision.startswith("bm25 lucene")


def test_one_query_that_does_not_fit_is_marked_and_the_others_are_not(splits: Splits) -> None:
    queries = [Example("long", "very " * 3000, "x"), *splits["test"][:2]]
    method = METHODS["zero_shot"]()
    shots = pick_shots(method, splits["train"], queries, NoServices())
    encoded = encode_queries(queries, shots, method, ENCODER, Room(CONTEXT), 8)
    assert [each.too_long for each in encoded] == [True, False, False]
    assert prompt_columns(encoded)["test_too_long"] == 1
    with pytest.raises(ValueError, match=r"context of 2048 tokens but example long needs \d+ \(1 of 1 examples do"):
        encode_queries(queries[:1], Shots(shots.of_each[:1]), method, ENCODER, Room(CONTEXT), 8)
