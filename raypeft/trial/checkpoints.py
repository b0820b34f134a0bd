"""What a running trial keeps so that the same command goes on from it: `checkpoints/<trial id>/` in the results.

    keeper = training_checkpoints(context, base, encoded)
    drop_checkpoints(context, row)

A checkpoint is used only where nothing that it depends on has changed since: fields, data, model, code and versions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import raypeft
from raypeft.events import Noted
from raypeft.models.loading import Base
from raypeft.records import Prompt
from raypeft.results.attempts import is_final
from raypeft.results.leftovers import LAST, folder_of
from raypeft.results.store import ResultStore
from raypeft.study.trainings import training_fields
from raypeft.trial.context import TrialContext
from raypeft.trial.provenance import versions

if TYPE_CHECKING:
    from raypeft.training.state import Checkpoints

TRAINING = "training.pt"


class StoredCheckpoint:
    """A `raypeft.training.state.Place` in the results, on a disk or behind a URL."""

    def __init__(self, store: ResultStore, folder: str, owner: str, is_awaited: bool = False) -> None:
        self.store, self.name = store, f"{folder}/{TRAINING}"
        self.owner, self.is_awaited = owner, is_awaited

    def exists(self) -> bool:
        return self.store.exists(self.name)

    def reading(self) -> AbstractContextManager[Any]:
        return self.store.reading(self.name)

    def writing(self) -> AbstractContextManager[Any]:
        return self.store.writing(self.name)


def training_checkpoints(context: TrialContext, base: Base, encoded: Mapping[str, Sequence[Prompt]]) -> Checkpoints:
    """When and where the trial's training is saved, as its options ask for it.

    The test split is no part of it, nor is the way in which a pass was made to fit the memory: a training goes on in
    that of its checkpoint.
    """
    from raypeft.training.state import Checkpoints

    fields = training_fields(context.trial)
    known = made_by(fields, base, ("training", "methods", "models")) | {
        "data": data_hash(each for split in ("train", "validation") for each in encoded[split]),
    }
    return Checkpoints(
        place_of_training(context),
        known,
        context.options.checkpoint_minutes,
        context.stop,
        lambda text: context.listener(Noted(text)),
    )


def place_of_training(context: TrialContext) -> StoredCheckpoint:
    """Where the trial's training is kept: in a folder of its own, or of the training that it shares."""
    shared, own_id = context.shared, context.trial.id
    if shared is None:
        return StoredCheckpoint(context.store, folder_of(own_id), own_id)
    return StoredCheckpoint(shared.store, shared.folder, own_id, shared.is_awaited)


def made_by(fields: Mapping[str, Any], base: Base, wings: Sequence[str]) -> dict[str, str]:
    """All that must be the same where a trial, or its training, with these fields goes on, but its data. `wings` are
    the packages whose code counts."""
    known = {
        "model_resolved_revision": base.revision,
        "code": code_hash(*wings),
        **{name: str(value) for name, value in versions().items() if name.endswith("_version")},
        **{f"{package}_version": _version(package) for package in ("numpy", "bitsandbytes")},
    }
    return known | {name: json.dumps(value, default=str, sort_keys=True) for name, value in fields.items()}


def data_hash(prompts: Iterable[Prompt]) -> str:
    """Twelve digits of a hash of the prompts and answers as token ids."""
    digest = hashlib.sha256()
    for prompt in prompts:
        digest.update(f"{prompt.example.id} {prompt.padding} {prompt.prompt_ids} {prompt.answer_ids}\n".encode())
    return digest.hexdigest()[:12]


@cache
def code_hash(*wings: str) -> str:
    """Twelve digits of a hash of the source of these packages of raypeft."""
    digest = hashlib.sha256()
    root = Path(raypeft.__file__).parent
    for file in sorted(path for wing in wings for path in (root / wing).rglob("*.py")):
        digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def drop_checkpoints(context: TrialContext, row: Mapping[str, Any]) -> None:
    """Remove what a finished trial needs no more, once its row stands. A trial that will run again keeps it."""
    store, folder = context.store, folder_of(context.trial.id)
    if not is_final(row):
        return
    if context.shared:
        context.shared.drop()
    with suppress(OSError):  # the row stands, and the next finished run removes what is left
        store.drop_parts("candidates", context.trial.id)
        if not store.exists(folder):
            return
        if context.options.keep_checkpoints == "last" and store.exists(f"{folder}/{TRAINING}"):
            store.move(f"{folder}/{TRAINING}", f"{folder}{LAST}")
        store.remove_folder(folder)
