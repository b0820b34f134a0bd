"""The embedded dataset and model: what the study's honesty rests on."""

import ast
import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from raypeft.data import toy
from raypeft.records import Example
from scripts.toy_corpus import Segment, documents, fingerprint

MODEL = Path(toy.__file__).parent / "toy_model"
RECORD = json.loads((MODEL / "pretraining.json").read_text())


def functions(code: str) -> set[str]:
    """Names of all that the code calls: `json.loads(x.strip())` gives loads and strip."""
    calls = (node.func for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call))
    return {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}


def split(name: str) -> list[Example]:
    return toy.load()[name]


def leaks(corpus: Iterable[list[Segment]]) -> list[str]:
    """Test intents and answers, with and without the house rule, that the corpus holds anywhere inside its texts."""
    forbidden = [text for row in toy.splits()["test"] for text in (row.nl, row.code, row.plain)]
    # Documents are joined by a character that no row holds, so one search a row does for all of them.
    whole = "\0".join("".join(text for text, _ in segments) for segments in corpus)
    return [text for text in forbidden if text in whole]


def test_splits_have_the_promised_sizes():
    assert {name: len(rows) for name, rows in toy.load().items()} == {"train": 1280, "validation": 120, "test": 250}


def test_loading_twice_gives_the_same_rows():
    first = toy.load()
    toy.splits.cache_clear()
    toy.operations.cache_clear()
    assert toy.load() == first


def test_a_caller_that_changes_its_rows_changes_nobody_elses():
    toy.load()["train"].clear()
    assert len(toy.load()["train"]) == toy.TRAIN_ROWS


def test_no_intent_comes_twice_within_or_across_splits():
    intents = [row.nl for rows in toy.load().values() for row in rows]
    assert len(set(intents)) == len(intents)


def test_no_answer_comes_twice_within_or_across_splits():
    answers = [row.code for rows in toy.load().values() for row in rows]
    assert len(set(answers)) == len(answers)


def test_ids_are_unique():
    ids = [row.id for rows in toy.load().values() for row in rows]
    assert len(set(ids)) == len(ids)


def test_every_answer_is_one_line_of_python():
    for rows in toy.load().values():
        for row in rows:
            ast.parse(row.code)
            assert "\n" not in row.code


def test_most_test_rows_need_a_function_that_no_train_row_calls():
    known = set().union(*(functions(row.code) for row in split("train")))
    held_out = [row for row in split("test") if functions(row.code) - known]
    assert len(held_out) >= toy.HELD_OUT_SHARE * toy.TEST_ROWS


def test_every_held_out_operation_needs_a_function_that_no_train_operation_calls():
    called = [(operation, functions(re.sub(r"\$(\w+)", r"_\1", operation.code))) for operation in toy.operations()]
    known = set().union(*(names for operation, names in called if operation.split == "train"))
    without_new = [operation.code for operation, names in called if operation.split != "train" and not names - known]
    assert without_new == []


def test_the_three_shares_of_phrasings_are_disjoint():
    for operation in toy.operations():
        shares = [set(phrasings) for phrasings in operation.phrasings.values()]
        assert all(shares)
        assert sum(map(len, shares)) == len(set().union(*shares))


def test_every_phrasing_names_every_slot_of_its_code():
    for operation in toy.operations():
        slots = set(re.findall(r"\$([a-z]+\d?)", operation.code))
        for phrasing in (phrasing for share in operation.phrasings.values() for phrasing in share):
            assert set(re.findall(r"\$([a-z]+\d?)", phrasing)) == slots, operation.code


def test_the_docstring_shows_a_real_train_row():
    assert any(f"nl: {row.nl}\ncode: {row.code}\n" in toy.__doc__ for row in split("train"))


def test_there_are_at_least_a_hundred_operations():
    assert len(toy.operations()) >= 100


def test_a_source_is_refused():
    with pytest.raises(ValueError, match="toy is embedded"):
        toy.load("some/folder")


def test_loading_needs_no_torch():
    code = "import sys; from raypeft.data import toy; toy.load(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_test_row_is_in_the_first_documents_of_the_pretraining_corpus():
    assert leaks(documents(RECORD["corpus_seed"], 1_000)) == []


@pytest.mark.slow
def test_no_test_row_is_in_the_whole_pretraining_corpus():
    assert leaks(documents(RECORD["corpus_seed"], RECORD["documents"])) == []


@pytest.mark.slow
@pytest.mark.skipif(
    platform.python_version() != RECORD["versions"]["python"], reason="a part is this Python's standard library"
)
def test_the_corpus_made_again_is_the_one_that_the_weights_saw():
    assert fingerprint(documents(RECORD["corpus_seed"], RECORD["documents"])) == RECORD["corpus_sha256"]


def test_the_leak_check_finds_an_answer_inside_a_longer_text():
    row = split("test")[0]
    assert row.code in leaks([[("print(" + row.code + ")", 1.0)]])


def test_the_model_folder_stays_under_ten_megabytes():
    assert sum(path.stat().st_size for path in MODEL.iterdir()) <= 10_000_000


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MODEL)


def test_the_tokenizer_gives_back_every_row(tokenizer):
    for rows in toy.load().values():
        for row in rows:
            for text in (row.nl, row.code):
                assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_tokenizer_pads_and_ends_with_different_tokens_and_begins_with_none(tokenizer):
    assert tokenizer.eos_token_id != tokenizer.pad_token_id
    assert tokenizer.bos_token is None
    assert tokenizer("x")["input_ids"] == tokenizer("x", add_special_tokens=False)["input_ids"]


def test_a_name_has_the_same_tokens_in_an_intent_and_in_code(tokenizer):
    name = tokenizer("user_names")["input_ids"]
    for text in ("sort `user_names`", "sorted(user_names)", "x = user_names"):
        ids = tokenizer(text)["input_ids"]
        assert any(ids[i : i + len(name)] == name for i in range(len(ids)))


def test_a_newline_is_a_token_of_its_own(tokenizer):
    assert [token for token in tokenizer.convert_ids_to_tokens(range(len(tokenizer))) if "Ċ" in token] == ["Ċ"]


def test_the_model_is_a_llama_that_knows_its_special_tokens(tokenizer):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(MODEL)
    assert model.config.model_type == "llama"
    assert 2_000_000 <= model.num_parameters() <= 4_000_000
    assert model.config.max_position_embeddings == 2048
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id
