"""Score stored candidates again, without a model: after a metric was mended or added, or after --generate-only.

    raypeft score results/conala_smollm2
    raypeft score results/rq4 --rerun-tests --seconds-per-test 8

Only the scores of a row change; its fields, costs and provenance stay those of the run that made the candidates. Tests
that were run are not run again, unless asked for; those that were not are run here, in the sandbox of this machine, and
only if they are those of the data that the trial loaded. What is replaced by something else is copied to `superseded/`
before.
"""

from collections.abc import Sequence
from functools import cache
from itertools import groupby
from typing import Any

from raypeft import events
from raypeft.data import DATASETS, dataset_of
from raypeft.data.revision import splits_revision
from raypeft.events import Listener
from raypeft.methods import METHODS
from raypeft.metrics.scoring import level_columns, score_columns
from raypeft.records import Candidate, Example
from raypeft.results.declarations import tested_on
from raypeft.results.schema import schema_of
from raypeft.results.statuses import is_fault
from raypeft.results.store import ResultStore
from raypeft.sandbox import SandboxSettings
from raypeft.services.local import LocalServices
from raypeft.trial.scores import record_scores
from raypeft.trial.tests import CandidateTests

Row = dict[str, Any]
STAGED = ".scoring"
"""Folder of what is computed, until it takes the place of what was there."""


def score_again(
    store: ResultStore,
    settings: SandboxSettings = SandboxSettings(),  # noqa: B008 - frozen
    rerun_tests: bool = False,
    listener: Listener = events.ignore,
    other_tests: bool = False,
) -> int:
    """Recompute the scores of every trial that has candidates; returns how many trials that were.

    Rows of a dataset or a method that this version does not know are left as they are, with a line that says so.
    `other_tests` takes tests that have changed since the trial ran; the row then says which data they are of.

    Raises SandboxUnavailable and what a dataset's loader raises where tests must be run, ValueError where the dataset
    is another one than the trial loaded.
    """
    count = 0
    services = LocalServices()
    staged = store.inside(STAGED)
    if store.exists(STAGED):
        store.filesystem.delete_dir(staged.root)  # of an earlier call that was killed
    for row in store.read_rows():
        candidates = store.read_rows("candidates", row["id"]) if not is_fault(row["status"]) else []
        if not candidates:
            continue
        known = tested_on(row) in DATASETS or _declaration(row)
        if not known or row["tuning_method"] not in METHODS:
            print(f"{row['id']}: not scored again, since this version of raypeft does not know its dataset or its "
                  f"method ({tested_on(row)}, {row['tuning_method']})")  # fmt: skip
            continue
        dataset, measured = dataset_of(tested_on(row), _declaration(row)), {}
        tested = store.read_rows("tests", row["id"]) if "tests" in dataset.judged_by else []
        if "tests" in dataset.judged_by and (rerun_tests or not tested):
            with CandidateTests(services, settings, row["fidelity"] == "paper") as tests:
                print(f"{row['id']}: running the tests of {len(candidates)} candidates")
                revision = _begin(tests, row, candidates, other_tests)
                tested = tests.collect(row["id"], listener)
            staged.write_rows("tests", row["id"], tested)
            measured = tests.columns | {"test_resolved_revision": revision}
        if others := store.read_rows("example_scores", row["id"]):
            staged.write_rows("example_scores", row["id"], others)
        measured |= record_scores(row, staged, dataset, candidates, tested)
        staged.adopt("trials", schema_of(level_columns(dataset.levels)))
        # A score that is no longer computed is gone. Candidates of the validation split are not stored.
        names = [column.name for column in score_columns(dataset.levels)]
        older = dict.fromkeys(name for name in names if not name.endswith("_validation"))
        staged.write_rows("trials", row["id"], [row | older | {"status": "ok", "error": None} | measured])
        take_place(store, staged, row["id"])
        count += 1
    if store.exists(STAGED):
        store.filesystem.delete_dir(staged.root)
    return count


def take_place(store: ResultStore, staged: ResultStore, trial_id: str) -> None:
    """Put what was computed into the place of what differs from it, of which a copy is kept; the row comes last."""
    tables = [table for table in ("tests", "example_scores", "trials") if staged.read_rows(table, trial_id)]
    # By their text: no number (NaN) equals itself.
    changed = [table for table in tables
               if repr(staged.read_rows(table, trial_id)) != repr(store.read_rows(table, trial_id))]  # fmt: skip
    store.keep_copy(trial_id, changed)
    for table in changed:
        store.take_in(staged, f"{table}/{trial_id}.parquet")


def _candidate(stored: Row) -> Candidate:
    names = ("example_id", "rank", "text", "token_count", "stop_reason")
    return Candidate(**{name: stored[name] for name in names})


def _begin(tests: CandidateTests, row: Row, stored: Sequence[Row], other_tests: bool) -> str:
    """Give a row's candidates to their tests; returns the revision of the test split that these are of."""
    side = "test_dataset" if row.get("test_dataset") else "dataset"
    path, revision = row.get(f"{side}_path"), row.get(f"{side}_revision")
    place = f"{tested_on(row)} at {path or 'the hub'}"
    examples, now = _test_split(tested_on(row), _declaration(row), path, revision)
    then = row.get("test_resolved_revision")  # rows of older versions lack it
    if then and now != then and not other_tests:
        raise ValueError(f"{place} must have the test split that trial {row['id']} loaded ({then}) but has another one "
                         f"({now}); bring the data back, run the trial again (--rerun), or take the tests as they are "
                         f"now with --other-tests")  # fmt: skip
    for example_id, found in groupby(stored, key=lambda each: each["example_id"]):
        example = examples.get(example_id)
        if example is None or not example.tests:
            raise ValueError(f"{place} must have example {example_id} and its tests, as when trial {row['id']} ran, "
                             f"but has not; is it another version?")  # fmt: skip
        tests.begin(example, [_candidate(each) for each in found])
    return now


def _declaration(row: Row) -> str | None:
    """How the dataset that a row was tested on is declared, as JSON. None: it is built in."""
    found: str | None = row.get("test_declared" if row.get("test_dataset") else "declared")
    return found


@cache
def _test_split(
    dataset: str, declared: str | None, path: str | None, revision: str | None
) -> tuple[dict[str, Example], str]:
    """The test examples that there are now, by their ids, and their revision."""
    examples = dataset_of(dataset, declared).load(path, revision)["test"]
    return {each.id: each for each in examples}, splits_revision({"test": examples})
