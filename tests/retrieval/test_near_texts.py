"""Prompts that are nearly those of another split are found by their text, as by comparing each with each."""

import random
import time

import pytest

from raypeft.retrieval.near_texts import LEAST, LONG, jaccard, minhash, nearly_in, shingles, skeleton

SENTENCE = "sort list reverse string find all keys of the dictionary whose values are even and print them"
WORDS = SENTENCE.split()


@pytest.mark.parametrize(
    ("one", "other", "is_near"),
    [
        ("Take 3 of `them`!", "take 14 of 'those'", True),
        (
            "sort the names of a given list of strings by length",
            "sort the names of a given list of string by length",
            True,
        ),
        ("convert the given string to lower case", "convert the given list of words to lower case", False),
        ("sort a list of numbers", "open a file and read its lines", False),
        ("12", "13", False),
        ("12", "12", True),
        ("a", "a", True),
        ("", "x", False),
        ("\ud800 sorted by name", "\ud800 sorted by names", True),
    ],
)
def test_texts_are_near_but_for_numbers_quoted_text_and_a_few_characters(one, other, is_near):
    assert nearly_in(["something else", other], [one]) == ({0} if is_near else set())


def varied(rng: random.Random, words: list[str]) -> str:
    return " ".join(rng.choice(WORDS) if rng.random() < 0.06 else word for word in words)


def test_the_same_texts_are_found_as_by_comparing_each_with_each():
    rng = random.Random(1)
    origins = [rng.choices(WORDS, k=12) for _ in range(60)]
    known, asked = ([varied(rng, each) for each in origins] for _ in range(2))
    sets = [shingles(skeleton(text)) for text in known]
    expected = {row for row, text in enumerate(asked)
                if any(jaccard(shingles(skeleton(text)), each) >= LEAST for each in sets)}  # fmt: skip
    assert 10 < len(expected) < 50, "there are both kinds"
    assert nearly_in(known, asked) == expected


def test_minhash_values_agree_as_often_as_sets_do_also_where_a_part_of_them_counts():
    rng = random.Random(2)
    words = ["".join(rng.choices("abcdefghijklmnop", k=6)) for _ in range(3000)]
    one, other = (shingles(" ".join(part), LONG) for part in (words[:2500], words[250:]))
    share = (minhash(one, 10) == minhash(other, 10)).mean()
    assert jaccard(one, other) == pytest.approx(2250 / 3000, abs=0.02)
    assert share == pytest.approx(jaccard(one, other), abs=0.12)


def test_long_texts_of_the_same_words_are_not_near():
    rng = random.Random(3)
    known, asked = ([" ".join(rng.choices(WORDS, k=200)) for _ in range(20)] for _ in range(2))
    assert nearly_in(known, asked) == set()
    assert nearly_in([*known, asked[7].replace("reverse", "invert", 1)], asked) == {7}


def test_nothing_is_near_to_nothing():
    assert nearly_in([], ["x"]) == nearly_in(["x"], []) == set()


@pytest.mark.slow
def test_twenty_thousand_prompts_take_seconds_also_where_all_are_put_in_the_same_words():
    rng = random.Random(4)
    texts = [" ".join(["write a function that does this"] * 3 + rng.choices(WORDS, k=12)) for _ in range(22_000)]
    started = time.process_time()
    nearly_in(texts[:20_000], texts[20_000:])
    assert time.process_time() - started < 20
