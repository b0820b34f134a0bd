"""CodeBLEU as a metric of a trial: of each example's first candidate, corpus level, with a bootstrap interval."""

from collections.abc import Sequence

import numpy as np

from raypeft.metrics import intervals
from raypeft.metrics.exact_match import paper_candidates, paper_prediction, paper_reference, untuned_prediction
from raypeft.metrics.metric import WIDE, Answers, Metric, Score
from raypeft.metrics.readings import Reading

PARTS = ("ngram_match", "weighted_ngram_match", "syntax_match", "dataflow_match")


def compute(answers: Answers) -> dict[str, float]:
    """CodeBLEU and its parts by column, in [0, 1], with an interval and as the paper's program for such a trial counts.

    Texts are parsed once: a resampled corpus is a sum of its examples' counts.
    """
    from raypeft.metrics.codebleu.score import example_counts, score_counts

    candidates, references = answers.pairs
    first = [texts[0] for texts in candidates]
    rows = np.array(example_counts(references, first))

    def resampled(draws: np.ndarray) -> list[float]:
        return [score_counts(total)["codebleu"] for total in (draws @ rows).tolist()]

    columns = score_counts(rows.sum(axis=0).tolist()) | intervals.bootstrap("codebleu", len(rows), resampled)
    paper = _as_the_paper(references, [texts[0] for texts in paper_candidates(answers)], answers.paper_stop,
                          answers.trains)  # fmt: skip
    return columns | {f"{name}_paper": value for name, value in paper.items()}


def _as_the_paper(
    references: Sequence[str], first: Sequence[str], stop: Sequence[str], trains: bool
) -> dict[str, float]:
    from raypeft.metrics.codebleu.score import codebleu

    reading = Reading.of_the_paper(trains)
    if reading is Reading.PAPER_RQ1:
        return codebleu([*references], [untuned_prediction(text) for text in first], reading)
    # RQ2's program scored the texts as its exact match had left them (replication package, commit e7971c0).
    return codebleu([paper_reference(text) for text in references], [paper_prediction(text, stop) for text in first],
                    reading)  # fmt: skip


METRIC = Metric(
    name="codebleu",
    needs="reference",
    scores=(
        Score(
            "codebleu",
            "CodeBLEU",
            "Corpus-level CodeBLEU of the first candidate of each example",
            readings=("low", "high", "paper"),
            paper_width=WIDE,
            in_headline=True,
        ),
        *(
            Score(part, part, f"Component of CodeBLEU: {part}", readings=("paper",), width=None, over_seeds=False)
            for part in PARTS
        ),
    ),
    compute=compute,
)
