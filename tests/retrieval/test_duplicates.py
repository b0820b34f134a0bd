"""Instructions of one split that stand in another."""

from raypeft.records import Example
from raypeft.retrieval.duplicates import exact_duplicates, same_instruction


def examples_of(texts: list[str]) -> list[Example]:
    return [Example(str(row), text, "x") for row, text in enumerate(texts)]


def test_an_instruction_in_both_splits_is_found_whatever_its_case_and_blanks() -> None:
    train = examples_of(["Sort  list `x`", "open a file", "sort list `x`\n"])
    assert same_instruction(train, examples_of(["SORT LIST `X`", "close a file"])) == [[0, 2], []]


def test_a_query_counts_once_however_often_its_instruction_stands_in_train() -> None:
    train = examples_of(["sort list `x`", "sort list `x`", "open a file"])
    assert exact_duplicates(train, examples_of(["sort list `x`", "close a file", "open a file"])) == 2
    assert exact_duplicates([], examples_of(["sort list `x`"])) == 0


def test_chats_with_one_last_question_are_duplicates_only_where_the_rest_is_the_same() -> None:
    one, other = (Example("", "go on", "x", earlier=(Example("", text, "y"),)) for text in ("sort", "reverse"))
    assert exact_duplicates([one], [other]) == 0 and exact_duplicates([one], [one]) == 1
