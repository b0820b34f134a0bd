"""The code of raypeft that a process runs, as a digest: nodes must have the same."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def code_digest(package: Path = PACKAGE) -> str:
    """A digest of the package's Python files: their paths and what is in them."""
    digest = sha256()
    for file in sorted(package.rglob("*.py")):
        text = file.read_bytes()
        digest.update(f"{file.relative_to(package).as_posix()} {len(text)} ".encode() + text)
    return digest.hexdigest()
