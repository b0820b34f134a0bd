"""Texts of the data as token ids: what spells a special token there (`</s>`, `<|endoftext|>`) stays text.

    marks = Marks.of(tokenizer, ["split at `</s>`"])
    ids = token_ids(tokenizer, f"<s>### Instruction:\\n{marks.hide('split at `</s>`')}\\n", marks)
    lost = [text for text in references if not is_kept(tokenizer, text)]

The tokens are hidden before a template is filled with the data: afterwards the template's own could not be told apart
from those of the data, which a template may also strip or cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

from raypeft.metrics.exact_match import matches
from raypeft.records import Example

PRIVATE = range(0xE000, 0xF900)
"""Code points that Unicode leaves to private use; one stands for each special token that the data spells."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Signs of one character that stand, in a prompt's text, for the special tokens that its data spells."""

    signs: Mapping[str, str] = field(default_factory=dict)
    """Token -> sign; longer tokens first."""

    @classmethod
    def of(cls, tokenizer: Any, data: Iterable[str], around: str = "") -> Marks:
        """Those for the texts `data`; none of the signs is in them, or in the text `around` them."""
        whole = "\0".join(data)
        spelled = [token for token in special_tokens(tokenizer) if token in whole]
        free = (chr(code) for code in PRIVATE if chr(code) not in whole and chr(code) not in around)
        return cls(dict(zip(spelled, free, strict=False)))

    def hide(self, text: str) -> str:
        """A text of the data with signs in place of special tokens."""
        for token, sign in self.signs.items():
            text = text.replace(token, sign)
        return text

    def shown(self, text: str) -> str:
        """The text as the data has it."""
        for token, sign in self.signs.items():
            text = text.replace(sign, token)
        return text

    def hidden_in(self, example: Example) -> Example:
        """An example whose instruction, code and earlier exchanges have signs."""
        if not self.signs:
            return example
        nl, code, starter = map(self.hide, (example.nl, example.code, example.starter_code))
        earlier = tuple(map(self.hidden_in, example.earlier))
        return replace(example, nl=nl, code=code, starter_code=starter, earlier=earlier)


NO_MARKS = Marks()


def special_tokens(tokenizer: Any) -> list[str]:
    """All texts that the tokenizer reads as special tokens, longer ones first."""
    found = {*tokenizer.all_special_tokens, *_added(tokenizer, len(tokenizer))} - {""}
    return sorted(found, key=len, reverse=True)


@lru_cache(maxsize=4)
def _added(tokenizer: Any, size: int) -> tuple[str, ...]:
    """The added tokens that are marked as special, though the tokenizer may have no name for them (`<|eot_id|>` of
    Llama 3). Kept while the tokenizer has as many tokens: to ask for them takes milliseconds."""
    return tuple(token.content for token in tokenizer.added_tokens_decoder.values() if token.special)


def token_ids(tokenizer: Any, text: str, marks: Marks = NO_MARKS, add_special_tokens: bool = True) -> list[int]:
    """The token ids of `text`, in which `marks` are text of the data and all else is read as the tokenizer does."""
    if not any(sign in text for sign in marks.signs.values()):
        ids: list[int] = tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"]
        return ids
    special = re.compile("|".join(map(re.escape, special_tokens(tokenizer))))
    ids = []
    for part in re.split(f"({special.pattern})", text):
        if special.fullmatch(part):
            ids.append(tokenizer.convert_tokens_to_ids(part))
        elif part:
            ids += _plain_ids(tokenizer, marks.shown(part), special)
    return _with_special_tokens(tokenizer, ids) if add_special_tokens else ids


def _plain_ids(tokenizer: Any, text: str, special: re.Pattern[str]) -> list[int]:
    """The token ids of a text in which special tokens are none, without any around it."""

    def read(part: str) -> list[int]:
        ids: list[int] = tokenizer(part, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    ids = read(text)
    special_ids = set(tokenizer.convert_tokens_to_ids(special_tokens(tokenizer)))
    if not (special_ids - {tokenizer.unk_token_id}) & set(ids):
        return ids
    # A Unigram vocabulary, such as T5's, has them as pieces of its own: none of them reaches over a cut.
    cuts = [0, *(found.start() + 1 for found in special.finditer(text)), len(text)]
    return [each for start, end in pairwise(cuts) for each in read(text[start:end])]


def is_kept(tokenizer: Any, text: str) -> bool:
    """Whether the tokenizer gives `text` back from its tokens, as exact match compares texts.

    What it does not give back (the braces of T5, a run of blanks) no candidate can have.
    """
    marks = Marks.of(tokenizer, [text])
    ids = token_ids(tokenizer, marks.hide(text), marks, add_special_tokens=False)
    decoded = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return matches(str(decoded), text)


def _with_special_tokens(tokenizer: Any, ids: list[int]) -> list[int]:
    """The special tokens that the tokenizer puts around every text, put around these."""
    around: list[int] = tokenizer("")["input_ids"]
    at = next((place for place, each in enumerate(around) if each == tokenizer.eos_token_id), len(around))
    if tokenizer.bos_token_id == tokenizer.eos_token_id and at == 0 and around:
        at = 1  # one token for both ends: what stands first is the beginning
    return [*around[:at], *ids, *around[at:]]
