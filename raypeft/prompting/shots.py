"""Which training examples stand before each query: none, random ones, or the nearest, for any tuning method.

    shots = pick_shots(trial.method, splits["train"], splits["test"], services)
    shots.of_each[0]            # the first test example's shots, nearest first
    encode_queries(splits["test"], shots, trial.method, form, base, max_new_tokens=64)

What they look like as text, and which of them a prompt has room for, is in `raypeft.prompting.prompts`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from raypeft.data.revision import splits_revision
from raypeft.methods import Method
from raypeft.models.loading import Base
from raypeft.prompting import prompts
from raypeft.records import Column, Example, Prompt
from raypeft.services.protocol import Retrieval, Services

COLUMNS = (
    Column("mean_prompt_tokens", float, "mean length of the test prompts, shots included", "tokens"),
    Column("median_prompt_tokens", int, "half of the test prompts are no longer", "tokens"),
    Column("p95_prompt_tokens", int, "95 % of the test prompts are no longer", "tokens"),
    Column("max_prompt_tokens", int, "longest test prompt, shots included", "tokens"),
    Column("cut_examples", int, "test examples whose prompt had no room for all shots", "examples"),
    Column(
        "near_duplicates",
        int,
        "these, and those of cosine 0.95 or more to one by the embedding model; null where none compared them",
        "examples",
    ),
    Column(
        "embedding_resolved_revision",
        str,
        "what retrieved the shots: commit of its model on the hub or hash of its files, and libraries",
    ),
)
"""What the row says of shots and prompts: `prompt_columns` and `Shots.columns`."""


@dataclass(frozen=True, slots=True)
class Shots:
    """The shots of every test example, and what the row says of how they were found."""

    of_each: list[list[Example]]
    """Nearest first, or in the order of the draw."""
    columns: dict[str, Any] = field(default_factory=dict)


def pick_shots(method: Method, train: Sequence[Example], queries: Sequence[Example], services: Services) -> Shots:
    """The shots that `method` asks for. Queries are another split's examples: none of them stands in `train`.

    Raises ValueError where `train` has too few examples, and as `Services.retrieve` where they are retrieved.
    """
    count = method.num_shots
    if count and method.shot_source == "retrieved":
        if count > len(train):
            raise ValueError(f"num_shots must be at most the {len(train)} training examples but got {count}")
        corpus = splits_revision({"train": list(train)})
        how = Retrieval(**{each.name: getattr(method, each.name) for each in fields(Retrieval)})
        found = services.retrieve(corpus, train, how, queries, count)
        columns = {"embedding_resolved_revision": found.revision, "near_duplicates": found.near_duplicates}
        return Shots([[train[row] for row in rows] for rows in found.rows], columns)
    if method.icl_sampling == "per_example":
        return Shots([prompts.pick_shots_for(each, train, count, method.icl_seed) for each in queries])
    return Shots([prompts.pick_shots(train, count, method.icl_seed)] * len(queries))


def encode_queries(
    queries: Sequence[Example],
    shots: Shots,
    method: Method,
    form: prompts.Form,
    base: Base,
    max_new_tokens: int,
    virtual_tokens: int = 0,
) -> list[Prompt]:
    """The prompts of `queries` with their shots, less those that the model's context has no room for.

    Raises ValueError (`raypeft.prompting.prompts.check_fits`) where a query does not fit by itself, or with
    `on_overflow: error`.
    """
    room = None
    if base.context_length and method.on_overflow == "drop":
        room = base.context_length - max_new_tokens - virtual_tokens
    nearest_last = method.shot_source == "retrieved" and method.shot_order == "nearest_last"
    encoded = [
        prompts.encode_in_room(each, base.tokenizer, own, room, base.is_encoder_decoder, form, nearest_last)
        for each, own in zip(queries, shots.of_each, strict=True)
    ]
    prompts.check_fits(encoded, base.context_length, max_new_tokens, virtual_tokens)
    return encoded


def prompt_columns(queries: Sequence[Prompt]) -> dict[str, Any]:
    """How long the prompts are, in tokens, and how many of them had no room for their shots."""
    lengths = sorted(len(query.prompt_ids) for query in queries)
    return {
        "mean_prompt_tokens": sum(lengths) / len(lengths),
        "median_prompt_tokens": lengths[(len(lengths) - 1) // 2],
        "p95_prompt_tokens": lengths[math.ceil(0.95 * len(lengths)) - 1],
        "max_prompt_tokens": lengths[-1],
        "cut_examples": sum(query.dropped_shots > 0 for query in queries),
    }
