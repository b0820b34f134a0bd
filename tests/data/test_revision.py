"""Equal rows have equal revisions, other rows have others."""

import pytest

from raypeft.data.revision import splits_revision
from raypeft.records import Example, Splits

ONE, TWO = Example("1", "reverse `x`", "x[::-1]"), Example("2", "é", "pass")


def splits(**parts: list[Example]) -> Splits:
    return {"train": [ONE], "validation": [], "test": [TWO]} | parts


def test_the_same_data_has_the_same_revision_on_any_machine() -> None:
    assert splits_revision(splits()) == "sha256:937c8b4b4bb8"


def test_the_order_in_which_splits_are_named_does_not_matter() -> None:
    assert splits_revision(dict(reversed(splits().items()))) == splits_revision(splits())


@pytest.mark.parametrize(
    "other",
    [
        splits(train=[TWO], test=[ONE]),
        splits(train=[ONE, TWO]),
        splits(train=[], validation=[ONE]),
        splits(train=[Example("1", "reverse `x`", "x[::-2]")]),
        splits(train=[Example("1", "reverse `y`", "x[::-1]")]),
        splits(train=[Example("3", "reverse `x`", "x[::-1]")]),
    ],
)
def test_any_change_of_the_data_changes_the_revision(other: Splits) -> None:
    assert splits_revision(other) != splits_revision(splits())


def test_the_order_of_examples_changes_the_revision() -> None:
    assert splits_revision(splits(train=[ONE, TWO])) != splits_revision(splits(train=[TWO, ONE]))
