"""Finds test examples whose instruction is also in the training split, by comparing texts.

    exact_duplicates(splits["train"], splits["test"])      # number of test examples

`raypeft.retrieval.retriever.near_duplicates` also finds similar instructions, by their embeddings.
"""

from collections.abc import Sequence

from raypeft.data.text import plain
from raypeft.records import Example


def same_instruction(train: Sequence[Example], queries: Sequence[Example]) -> list[list[int]]:
    """For each query, the rows of `train` that have the same instruction, ignoring case and white space."""
    rows: dict[str, list[int]] = {}
    for row, example in enumerate(train):
        rows.setdefault(plain(example.asked), []).append(row)
    return [rows.get(plain(query.asked), []) for query in queries]


def exact_duplicates(train: Sequence[Example], queries: Sequence[Example]) -> int:
    """Number of queries whose instruction is also in `train`, ignoring case and white space."""
    return sum(bool(rows) for rows in same_instruction(train, queries))
