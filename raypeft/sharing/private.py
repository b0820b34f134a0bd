"""What must not leave the machine with shared results: tokens, passwords in URLs, and the user's home folder.

cleaned("s3://key:secret@bucket/data")        # "s3://***@bucket/data"
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

HIDDEN = "***"
IN_URL = re.compile(r"(\b[a-z][a-z0-9+]*://)[^/@\s\"']+@")
IN_QUERY = re.compile(r"([?&](?:access_key|secret_key|session_token|token|password|sig|signature)=)[^&\s\"']+", re.I)
TOKENS = re.compile(r"\b(?:hf_|ghp_|github_pat_|sk-|AKIA)[A-Za-z0-9_-]{16,}")
"""Tokens of the hub, of GitHub and of others, and names of AWS keys, by how they begin."""
SECRET_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|API_?KEY|CREDENTIAL", re.I)
SHORTEST = 8
"""Characters from which the value of a variable is taken for a secret: `true` and `1` are none."""


def cleaner() -> Callable[[str], str]:
    """A function that hides in a text what must not leave this machine. It keeps all other text."""
    found = {value for name, value in os.environ.items() if SECRET_NAMES.search(name)}
    found |= {token for token in (_hub_token(),) if token}
    # The value of GOOGLE_APPLICATION_CREDENTIALS, for example, is a path.
    secrets = [each for each in sorted(found, key=len, reverse=True) if len(each) >= SHORTEST and not _is_path(each)]
    home = str(Path.home())

    def cleaned(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, HIDDEN)
        text = TOKENS.sub(HIDDEN, IN_QUERY.sub(rf"\g<1>{HIDDEN}", IN_URL.sub(rf"\g<1>{HIDDEN}@", text)))
        return re.sub(rf"(?<![\w/.]){re.escape(home)}(?=/)", "~", text) if len(home) > 1 else text

    return cleaned


def cleaned(text: str) -> str:
    """A text as others may read it."""
    return cleaner()(text)


def _is_path(value: str) -> bool:
    try:
        return Path(value).exists()
    except OSError:  # too long for a name
        return False


def _hub_token() -> str | None:
    from huggingface_hub import get_token

    return get_token()
