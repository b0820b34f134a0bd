"""A hash of all splits, which identifies the data that a trial used."""

import hashlib
import json
from dataclasses import asdict

from raypeft.records import Splits


def splits_revision(splits: Splits) -> str:
    """`sha256:` and twelve digits, computed from all examples. The same data has the same hash on every machine."""
    digest = hashlib.sha256()
    for split, examples in sorted(splits.items()):
        for example in examples:
            # Empty fields are left out, so that a new field of Example does not change the hash of older datasets.
            filled = {name: value for name, value in asdict(example).items() if value}
            digest.update(json.dumps([split, filled], sort_keys=True).encode())
    return f"sha256:{digest.hexdigest()[:12]}"
