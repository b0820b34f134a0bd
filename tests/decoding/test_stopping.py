"""Where a candidate ends."""

import pytest
from metaspace import metaspace_tokenizer
from transformers import AutoTokenizer

from raypeft.decoding.opening import Opening
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


def test_white_space_at_the_beginning_ends_an_answer_unless_it_is_skipped():
    tokens = ids("\n x = 1\ny")
    assert Ends(TOKENIZER, ["\n"]).cut(tokens)[1] == ""
    kept, text, reason = Ends(TOKENIZER, ["\n"], skip_blanks=True).cut(tokens)
    assert (text.strip(), reason) == ("x = 1", "stop")
    assert TOKENIZER.decode(kept).rstrip("\n") == text


def test_another_end_of_sequence_ends_a_candidate_and_stays_in_its_text_where_it_is_no_special_token():
    (sharp,) = ids("#")
    tokens = [*ids("x"), EOS, *ids("y"), sharp, *ids("z")]
    assert Ends(TOKENIZER, end_ids=[sharp]).cut(tokens) == (tokens[:-1], "xy#", "eos")


def test_the_papers_code_stopped_at_the_names_of_end_tokens_as_well():
    assert Ends(TOKENIZER, ["```"]).shows_stop(ids("x</s>y"))
    assert Ends(TOKENIZER, ["```"]).shows_stop(ids("x\n```"))
    assert not Ends(TOKENIZER, ["```"]).shows_stop(ids("x\ny"))


def test_a_candidate_ends_at_a_further_token_that_ends_its_turn():
    turn_end = TOKENIZER.pad_token_id
    ends = Ends(TOKENIZER, end_ids=[EOS, turn_end])
    assert ends.cut([*ids("x = 1"), turn_end, *ids("y"), EOS]) == ([*ids("x = 1"), turn_end], "x = 1", "eos")
    assert ends.cut([*ids("x = 1"), EOS, *ids("y")])[1] == "x = 1"


@pytest.mark.parametrize(
    ("answer", "text", "reason"),
    [
        ("\n\nx = 1\ny", "x = 1", "stop"),
        ("```python\nx = 1\n```\nThis sets x", "x = 1", "stop"),
        ("\n```\n\nx = 1\ny", "x = 1", "stop"),
        ("```py\nx = 1```", "x = 1", "stop"),
        ("x = 1\n```python\ny\n```", "x = 1", "stop"),
        ("`x`", "`x`", "length"),
        ("\n\n", "", "length"),
        ("```python", "", "length"),
        ("``` is a fence\nx", "``` is a fence", "stop"),
    ],
)
def test_a_stop_string_counts_after_the_newlines_and_the_fence_that_open_an_answer(answer, text, reason):
    ends = Ends(TOKENIZER, ["\n"], opening=Opening())
    tokens, found, why = ends.cut(ids(answer))
    assert (found, why) == (text, reason)
    if reason == "stop":
        assert ends.has_stop(tokens) and not ends.has_stop(tokens[:-1])


def test_without_a_stop_string_the_closing_fence_ends_an_answer_that_opened_one():
    ends = Ends(TOKENIZER, opening=Opening())
    assert ends.cut(ids("```python\nx = 1\ny\n```\nprose"))[1:] == ("x = 1\ny\n", "stop")
    assert ends.cut(ids("x = 1\n```\n"))[1:] == ("x = 1\n```\n", "length")


def test_in_a_fence_of_the_prompt_a_bare_fence_closes_and_one_with_a_language_opens():
    ends = Ends(TOKENIZER, ["```"], opening=Opening(in_fence=True))
    assert ends.cut(ids("```\nprose"))[1:] == ("", "stop")
    assert ends.cut(ids("```python\nx = 1\n```\n"))[1:] == ("x = 1\n", "stop")
    assert ends.cut(ids("\nx = 1\n```\n"))[1:] == ("x = 1\n", "stop")


def test_spaces_before_an_answer_are_left_out_only_where_that_is_asked_for():
    assert Ends(TOKENIZER, ["\n"], opening=Opening()).cut(ids("  x\n"))[1] == "  x"
    assert Ends(TOKENIZER, ["\n"], opening=Opening(" \t\n")).cut(ids(" \n x\n"))[1] == "x"


@pytest.mark.parametrize("answer", ["x = 1", "  x = 1\ny", "x\n\n```python\n", "`a`\n", "#```\n"])
def test_an_answer_that_begins_with_neither_newline_nor_fence_is_cut_as_ever(answer):
    for stop in ([], ["\n"], ["```"], ["\n### Inst"]):
        tokens = [*ids(answer), EOS]
        assert Ends(TOKENIZER, stop, opening=Opening()).cut(tokens) == Ends(TOKENIZER, stop).cut(tokens)


def test_an_answer_is_decoded_as_the_continuation_of_its_prompt_with_all_its_spaces():
    tokenizer = metaspace_tokenizer()
    prompt, whole = (tokenizer(text)["input_ids"] for text in ("def f(x):\n", "def f(x):\n    return x\n"))
    answer = whole[len(prompt) :]
    assert Ends(tokenizer, ["\n"]).cut(answer, prompt)[1] == "    return x"
    assert Ends(tokenizer, ["\n"]).cut(answer)[1] == "   return x", "by itself it loses a space"


def test_of_byte_level_tokens_the_prompt_changes_nothing():
    for text in ["    return x", "x", "\n x", "é = 'ü'", ""]:
        for prompt in ["### Response:\n", "é", "A: "]:
            assert Ends(TOKENIZER, ["\n"]).cut(ids(text), ids(prompt)) == Ends(TOKENIZER, ["\n"]).cut(ids(text))
