"""Chooses the shots of each query: the training examples in its prompt, either random or retrieved.

    shots = pick_shots(trial.method, splits["train"], splits["test"], services)
    shots.of_each[0]            # the first test example's shots, nearest first
    encode_queries(splits["test"], shots, trial.method, Encoder(tokenizer), context_length=2048, reserved=64)

`raypeft.prompting.forms` turns them into text.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from raypeft.data.revision import splits_revision
from raypeft.methods import Method
from raypeft.prompting.encoding import Encoder, check_fits
from raypeft.records import Column, Example, Prompt
from raypeft.services.protocol import Retrieval, Services

COLUMNS = (
    Column("mean_prompt_tokens", float, "Mean prompt length on the test split, including shots", "tokens"),
    Column("median_prompt_tokens", int, "Median prompt length on the test split", "tokens"),
    Column("p95_prompt_tokens", int, "95th percentile of the prompt length on the test split", "tokens"),
    Column("max_prompt_tokens", int, "Maximum prompt length on the test split", "tokens"),
    Column("cut_examples", int, "Test examples whose prompt did not fit with all its shots", "examples"),
    Column(
        "near_duplicates",
        int,
        "Test examples whose instruction is an exact duplicate, or has a cosine similarity of 0.95 or more to a "
        "training instruction. null if no embedding model was used",
        "examples",
    ),
    Column(
        "embedding_resolved_revision",
        str,
        "Version of what retrieved the shots: its commit on the hub or the hash of its files, and the libraries used",
    ),
)
"""The columns filled by `prompt_columns` and `Shots.columns`."""


@dataclass(frozen=True, slots=True)
class Shots:
    """The shots of all test examples, and the columns on how they were found."""

    of_each: list[list[Example]]
    """The shots of each test example. Retrieved ones: most similar first; random ones: in the order drawn."""
    columns: dict[str, Any] = field(default_factory=dict)


def pick_shots(method: Method, train: Sequence[Example], queries: Sequence[Example], services: Services) -> Shots:
    """The shots of each query, chosen as `method` says. Queries must come from another split than `train`.

    Raises ValueError if `train` has too few examples, and the errors of `Services.retrieve`.
    """
    count = method.num_shots
    if count and method.shot_source == "retrieved":
        if count > len(train):
            raise ValueError(f"num_shots must be at most the {len(train)} training examples but got {count}")
        corpus = splits_revision({"train": list(train)})
        retrieval = Retrieval(**{field.name: getattr(method, field.name) for field in fields(Retrieval)})
        retrieved = services.retrieve(corpus, train, retrieval, queries, count)
        columns = {"embedding_resolved_revision": retrieved.revision, "near_duplicates": retrieved.near_duplicates}
        return Shots([[train[row] for row in rows] for rows in retrieved.rows], columns)
    if method.icl_sampling == "per_example":
        return Shots([random_shots_of(query, train, count, method.icl_seed) for query in queries])
    return Shots([random_shots(train, count, method.icl_seed)] * len(queries))


def encode_queries(
    queries: Sequence[Example],
    shots: Shots,
    method: Method,
    encoder: Encoder,
    context_length: int | None,
    reserved: int,
) -> list[Prompt]:
    """The prompts of `queries` with their shots. With `on_overflow: drop`, shots that do not fit are left out.

    `reserved` tokens of the context are for virtual tokens and the answer. Raises ValueError
    (`raypeft.prompting.encoding.check_fits`) if a prompt without droppable shots does not fit the model's context.
    """
    room = context_length - reserved if context_length and method.on_overflow == "drop" else None
    nearest_last = method.shot_source == "retrieved" and method.shot_order == "nearest_last"
    encoded = [
        encoder.encode_in_room(query, its_shots, room, nearest_last)
        for query, its_shots in zip(queries, shots.of_each, strict=True)
    ]
    check_fits(encoded, context_length, reserved)
    return encoded


def prompt_columns(queries: Sequence[Prompt]) -> dict[str, Any]:
    """Statistics of the prompt lengths in tokens, and the number of prompts that did not fit with all their shots."""
    lengths = sorted(len(query.prompt_ids) for query in queries)
    return {
        "mean_prompt_tokens": sum(lengths) / len(lengths),
        "median_prompt_tokens": lengths[(len(lengths) - 1) // 2],
        "p95_prompt_tokens": lengths[math.ceil(0.95 * len(lengths)) - 1],
        "max_prompt_tokens": lengths[-1],
        "cut_examples": sum(query.dropped_shots > 0 for query in queries),
    }


def random_shots(train: Sequence[Example], num_shots: int, icl_seed: int) -> list[Example]:
    """Random shots that are the same for all queries, as in the paper (RQ1): one `random.sample` of the training split.

    Raises ValueError if the split has too few examples.
    """
    return _sample(train, num_shots, random.Random(icl_seed))


def random_shots_of(query: Example, train: Sequence[Example], num_shots: int, icl_seed: int) -> list[Example]:
    """Random shots for one query, which depend on the seed and the query's id. Raises as `random_shots`."""
    return _sample(train, num_shots, random.Random(f"{icl_seed}/{query.id}"))


def _sample(train: Sequence[Example], num_shots: int, generator: random.Random) -> list[Example]:
    if num_shots > len(train):
        raise ValueError(f"num_shots must be at most the {len(train)} training examples but got {num_shots}")
    return generator.sample(list(train), num_shots)
