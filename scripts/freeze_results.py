"""Freezes a small results folder as this version lays it out, so that later versions are tested on it.

    python -m scripts.freeze_results          # tests/results/frozen/VERSION.tar.xz

The sweep is two short trials of the toy model on the toy dataset, which are part of raypeft. Weights are left out, and
the name of the machine is taken out. A frozen folder is never written again: a new version adds its own.
"""

from __future__ import annotations

import lzma
import os
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq

from raypeft import __version__
from raypeft.cli.trial import main as run_trial
from raypeft.results.store import ResultStore
from raypeft.trial.columns import tables

FROZEN = Path(__file__).parents[1] / "tests/results/frozen"
SWEEP = """\
name: frozen
question: Does a folder of this version open in the next?
defaults: {model: toy, dataset: toy, limit: 4, seed: 1, max_new_tokens: 16, num_beams: 2, num_return_sequences: 2}
grids:
  - {tuning_method: zero_shot}
  - {tuning_method: lora, num_train_epochs: 1, lora_r: 4}
"""
KEPT = ("manifest.json", "trials", "candidates", "evals", "example_scores", "tests")


def make(folder: Path) -> Path:
    """Run the trials in `folder`, and return the results folder."""
    (folder / "frozen.yaml").write_text(SWEEP, "utf-8")
    os.chdir(folder)
    for index in range(2):
        if run_trial(["frozen.yaml", "--index", str(index)]):
            raise RuntimeError(f"trial {index} must be ok but was not")
    results = folder / "results/frozen"
    store = ResultStore.existing(str(results), tables())
    for info in store.infos("trials"):
        rows = [{**row, "host": "host"} for row in store.read_file(info.path).to_pylist()]
        store.write_rows("trials", rows[0]["id"], rows)
    return results


def main() -> int:
    target = FROZEN / f"{__version__}.tar.xz"
    if target.exists():
        print(f"{target} stays as it is: results of {__version__} were frozen before", file=sys.stderr)
        return 1
    target.parent.mkdir(exist_ok=True)
    with TemporaryDirectory() as name:
        results = make(Path(name))
        assert pq.read_table(results / "trials").num_rows == 2
        with lzma.open(target, "wb", preset=9) as stream, tarfile.open(fileobj=stream, mode="w") as archive:
            for each in KEPT:
                if (results / each).exists():
                    archive.add(results / each, each, filter=_plain)
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")
    return 0


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the user and the time."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    sys.exit(main())
