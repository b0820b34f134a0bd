"""Which examples a step takes, and in which order."""

import random
from itertools import combinations

from raypeft.methods import Full
from raypeft.records import Example, Prompt
from raypeft.training.batches import batches_by_length, random_batches, training_steps

PROMPTS = [Prompt(Example(str(number), "a", "b"), [5], [7]) for number in range(64)]


def orders(seed: int, epochs: int = 5) -> list[tuple[str, ...]]:
    """The order of the examples in each epoch."""
    steps = training_steps(PROMPTS, Full(num_train_epochs=epochs), seed, 8 * epochs)
    ids = [prompt.example.id for batches in steps for batch in batches for prompt in batch]
    return [tuple(ids[start : start + 64]) for start in range(0, len(ids), 64)]


def test_every_example_is_taken_once_an_epoch() -> None:
    for order in orders(1):
        assert sorted(order) == sorted(prompt.example.id for prompt in PROMPTS)


def test_no_two_seeds_and_no_two_epochs_take_the_examples_in_the_same_order() -> None:
    found = [order for seed in (1, 2, 3) for order in orders(seed)]
    assert all(first != second for first, second in combinations(found, 2))


def test_the_same_seed_takes_the_examples_in_the_same_order() -> None:
    assert orders(1) == orders(1)


def test_batches_by_length_hold_every_example_once() -> None:
    batches = batches_by_length([5, 9, 1, 7] * 25 + [3], 8, random.Random(0))
    assert sorted(index for batch in batches for index in batch) == list(range(101))


def test_a_batch_by_length_holds_examples_of_similar_length() -> None:
    lengths = [(37 * index) % 100 for index in range(400)]

    def padded(batches: list[list[int]]) -> int:
        return sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)

    assert padded(batches_by_length(lengths, 8, random.Random(0))) < 1.1 * sum(lengths)
    assert padded(random_batches(400, 8, random.Random(0))) > 1.5 * sum(lengths)
