"""Secrets that this machine knows, and how they are hidden in a text: tokens, passwords and keys.

hidden("s3://key:secret@bucket/data")                    # "s3://***@bucket/data"
hidden_in_message("401: api_key=abc for http://h")       # "401: api_key=*** for http://h"
"""

from __future__ import annotations

import configparser
import netrc
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

HIDDEN = "***"
IN_URL = re.compile(r"(\b[a-z][a-z0-9+]*://)[^/@\s\"']+@", re.I)
IN_QUERY = re.compile(r"([?&](?:access_key|secret_key|session_token|token|password|sig|signature)=)[^&\s\"']+", re.I)
TOKENS = re.compile(r"\b(?:hf_|ghp_|github_pat_|sk-|AKIA|wandb_v\d_)[A-Za-z0-9_-]{16,}")
"""Tokens of the hub, of GitHub, of W&B and of others, and names of AWS keys, by how they begin."""
SECRET_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|API_?KEY|CREDENTIAL", re.I)
SHORTEST = 8
"""Characters from which the value of a variable is taken for a secret: `true` and `1` are none."""

PASSWORD_IN_URL = re.compile(r"(\b[a-z][a-z0-9+]*://)[^/:@\s\"']*:[^\s\"']*@", re.I)
"""Also a password that has a / or an @ in it."""
NAMED = re.compile(
    r"(\b(?:[\w-]*(?:secret|password|passwd|api[_-]?key|access[_-]?key|authorization))[\"']?\s*[=:]\s*[\"']?)"
    r"(?:(?:bearer|basic)\s+)?[^\s\"'&,;)}\]]+",
    re.I,
)
"""`api_key=...`, `"password": "..."`, `Authorization: Bearer ...`."""
NAMED_TOKEN = re.compile(
    r"(\b(?:[\w-]*(?:access|auth|api|hf|hub|session|refresh|identity)[_-]?)?token[\"']?\s*[=:]\s*[\"']?)[\w.~+/=-]{8,}",
    re.I,
)
"""`token=...`, and not the tokens of models: `pad_token=...`, `max_new_tokens=...`."""
BEARER = re.compile(r"\b(bearer\s+)[\w.~+/=-]{8,}", re.I)


def hider() -> Callable[[str], str]:
    """A function that hides this machine's secrets in a text, and what has the form of one. It keeps all other text."""
    known = [each for each in dict.fromkeys(_known()) if len(each) >= SHORTEST]
    secrets = sorted((each for each in known if not _is_path(each)), key=len, reverse=True)

    def hide(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, HIDDEN)
        return TOKENS.sub(HIDDEN, IN_QUERY.sub(rf"\g<1>{HIDDEN}", IN_URL.sub(rf"\g<1>{HIDDEN}@", text)))

    return hide


def hidden(text: str) -> str:
    """A text without this machine's secrets."""
    return hider()(text)


def hidden_in_message(text: str) -> str:
    """A message of a library without secrets: rather too much is hidden than too little.

    Whatever is called a token, key or password is hidden as well, which in a dataset or a program would be too much.
    """
    text = PASSWORD_IN_URL.sub(rf"\g<1>{HIDDEN}@", text)
    text = hidden(text)
    for form in (NAMED, NAMED_TOKEN, BEARER):
        text = form.sub(rf"\g<1>{HIDDEN}", text)
    return text


def without_password(url: str) -> str:
    """A URL without user and password, and without secrets in its query; the same for whoever reads it."""
    return IN_QUERY.sub(rf"\g<1>{HIDDEN}", IN_URL.sub(rf"\g<1>{HIDDEN}@", PASSWORD_IN_URL.sub(rf"\g<1>{HIDDEN}@", url)))


def _known() -> Iterator[str]:
    """What is stored on this machine as a secret: in variables, and in the files of the hub, of netrc and of MLflow."""
    for name, value in os.environ.items():
        if SECRET_NAMES.search(name):
            yield value
        # http://user:password@host in MLFLOW_TRACKING_URI, HTTPS_PROXY and others; a message may have either form.
        for password in re.findall(r"://[^/:@\s]*:([^@\s]+)@", value):
            yield from (password, unquote(password))
    yield from filter(None, [_hub_token()])
    yield from _netrc_passwords()
    yield from _mlflow_passwords()


def _hub_token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


def _netrc_passwords() -> Iterator[str]:
    """`wandb login` keeps its key there."""
    try:
        entries = netrc.netrc(os.environ.get("NETRC") or Path.home() / ".netrc").hosts.values()
    except (OSError, netrc.NetrcParseError):
        return
    yield from (password for _, _, password in entries if password)


def _mlflow_passwords() -> Iterator[str]:
    read = configparser.ConfigParser(interpolation=None)
    try:
        read.read(Path.home() / ".mlflow" / "credentials")
    except (OSError, configparser.Error, UnicodeError):
        return
    yield from filter(None, [read.get("mlflow", "mlflow_tracking_password", fallback=None)])


def _is_path(value: str) -> bool:
    """The value of GOOGLE_APPLICATION_CREDENTIALS, for example, is a path."""
    try:
        return Path(value).exists()
    except (OSError, ValueError):  # too long for a name
        return False
