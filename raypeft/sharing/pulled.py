"""Shared results become a results folder again: one file for each trial in each table, as a sweep leaves it.

    pull("hf://owner/name", Path("results/theirs"))

What comes from others is data: names of trials are checked before they become names of files, weights are taken as
safetensors only, and nothing is run.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from raypeft.results.gathered import whole_table
from raypeft.results.shared import HUB, hub_repository
from raypeft.results.store import MANIFEST, ResultStore
from raypeft.sharing.hub import download
from raypeft.sharing.places import copy_from
from raypeft.sharing.staged import REPORT, TABLES
from raypeft.trial.columns import tables

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What a trial's id looks like: it becomes the name of a file."""


def pull(url: str, target: Path) -> str:
    """Copy shared results into the new folder `target`, and return what was pulled.

    Raises ValueError where `target` is not empty, or where the place holds no results or results that cannot be read,
    HubError, and OSError.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"--to must be a new or empty folder but got {target}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as name:
        shared, made = Path(name) / "shared", Path(name) / "made"
        shared.mkdir()
        left_out = ""
        if url.startswith(HUB):
            left_out = download(*hub_repository(url), shared)
        else:
            copy_from(url, shared)
        count = _unpack(shared, made, url)
        if target.exists():
            target.rmdir()
        made.replace(target)
    adapters = target / "adapters"
    kept = len(list(adapters.iterdir())) if adapters.is_dir() else 0
    return f"{target} has the rows of {url}: {count} trials, {kept} of them with an adapter{left_out}"


def _unpack(shared: Path, made: Path, url: str) -> int:
    """Write the results folder; returns the number of trials. Raises ValueError for what cannot be read."""
    there = ResultStore.existing(str(shared), {}) if (shared / "trials").is_dir() else None
    if there is None:
        raise ValueError(f"{url} must hold shared results but has no trials/")
    there.read_manifest()  # raises ValueError where it is damaged or newer
    store = ResultStore(str(made), tables())
    counts = {table: _split(there, store, table) for table in TABLES}
    if there.damaged:
        raise ValueError(f"{url} must hold whole files, but {next(iter(there.damaged.values()))}")
    for file in (MANIFEST, REPORT):
        if (shared / file).is_file():
            shutil.copyfile(shared / file, made / file)
    if (shared / "adapters").is_dir():
        for adapter in (shared / "adapters").iterdir():
            _check(adapter.name, url)
        shutil.copytree(shared / "adapters", made / "adapters")
    return counts["trials"]


def _split(there: ResultStore, store: ResultStore, table: str) -> int:
    """Write the rows of each trial into a file of its own; returns the number of trials."""
    whole = whole_table(there, table)
    if whole is None:
        return 0
    if "id" not in whole.column_names:
        raise ValueError(f"the table {table} must have the column id but has {', '.join(whole.column_names[:8])}")
    places: dict[str, list[int]] = {}
    for place, trial in enumerate(whole.column("id").to_pylist()):
        _check(trial, there.url)
        places.setdefault(trial, []).append(place)
    store.adopt(table, whole.schema)
    for trial, found_at in places.items():
        store.write_rows(table, trial, whole.take(found_at).to_pylist())
    return len(places)


def _check(trial: object, url: str) -> None:
    if not isinstance(trial, str) or not ID.fullmatch(trial):
        raise ValueError(f"{url} must have ids of letters and digits but has a trial {str(trial)[:80]!r}")
