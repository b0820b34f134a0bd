"""CodeBLEU as a metric of a trial: of each example's first candidate, corpus level, with a bootstrap interval."""

import numpy as np

from raypeft.metrics import intervals
from raypeft.metrics.exact_match import paper_candidates, paper_prediction, paper_reference, untuned_prediction
from raypeft.metrics.metric import WIDE, Answers, Metric, Score, Values
from raypeft.metrics.readings import Reading

PARTS = ("ngram_match", "weighted_ngram_match", "syntax_match", "dataflow_match")


def compute(answers: Answers) -> dict[str, float]:
    """CodeBLEU and its parts by column, in [0, 1], with intervals, also as the paper counted such a trial."""
    candidates, references = answers.pairs
    first = [texts[0] for texts in candidates]
    columns = _scored(references, first, Reading.CORRECTED, "")
    reading, first = Reading.of_the_paper(answers.trains), [texts[0] for texts in paper_candidates(answers)]
    if reading is Reading.PAPER_RQ1:
        return columns | _scored(references, [untuned_prediction(text) for text in first], reading, "_paper")
    # RQ2's program scored the texts as its exact match had left them (replication package, commit e7971c0).
    read = [paper_prediction(text, answers.paper_stop) for text in first]
    return columns | _scored([paper_reference(text) for text in references], read, reading, "_paper")


def _scored(references: list[str], predictions: list[str], reading: Reading, ending: str) -> dict[str, float]:
    """The scores under one reading, their names with this ending, and the interval of CodeBLEU.

    Texts are parsed once: a resampled corpus is a sum of its examples' counts.
    """
    from raypeft.metrics.codebleu.score import example_counts, score_counts

    rows = np.array(example_counts(references, predictions, reading))

    def resampled(draws: np.ndarray) -> list[float]:
        return [score_counts(total, reading)["codebleu"] for total in (draws @ rows).tolist()]

    scores = score_counts(rows.sum(axis=0).tolist(), reading)
    named = {f"{name}{ending}": value for name, value in scores.items()}
    return named | intervals.bootstrap(f"codebleu{ending}", len(rows), resampled)


def per_example(answers: Answers) -> Values:
    """What each example contributes to the corpus score: its jackknife pseudo-value, shifted so that their mean is the
    corpus score (Efron and Tibshirani 1993, section 11.5).

    CodeBLEU is not a mean over examples, so a paired test needs such values. Differences of two trials' pseudo-values
    give the intervals that a bootstrap of both corpora gives (tests/metrics/test_codebleu_metric.py).
    """
    from raypeft.metrics.codebleu.score import example_counts, score_counts

    candidates, references = answers.pairs
    if len(candidates) < 2:
        return {}
    rows = np.array(example_counts(references, [texts[0] for texts in candidates]))
    total = rows.sum(axis=0)
    without = np.array([score_counts(left)["codebleu"] for left in (total - rows).tolist()])
    values = score_counts(total.tolist())["codebleu"] + (len(rows) - 1) * (without.mean() - without)
    return {"codebleu": dict(zip(answers.candidates, values.tolist(), strict=True))}


METRIC = Metric(
    name="codebleu",
    needs="reference",
    scores=(
        Score(
            "codebleu",
            "CodeBLEU",
            "Corpus-level CodeBLEU of the first candidate of each example, read as Python whatever its language",
            readings=("low", "high", "paper", "paper_low", "paper_high", "validation"),
            paper_width=WIDE,
            in_headline=True,
        ),
        *(
            Score(part, part, f"Component of CodeBLEU: {part}", readings=("paper",), width=None, over_seeds=False)
            for part in PARTS
        ),
    ),
    compute=compute,
    per_example=per_example,
)
