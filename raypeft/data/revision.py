"""A hash of all splits, which identifies the data that a trial used."""

import hashlib
import json
from dataclasses import asdict, fields

from raypeft.records import Example, Splits

NAMES = tuple(field.name for field in fields(Example))


def splits_revision(splits: Splits) -> str:
    """`sha256:` and twelve digits, computed from all examples. The same data has the same hash on every machine."""
    digest, encode = hashlib.sha256(), json.JSONEncoder(sort_keys=True, default=asdict).encode
    for split, examples in sorted(splits.items()):
        for example in examples:
            # Empty fields are left out, so that a new field of Example does not change the hash of older datasets.
            filled = {name: value for name in NAMES if (value := getattr(example, name))}
            digest.update(encode([split, filled]).encode())
    return f"sha256:{digest.hexdigest()[:12]}"
