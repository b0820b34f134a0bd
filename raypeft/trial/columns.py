"""Every table of the results, from what those who fill it declare.

store = ResultStore("results/rq2", tables())
"""

from raypeft import machine
from raypeft.metrics.scoring import score_columns
from raypeft.prompting import shots
from raypeft.records import Column
from raypeft.results.statuses import status_column
from raypeft.study.config import trial_columns
from raypeft.training import columns as training
from raypeft.trial import answer, examples, provenance, run, scores, tests, tune

OWN = (Column("id", str, "hash of the fields below"), Column("sweep", str, "the sweep's name"))


def tables() -> dict[str, list[Column]]:
    """The columns of each table by its name, as the metrics, datasets and statuses of this moment have them."""
    return {
        "trials": [*OWN, *trial_columns(), *measured()],
        "candidates": [*answer.CANDIDATES],
        "evals": [*training.EVALUATIONS],
        "tests": [*tests.TESTS],
        "example_scores": [*scores.EXAMPLE_SCORES],
    }


def measured() -> list[Column]:
    """The columns of a trial's row that are found out by running it."""
    return [
        status_column(),
        *run.COLUMNS,
        *score_columns(),
        *tests.COLUMNS,
        *training.COLUMNS,
        *tune.COLUMNS,
        *examples.COLUMNS,
        *shots.COLUMNS,
        *machine.COLUMNS,
        *provenance.COLUMNS,
    ]
