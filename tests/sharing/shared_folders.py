"""Results folders for tests of sharing: one of a known version, with what must not leave a machine planted in it."""

import json
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from local_hub import LocalHub

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


DRIVER = """
import contextlib, io, json, sys
from raypeft import __main__
from raypeft.analysis.report import page

page.charts_script = lambda: ""  # the charts' library takes seconds to bundle

def said(words):
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["raypeft", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = __main__.main()
    return [code, out.getvalue(), err.getvalue()]

print(json.dumps([said(words) for words in json.loads(sys.argv[1])]))
"""


@dataclass
class Said:
    code: int
    out: str
    err: str


def run(hub: LocalHub, folder: Path, *commands: list[str], **more: str) -> list[Said]:
    """What commands say that are run one after the other in one process, with the hub at hand and no terminal."""
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "HOME": HOME,
           "HF_HOME": str(folder / "hf"), **more}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(commands)], cwd=folder, env=env, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert has_planted(done.stdout.encode()) == has_planted(done.stderr.encode()) == []
    return [Said(*each) for each in json.loads(done.stdout.splitlines()[-1])]
