"""The scores of a trial, from its rows of other tables: when it has run, and again from what is stored.

record_scores(row, store, dataset, store.read_rows("candidates", row["id"]), test_rows)
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from raypeft.methods import METHODS
from raypeft.metrics.metric import Answers, Row, Values
from raypeft.metrics.scoring import row_scores, values_by_example
from raypeft.records import Column, Dataset
from raypeft.results.store import ResultStore
from raypeft.trial.encoders import row_form

EXAMPLE_SCORES = (
    Column("id", str, "Id of the trial"),
    Column("example_id", str, "Id of the example in its dataset"),
    Column(
        "score", str, "Name of the score: its column in the table of trials, or another value used to compare trials"
    ),
    Column("value", float, "Score of this example alone. A hit is 1, a miss is 0"),
)
"""The table `example_scores`: what two trials are compared by, without any text of the dataset."""


def record_scores(
    trial: Row,
    store: ResultStore,
    dataset: Dataset,
    candidates: Iterable[Row],
    tests: Sequence[Row] = (),
) -> dict[str, Any]:
    """The scores of the trial's row, by column; those of single examples go to the store.

    `trial` has its id and its fields; `candidates` and `tests` are its rows of these tables. Raises what
    `row_scores` raises.
    """
    trial_id, trains = trial["id"], METHODS[trial["tuning_method"]].trains
    answers = Answers.from_rows([*candidates], tests, dataset.levels, dataset.paper_stop, trains)
    answers = replace(answers, as_paper=trial["fidelity"] == "paper", fenced=row_form(trial, dataset).opens_fence)
    row = row_scores(answers, dataset.judged_by)
    write_example_scores(trial_id, store, values_by_example(answers, dataset.judged_by))
    return row


def write_example_scores(trial_id: str, store: ResultStore, values: Values) -> None:
    """Write these scores of single examples; the trial's other scores of single examples stay."""
    others = [row for row in store.read_rows("example_scores", trial_id) if row["score"] not in values]
    own = [{"id": trial_id, "example_id": example, "score": score, "value": value}
           for score, examples in values.items() for example, value in examples.items()]  # fmt: skip
    store.write_rows("example_scores", trial_id, [*others, *own])
