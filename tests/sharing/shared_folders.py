"""Results folders for tests of sharing: one of a known version, with what must not leave a machine planted in it."""

import json
import tarfile
from pathlib import Path

from raypeft.results.store import ResultStore
from raypeft.trial.columns import tables

FROZEN = Path(__file__).parents[1] / "results/frozen/0.1.0.tar.xz"
TOKEN = "hf_" + "PlantedToken" * 3
SECRET = "PlantedPassword123"
HOME = "/home/planted"
PLANTED = (TOKEN, SECRET, HOME, "planted-host", "planted-key")
"""What must be nowhere in what is shared or printed."""


def frozen(folder: Path) -> ResultStore:
    """Two trials with candidates, scores and losses, unpacked into `folder`."""
    with tarfile.open(FROZEN) as archive:
        archive.extractall(folder, filter="data")
    return ResultStore(str(folder), tables())


def planted(folder: Path) -> ResultStore:
    """The same, with secrets in rows and in the manifest."""
    store = frozen(folder)
    for row in store.read_rows():
        row |= {"host": "planted-host", "dataset_path": f"s3://planted-key:{SECRET}@bucket/data",
                "model_path": f"{HOME}/models/toy", "model_notes": f"loaded with {TOKEN}"}  # fmt: skip
        store.write_rows("trials", row["id"], [row])
    manifest = folder / "manifest.json"
    plain = json.loads(manifest.read_text("utf-8"))
    plain["sweep"]["text"] += f"x-note: {HOME}/data with {TOKEN}\n"
    manifest.write_text(json.dumps(plain), "utf-8")
    return store


def has_planted(content: bytes) -> list[str]:
    """The planted words that a file holds."""
    return [word for word in PLANTED if word.encode() in content]
