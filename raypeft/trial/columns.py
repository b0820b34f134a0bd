"""Every table of the results, from what those who fill it declare.

store = ResultStore("results/rq2", tables())
"""

from collections.abc import Iterable
from datetime import datetime

from raypeft import gpu
from raypeft.metrics.scoring import score_columns
from raypeft.prompting import shots
from raypeft.records import Column
from raypeft.results.statuses import status_column
from raypeft.study.config import trial_columns
from raypeft.training import columns as training
from raypeft.trial import answer, examples, provenance, reloading, scores, stages, tests, tune

OWN = (Column("id", str, "Id of the trial: a hash of its fields"), Column("sweep", str, "Name of the sweep"))


OF_THE_RUN = (
    Column("error", str, "Error message if the status is not ok"),
    Column("started_at", datetime, "Time at which the trial started"),
    Column(
        "attempts",
        int,
        "Number of times the trial was started until it came to this result, lost processes included. A start that was "
        "told to stop, by a signal or when the time budget was used up, does not count",
        "starts",
    ),
    Column(
        "exact_duplicates",
        int,
        "Test examples whose instruction is also in the training split, ignoring case and white space",
        "examples",
    ),
    *stages.COLUMNS,
    Column(
        "total_seconds",
        float,
        "Time of the whole trial, with what earlier starts of it had done and with a training that it took over",
        "seconds",
    ),
    Column("generate_examples_per_second", float, "Decoding speed", "examples per second"),
    Column("gpu_memory_gb", float, "GPU memory budget of the trial. null without a GPU", "GiB"),
    Column(
        "gpu_share",
        float,
        "Share of a GPU that the trial had. Below 1 other trials may have run on the same GPU, which makes times "
        "longer. null for a trial that asked for no GPU, or that ran without Ray",
        "fraction",
    ),
    Column("predicted_peak_memory_gb", float, "Predicted peak GPU memory of tensors", "GiB"),
    Column("model_notes", str, "Decisions and changes made while loading the model"),
    Column("model_resolved_revision", str, "Commit of the model on the hub, or hash of its local weights"),
)
"""What `raypeft.trial.run` itself puts into the row."""


def tables(levels: Iterable[str] = ()) -> dict[str, list[Column]]:
    """The columns of each table by its name, as the metrics, datasets and statuses of this moment have them.

    `levels` are those of a user's datasets, whose scores have columns of their own.
    """
    return {
        "trials": [*OWN, *trial_columns(), *measured(levels)],
        "candidates": [*answer.CANDIDATES],
        "evals": [*training.EVALUATIONS],
        "tests": [*tests.TESTS],
        "example_scores": [*scores.EXAMPLE_SCORES],
    }


def measured(levels: Iterable[str] = ()) -> list[Column]:
    """The columns of a trial's row that are found out by running it."""
    return [
        status_column(),
        *OF_THE_RUN,
        *score_columns(levels),
        *answer.COLUMNS,
        *tests.COLUMNS,
        *training.COLUMNS,
        *tune.COLUMNS,
        *reloading.COLUMNS,
        *examples.COLUMNS,
        *shots.COLUMNS,
        *gpu.COLUMNS,
        *provenance.COLUMNS,
    ]
