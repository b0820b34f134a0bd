"""Finds prompts that are nearly those of another split, by comparing texts: no model, seconds for thousands of them.

    nearly_in(train, test)      # rows of `test`

Numbers, quoted text and punctuation are left out. Of what remains, two prompts are nearly the same where the sets of
their sequences of five characters have a Jaccard similarity of 0.8 or more; long prompts are compared by sequences of
nine (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 3.2). With sequences of words, as for whole documents,
one other word in ten would make a prompt another one.

The nearest prompt is found by MinHash (Broder 1997), each value cut to a byte (Li and Koenig 2010), and then compared
exactly. All pairs of these short rows of bytes are looked at: that takes the same time for any texts, also where all of
them are put in nearly the same words, for which an index by rare sequences takes minutes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

LEAST = 0.8
"""Jaccard similarity from which two prompts are nearly the same."""
SHORT, LONG, LONG_FROM = 5, 9, 500
"""Characters of a sequence, and the mean length of prompts from which it is the longer one: long texts have most short
sequences in common by chance."""
LONGEST = 1_000_000
"""Characters of a prompt that are looked at."""
VALUES = 128
"""MinHash values of a prompt: the similarity that they tell is wrong by 0.035 (one standard deviation, at 0.8)."""
ENOUGH = 400
"""Sequences of a prompt of usual length that its MinHash values are made of."""
FACTORS = 2 * np.random.default_rng(42).integers(1 << 63, size=LONG + VALUES, dtype=np.uint64) + 1
"""Odd numbers that make one number of a sequence, and others of that."""


def nearly_in(known: Iterable[str], asked: Sequence[str]) -> set[int]:
    """The rows of `asked` whose text is nearly one of `known`, or the same."""
    there, bare = list(dict.fromkeys(map(skeleton, known))), [skeleton(text) for text in asked]
    if not there or not bare:
        return set()
    mean = sum(map(len, bare)) // len(bare)
    sequences = partial(shingles, size=LONG if mean > LONG_FROM else SHORT)
    values = np.array([minhash(sequences(text), 1 + mean // ENOUGH) for text in bare]).T.copy()
    nearest, most, equal = np.zeros(len(bare), int), np.zeros(len(bare), np.uint8), np.empty(values.shape, bool)
    for row, text in enumerate(there):
        np.equal(values, minhash(sequences(text), 1 + mean // ENOUGH)[:, None], out=equal)
        alike = equal.view(np.uint8).sum(axis=0, dtype=np.uint8)
        nearest[alike > most] = row
        np.maximum(most, alike, out=most)
    return {row for row, text in enumerate(bare) if jaccard(sequences(text), sequences(there[nearest[row]])) >= LEAST}


def skeleton(text: str) -> str:
    """A text in lower case without numbers, quoted text and punctuation; as it is where nothing else stands in it."""
    without_quotes = re.sub(r"`[^`]*`|\"[^\"]*\"|'[^']*'", " ' ", text[:LONGEST].casefold())
    return " ".join(re.sub(r"\d+|\W+", " ", without_quotes).split()) or text[:LONGEST]


def shingles(text: str, size: int = SHORT) -> NDArray[np.uint64]:
    """The sequences of so many characters of a text as numbers."""
    codes = np.frombuffer(text.ljust(size).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    last = len(codes) - size + 1
    hashed = np.zeros(last, np.uint64)
    for place, factor in enumerate(FACTORS[:size]):
        hashed += codes[place : last + place] * factor
    return hashed


def minhash(hashed: NDArray[np.uint64], one_in: int = 1) -> NDArray[np.uint8]:
    """The MinHash values of a set. Of large sets about one element in so many counts, the same ones in every set."""
    if len(hashed) > ENOUGH:
        part = hashed[(hashed >> np.uint64(40)) % np.uint64(one_in) == 0]
        hashed = part if len(part) else hashed
    least = np.multiply.outer(FACTORS[LONG:], hashed).min(axis=1)
    return (least >> np.uint64(20)).astype(np.uint8)


def jaccard(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> float:
    """How similar two sets are."""
    return len(np.intersect1d(one, other)) / len(np.union1d(one, other))
