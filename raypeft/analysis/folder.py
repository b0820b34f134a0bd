"""A folder of results, opened by what it says of itself."""

from raypeft.results.declarations import Declarations
from raypeft.results.store import ResultStore


def open_results(url: str) -> tuple[ResultStore, Declarations]:
    """The store at `url`, and the declarations that its rows are read by: its manifest's, or this version's.

    Nothing is written. Raises FileNotFoundError where there are no results, ValueError where a file cannot be read.
    """
    manifest = ResultStore.existing(url, {}).read_manifest()
    if manifest is not None:
        return ResultStore.existing(url, manifest.tables), manifest.declarations
    from raypeft.trial.columns import tables
    from raypeft.trial.declarations import own_declarations

    return ResultStore.existing(url, tables()), own_declarations()
