"""Where a candidate ends."""

import pytest
from transformers import AutoTokenizer

from raypeft.decoding.stopping import Ends
from raypeft.models.table import TOY_FOLDER

TOKENIZER = AutoTokenizer.from_pretrained(TOY_FOLDER)
EOS = TOKENIZER.eos_token_id


def ids(text):
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


def test_a_candidate_ends_with_its_end_of_sequence_and_what_follows_is_dropped():
    tokens = [*ids("x = 1"), EOS, EOS, *ids("y")]
    assert Ends(TOKENIZER).cut(tokens) == ([*ids("x = 1"), EOS], "x = 1", "eos")


def test_without_an_end_all_tokens_are_kept():
    assert Ends(TOKENIZER).cut(ids("x = 1")) == (ids("x = 1"), "x = 1", "length")


@pytest.mark.parametrize("stop", ["\n", "\n### Inst", "```"])
def test_the_text_ends_before_the_stop_string_and_the_tokens_with_its_last(stop):
    tokens = ids(f"x = 1{stop}more{stop}")
    kept, text, reason = Ends(TOKENIZER, [stop]).cut(tokens)
    assert (text, reason) == ("x = 1", "stop")
    assert stop in TOKENIZER.decode(kept)
    assert stop not in TOKENIZER.decode(kept[:-1])


def test_the_first_of_several_stop_strings_counts():
    assert Ends(TOKENIZER, ["b", "a"]).cut(ids("x a b"))[1] == "x "


def test_an_end_of_sequence_before_the_stop_string_counts():
    assert Ends(TOKENIZER, ["\n"]).cut([*ids("x"), EOS, *ids("\ny")])[1:] == ("x", "eos")


def test_an_empty_stop_string_is_refused():
    with pytest.raises(ValueError, match="at least one character but got"):
        Ends(TOKENIZER, [""])


def test_a_candidate_ends_at_a_further_token_that_ends_its_turn():
    turn_end = TOKENIZER.pad_token_id
    ends = Ends(TOKENIZER, end_id=turn_end)
    assert ends.cut([*ids("x = 1"), turn_end, *ids("y"), EOS]) == ([*ids("x = 1"), turn_end], "x = 1", "eos")
    assert ends.cut([*ids("x = 1"), EOS, *ids("y")])[1] == "x = 1"
