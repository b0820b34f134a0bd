"""How a mistake is told to whoever made it: what was expected, what was there, and the known name nearest to it.

f"{place}: {must_be_one_of(METHODS, 'lara')}"  # ...: must be one of icl, lora but got 'lara'; did you mean lora?
"""

import difflib
import json
from collections.abc import Iterable
from typing import Any


def must_be_one_of(known: Iterable[str], value: Any) -> str:
    """The message for a value that is none of the known names."""
    names = list(known)
    return f"must be one of {', '.join(names)} but got {described(value)}{nearest(value, names)}"


def nearest(word: Any, known: Iterable[str]) -> str:
    """`; did you mean lora?` where a known name is near enough, else nothing."""
    close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def described(value: Any) -> str:
    """A value as a message names it; long lists and mappings are cut."""
    if value is None:
        return "nothing"
    if isinstance(value, (list, dict)):
        return f"a {'list' if isinstance(value, list) else 'mapping'} ({json.dumps(value, default=str)[:60]})"
    return repr(value)
