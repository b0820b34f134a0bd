"""Every table of the results, from what those who fill it declare.

store = ResultStore("results/rq2", tables())
"""

from datetime import datetime

from raypeft import machine
from raypeft.metrics.scoring import score_columns
from raypeft.prompting import shots
from raypeft.records import Column
from raypeft.results.statuses import status_column
from raypeft.study.config import trial_columns
from raypeft.training import columns as training
from raypeft.trial import answer, examples, provenance, scores, tests, tune

OWN = (Column("id", str, "hash of the fields below"), Column("sweep", str, "the sweep's name"))


OF_THE_RUN = (
    Column("error", str, "what went wrong, where status is not ok"),
    Column("started_at", datetime, "start of the trial"),
    Column(
        "exact_duplicates",
        int,
        "test examples whose instruction stands in the training split, case and white space aside",
        "examples",
    ),
    Column("load_seconds", float, "loading the base model and the data; near 0 where an earlier trial had", "seconds"),
    Column("retrieve_seconds", float, "finding shots, embeddings included; null for random ones", "seconds"),
    Column("generate_seconds", float, "decoding the test split", "seconds"),
    Column("test_seconds", float, "waiting for tests after decoding, beside which they run", "seconds"),
    Column("score_seconds", float, "computing the scores", "seconds"),
    Column("total_seconds", float, "the whole trial", "seconds"),
    Column("generate_examples_per_second", float, "decoding speed", "examples per second"),
    Column("gpu_memory_gb", float, "the trial's memory budget; null without a GPU", "GiB"),
    Column("predicted_peak_memory_gb", float, "peak GPU memory of tensors as planning predicts it", "GiB"),
    Column("model_notes", str, "what loading the model had to decide or change"),
    Column("model_resolved_revision", str, "commit of the model on the hub, or hash of its local weights"),
)
"""What `raypeft.trial.run` itself puts into the row."""


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
        *OF_THE_RUN,
        *score_columns(),
        *tests.COLUMNS,
        *training.COLUMNS,
        *tune.COLUMNS,
        *examples.COLUMNS,
        *shots.COLUMNS,
        *machine.COLUMNS,
        *provenance.COLUMNS,
    ]
