"""Splits that a declared dataset has no files for, made of the one that it has.

complete({"train": examples}, Split(validation=0.1, test=0.1, seed=42))
"""

import hashlib

from raypeft.data.declared.declaration import Split
from raypeft.data.sources import SPLITS
from raypeft.data.text import plain
from raypeft.records import Example, Splits


def complete(given: Splits, split: Split) -> Splits:
    """All three splits: those that are given as they are, and the missing ones taken from `train`.

    The prompts of `train` are ordered by a seeded hash of their text, ignoring case and white space. The first ones go
    to the missing test split and the next ones to the missing validation split, at least one to each, and at least one
    stays for training. So equal prompts always stand in one split, and so do chats that begin alike. The order of the
    rows has no influence. Without `train` nothing is taken.

    Raises ValueError where `train` has too few different prompts.
    """
    train = given.get("train", [])
    shares = {name: getattr(split, name) for name in ("test", "validation") if train and name not in given}
    shares = {name: share for name, share in shares.items() if share}
    prompts = sorted({_opening(each) for each in train}, key=lambda prompt: _hash(prompt, split.seed))
    if shares and len(prompts) <= len(shares):
        raise ValueError(f"must have at least {len(shares) + 1} different prompts, one for each of train, "
                         f"{' and '.join(shares)}, but has {len(prompts)} in {len(train)} rows")  # fmt: skip
    counts = {name: max(1, round(share * len(prompts))) for name, share in shares.items()}
    while shares and sum(counts.values()) >= len(prompts):  # shares of few prompts may both be rounded up
        counts[max(counts, key=counts.__getitem__)] -= 1
    names = [name for name, count in counts.items() for _ in range(count)]
    belongs = dict(zip(prompts, names, strict=False))
    made: Splits = {name: [] if name == "train" else list(given.get(name, [])) for name in SPLITS}
    for example in train:
        made[belongs.get(_opening(example), "train")].append(example)
    return made


def _opening(example: Example) -> str:
    """The prompt, or what a chat of several exchanges began with."""
    return plain((*example.earlier, example)[0].nl)


def _hash(prompt: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}\0{prompt}".encode()).hexdigest()


def derived_stop(splits: Splits) -> tuple[str, ...]:
    """Strings that end the answer of an untuned model: a line break where all reference answers are of one line, else
    the header of a next instruction, with which untuned models go on."""
    answers = [example.code for examples in splits.values() for example in examples if example.code]
    if answers and not any("\n" in answer.strip() for answer in answers):
        return ("\n",)
    return ("\n### Instruction:",)
