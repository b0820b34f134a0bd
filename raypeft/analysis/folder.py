"""A folder of results, opened by what it says of itself."""

import sys
from dataclasses import replace

from raypeft.results.declarations import Declarations
from raypeft.results.manifest import Manifest
from raypeft.results.store import ResultStore


def open_results(url: str) -> tuple[ResultStore, Declarations]:
    """The store at `url`, and the declarations that its rows are read by: its manifest's, or this version's.

    Nothing is written. Raises FileNotFoundError where there are no results, ValueError where a file cannot be read.
    """
    return open_with_manifest(url)[:2]


def open_with_manifest(url: str) -> tuple[ResultStore, Declarations, Manifest | None]:
    """The same, and the manifest, which takes a while to read where it plans thousands of trials."""
    manifest = ResultStore.existing(url, {}).read_manifest()
    from raypeft.trial.columns import tables
    from raypeft.trial.declarations import own_declarations

    if manifest is None:
        return ResultStore.existing(url, tables()), own_declarations(), None
    store = ResultStore.existing(url, manifest.tables)
    return store, _completed(manifest.declarations, own_declarations()), manifest


def say_damaged(store: ResultStore) -> None:
    """Name the files that could not be read and were left out, one on each line, on stderr."""
    for text in store.damaged.values():
        print(f"left out: {text}", file=sys.stderr)


def _completed(declared: Declarations, own: Declarations) -> Declarations:
    """A manifest's declarations, with the scores and trial fields of this version that an older one did not declare."""
    names = {score.name for score in declared.scores}
    return replace(
        declared,
        scores=(*declared.scores, *(score for score in own.scores if score.name not in names)),
        trial_fields=declared.trial_fields or own.trial_fields,
    )
