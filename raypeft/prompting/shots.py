"""Chooses the shots of each query: the training examples in its prompt, either random or retrieved.

    shots = pick_shots(trial.method, splits["train"], splits["test"], services)
    shots.of_each[0]            # the first test example's shots, nearest first
    encode_queries(splits["test"], shots, trial.method, Encoder(tokenizer), Room(2048), max_new_tokens=64)

`raypeft.prompting.forms` turns them into text.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from raypeft.data.revision import splits_revision
from raypeft.methods import Method
from raypeft.prompting.encoding import Encoder
from raypeft.prompting.room import Room
from raypeft.records import Column, Example, Prompt
from raypeft.services.protocol import Retrieval, Services

COLUMNS = (
    Column("mean_prompt_tokens", float, "Mean prompt length on the test split, including shots", "tokens"),
    Column("median_prompt_tokens", int, "Median prompt length on the test split", "tokens"),
    Column("p95_prompt_tokens", int, "95th percentile of the prompt length on the test split", "tokens"),
    Column("max_prompt_tokens", int, "Maximum prompt length on the test split", "tokens"),
    Column(
        "test_too_long",
        int,
        "Test examples whose prompt and answer do not fit the model's context. Nothing is generated for them, and they "
        "count as misses",
        "examples",
    ),
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
    room: Room,
    max_new_tokens: int,
) -> list[Prompt]:
    """The prompts of `queries` with their shots. With `on_overflow: drop`, shots that do not fit are left out.

    A prompt that has no room beside an answer of `max_new_tokens` all the same is marked as `too_long`. Raises
    ValueError if that is so of all prompts, or of one whose shots must not be dropped.
    """
    drops = method.on_overflow == "drop"
    limit = room.beside(max_new_tokens) if drops else None
    nearest_last = method.shot_source == "retrieved" and method.shot_order == "nearest_last"
    encoded = [
        encoder.encode_in_room(query, its_shots, limit, nearest_last)
        for query, its_shots in zip(queries, shots.of_each, strict=True)
    ]
    too_long = [not room.fits(len(each.prompt_ids), max_new_tokens) for each in encoded]
    if any(too_long) and (all(too_long) or not drops):
        raise ValueError(room.problem(encoded, max_new_tokens, method.num_shots))
    return [replace(each, too_long=long) for each, long in zip(encoded, too_long, strict=True)]


def prompt_columns(queries: Sequence[Prompt]) -> dict[str, Any]:
    """Statistics of the prompt lengths in tokens, and the number of prompts that did not fit with all their shots."""
    lengths = sorted(len(query.prompt_ids) for query in queries)
    return {
        "mean_prompt_tokens": sum(lengths) / len(lengths),
        "median_prompt_tokens": lengths[(len(lengths) - 1) // 2],
        "p95_prompt_tokens": lengths[math.ceil(0.95 * len(lengths)) - 1],
        "max_prompt_tokens": lengths[-1],
        "test_too_long": sum(query.too_long for query in queries),
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
