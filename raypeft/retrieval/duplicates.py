"""Instructions of one split that stand in another, too: a comparison of texts, without a model.

    exact_duplicates(splits["train"], splits["test"])      # how many test examples

Rewordings are found by their vectors: `raypeft.retrieval.retriever.near_duplicates`.
"""

from collections.abc import Sequence

from raypeft.records import Example


def same_instruction(train: Sequence[Example], queries: Sequence[Example]) -> list[list[int]]:
    """For each query the positions in `train` of its own instruction, case and white space aside."""
    rows: dict[str, list[int]] = {}
    for row, example in enumerate(train):
        rows.setdefault(_plain(example.nl), []).append(row)
    return [rows.get(_plain(query.nl), []) for query in queries]


def exact_duplicates(train: Sequence[Example], queries: Sequence[Example]) -> int:
    """How many queries have their instruction in `train`, case and white space aside."""
    return sum(bool(rows) for rows in same_instruction(train, queries))


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
