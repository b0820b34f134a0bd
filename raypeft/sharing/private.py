"""What must not leave the machine with shared results: secrets, and the user's home folder.

cleaned("s3://key:secret@bucket/data")        # "s3://***@bucket/data"
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from raypeft.secrets import hider


def cleaner() -> Callable[[str], str]:
    """A function that hides in a text what must not leave this machine. It keeps all other text."""
    hide, home = hider(), str(Path.home())

    def cleaned(text: str) -> str:
        text = hide(text)
        return re.sub(rf"(?<![\w/.]){re.escape(home)}(?=/)", "~", text) if len(home) > 1 else text

    return cleaned


def cleaned(text: str) -> str:
    """A text as others may read it."""
    return cleaner()(text)
