"""What is left out where an answer begins: blanks, and the line of a code fence. Plain: no torch.

Opening().skip("\\n```python\\nx = 1")        # (11, True)
unfenced("```python\\nx = 1\\n```\\n")        # "x = 1\\n"
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FENCE = "```"


@dataclass(frozen=True, slots=True)
class Opening:
    """What is left out where an answer begins: blanks, and then the line of an opening code fence.

    Untuned models often begin so. A stop string would otherwise cut such an answer to nothing.
    """

    blanks: str = "\n"
    """Characters that are left out."""
    in_fence: bool = False
    """Whether the prompt has opened a fence. A fence without a language then closes it, and is none that opens."""
    fences: bool = True
    """Whether the line of an opening fence is left out as well. A model that was trained on fences has learnt them."""

    def skip(self, text: str) -> tuple[int, bool]:
        """The length of what is left out of an answer, and whether it has opened a fence.

        All of a text that may yet become an opening is left out: its next token decides.
        """
        start = len(text) - len(text.lstrip(self.blanks))
        if not self.fences:
            return start, False
        language = "+" if self.in_fence else "*"
        if fence := re.compile(rf" *```[\w+-]{language}[ \t]*\n+").match(text, start):
            return fence.end(), True
        may_become_one = re.compile(r" *(`{1,3}|```[\w+-]*[ \t]*)").fullmatch(text, start)
        return (len(text) if may_become_one else start), False


def unfenced(text: str) -> str:
    """What stands in the code fence that an answer begins with, as decoding leaves it where it cuts fences. An answer
    without one stays as it is."""
    length, fenced = Opening().skip(text)
    return text[length:].partition(FENCE)[0] if fenced else text
