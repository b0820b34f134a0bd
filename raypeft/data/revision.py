"""Which rows a trial saw: one hash of all its splits."""

import hashlib
import json
from dataclasses import asdict

from raypeft.records import Splits


def splits_revision(splits: Splits) -> str:
    """`sha256:` and twelve digits over every example of the splits: the same data gives the same text anywhere."""
    digest = hashlib.sha256()
    for split, examples in sorted(splits.items()):
        for example in examples:
            # Without what is empty, so that a new field of Example leaves the hashes of other datasets as they are.
            told = {name: value for name, value in asdict(example).items() if value}
            digest.update(json.dumps([split, told], sort_keys=True).encode())
    return f"sha256:{digest.hexdigest()[:12]}"
