"""Texts of the data as token ids: what spells a special token there (`</s>`, `<|endoftext|>`) stays text.

ids = token_ids(tokenizer, "<s>### Instruction:\\nsplit at `</s>`\\n", ["split at `</s>`"])
lost = [text for text in references if not is_kept(tokenizer, text)]
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from raypeft.metrics.exact_match import matches

PRIVATE = range(0xE000, 0xF900)
"""Code points that Unicode leaves to private use; one stands for each special token while a text is cut."""


def token_ids(tokenizer: Any, text: str, data: Iterable[str], add_special_tokens: bool = True) -> list[int]:
    """The token ids of `text`. Special tokens are read only outside of the texts `data` that are in it."""
    special = sorted(set(tokenizer.all_special_tokens), key=len, reverse=True)
    spelled = [each for each in data if any(token in each for token in special)]
    if not spelled:
        ids: list[int] = tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"]
        return ids
    pattern = re.compile("|".join(map(re.escape, special)))
    free = (chr(code) for code in PRIVATE if chr(code) not in text)
    signs = dict(zip(special, free, strict=False))
    for each in sorted(set(spelled), key=len, reverse=True):
        text = text.replace(each, pattern.sub(lambda found: signs[found[0]], each))
    tokens = {sign: token for token, sign in signs.items()}
    ids = []
    for part in re.split(f"({pattern.pattern})", text):
        if part in signs:
            ids.append(tokenizer.convert_tokens_to_ids(part))
        elif part:
            plain = "".join(tokens.get(sign, sign) for sign in part)
            ids += _plain_ids(tokenizer, plain, pattern)
    return _with_special_tokens(tokenizer, ids) if add_special_tokens else ids


def _plain_ids(tokenizer: Any, text: str, special: re.Pattern[str]) -> list[int]:
    """The token ids of a text in which special tokens are none, without any around it."""

    def read(part: str) -> list[int]:
        ids: list[int] = tokenizer(part, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    ids = read(text)
    if not (set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}) & set(ids):
        return ids
    # A Unigram vocabulary, such as T5's, has them as pieces of its own: none of them reaches over a cut.
    cuts = [0, *(found.start() + 1 for found in special.finditer(text)), len(text)]
    return [each for start, end in pairwise(cuts) for each in read(text[start:end])]


def is_kept(tokenizer: Any, text: str) -> bool:
    """Whether the tokenizer gives `text` back from its tokens, as exact match compares texts.

    What it does not give back (the braces of T5, a run of blanks) no candidate can have.
    """
    ids = token_ids(tokenizer, text, [text], add_special_tokens=False)
    decoded = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return matches(str(decoded), text)


def _with_special_tokens(tokenizer: Any, ids: list[int]) -> list[int]:
    """The special tokens that the tokenizer puts around every text, put around these."""
    around: list[int] = tokenizer("")["input_ids"]
    at = next((place for place, each in enumerate(around) if each == tokenizer.eos_token_id), len(around))
    if tokenizer.bos_token_id == tokenizer.eos_token_id and at == 0 and around:
        at = 1  # one token for both ends: what stands first is the beginning
    return [*around[:at], *ids, *around[at:]]
