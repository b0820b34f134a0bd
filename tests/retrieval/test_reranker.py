"""A cross-encoder's order of retrieved examples, with a small random BERT as the cross-encoder."""

import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from raypeft.data import DATASETS
from raypeft.retrieval.reranker import Reranker
from raypeft.services.local import LocalServices
from raypeft.services.protocol import Retrieval

SPLITS = DATASETS["toy"].load(None, None)
TRAIN, QUERIES = SPLITS["train"][:60], SPLITS["test"][:5]
INSTRUCTIONS = [each.nl for each in TRAIN]


def make_cross_encoder(folder, num_labels=1):
    words = sorted({word.strip("`'") for each in (*TRAIN, *QUERIES) for word in each.nl.lower().split()} - {""})
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), num_labels=num_labels, initializer_range=0.5, **sizes)
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory):
    return make_cross_encoder(tmp_path_factory.mktemp("cross"))


def test_the_order_is_that_of_the_cross_encoder_itself(cross_encoder):
    rows = [list(range(20)), list(range(40, 55))]
    queries = [each.nl for each in QUERIES[:2]]
    found = Reranker(cross_encoder).reorder(queries, rows, INSTRUCTIONS)
    library = CrossEncoder(cross_encoder, device="cpu")
    for query, own, ordered in zip(queries, rows, found, strict=True):
        ranked = library.rank(query, [INSTRUCTIONS[row] for row in own], show_progress_bar=False)
        assert ordered == [own[each["corpus_id"]] for each in ranked]
        assert ordered != own


def test_equal_scores_keep_the_order_of_retrieval(cross_encoder):
    same = [INSTRUCTIONS[0]] * 8
    assert Reranker(cross_encoder).reorder([QUERIES[0].nl], [[5, 3, 7, 1]], same) == [[5, 3, 7, 1]]


def test_the_shots_are_the_best_of_the_nearest_and_the_row_names_both_models(cross_encoder, tmp_path):
    services = LocalServices(tmp_path)
    plain = services.retrieve("toy", TRAIN, Retrieval("toy"), QUERIES, 20)
    found = services.retrieve("toy", TRAIN, Retrieval("toy", reranker=cross_encoder, rerank_candidates=20), QUERIES, 3)
    ordered = Reranker(cross_encoder).reorder([each.nl for each in QUERIES], plain.rows, INSTRUCTIONS)
    assert found.rows == [own[:3] for own in ordered]
    assert found.revision.startswith(f"{plain.revision}; reranked by folder@")


@pytest.mark.parametrize("candidates", [1, 60, 1000])
def test_any_number_of_candidates_gives_as_many_shots_as_asked_for(cross_encoder, tmp_path, candidates):
    how = Retrieval("toy", reranker=cross_encoder, rerank_candidates=candidates)
    found = LocalServices(tmp_path).retrieve("toy", TRAIN, how, QUERIES, 4)
    assert [len(set(own)) for own in found.rows] == [4] * len(QUERIES)


def test_a_model_that_scores_no_pairs_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must give one finite number a pair but .* gives \(4, 3\)"):
        Reranker(make_cross_encoder(tmp_path, num_labels=3)).reorder([QUERIES[0].nl], [[0, 1, 2, 3]], INSTRUCTIONS)


def test_a_reranker_that_is_not_at_hand_is_an_error_with_its_name():
    with pytest.raises(
        ValueError, match=r"reranker must be a folder, or the hub id of .* but got 'nobody/no-such-model'"
    ):
        Reranker("nobody/no-such-model")
