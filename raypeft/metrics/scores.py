"""Every score of a trial from its candidates: the row's columns, both readings of each metric, with intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from raypeft.metrics.codebleu import codebleu, example_counts, score_counts
from raypeft.metrics.exact_match import exact_matches, paper_prediction, paper_reference
from raypeft.records import Candidate, Dataset

CUTS = (1, 2, 5, 10)
RESAMPLES = 2_000
BOOTSTRAP_SEED = 42


def score(candidates: Sequence[Sequence[Candidate]], references: Sequence[str], dataset: Dataset) -> dict[str, Any]:
    """EM@k and CodeBLEU of the first candidate with 95 % intervals, by column, as fractions in [0, 1].

    `candidates[i]` are ranked candidates for `references[i]`. A cut k beyond the number of candidates is left out: the
    column stays null rather than repeating a smaller k under another name.
    """
    texts = [[candidate.text for candidate in found] for found in candidates]
    known = list(references)
    scores: dict[str, Any] = {}
    for k in (k for k in CUTS if k <= min(map(len, texts))):
        hits = exact_matches(texts, known, k)
        scores[f"em_at_{k}"] = float(np.mean(hits))
        # Wilson's interval, since a bootstrap of 0 hits in 100 would claim that 0 is certain.
        bounds = binomtest(sum(hits), len(hits)).proportion_ci(0.95, method="wilson")
        scores |= {f"em_at_{k}_low": bounds.low, f"em_at_{k}_high": bounds.high}
        paper_hits = exact_matches(texts, known, k, fidelity="paper", stop=dataset.paper_stop)
        scores[f"em_at_{k}_paper"] = float(np.mean(paper_hits))
    first = [found[0] for found in texts]
    rows = np.array(example_counts(known, first))
    scores |= score_counts(rows.sum(axis=0).tolist()) | _codebleu_interval(rows)
    # RQ2's program scored the texts as its exact match had left them (replication package, commit e7971c0).
    paper_first = [paper_prediction(text, dataset.paper_stop) for text in first]
    paper = codebleu([paper_reference(text) for text in known], paper_first, fidelity="paper")
    return scores | {f"{name}_paper": value for name, value in paper.items()}


def _codebleu_interval(rows: np.ndarray) -> dict[str, float]:
    """The 95 % percentile bootstrap interval over test examples (Efron & Tibshirani 1993, chapter 13).

    `rows` is (examples, counts): a resampled corpus is a sum of rows, so texts are parsed only once.
    """
    examples = len(rows)
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    draws = generator.multinomial(examples, np.full(examples, 1 / examples), size=RESAMPLES)
    resampled = [score_counts(total)["codebleu"] for total in (draws @ rows).tolist()]
    low, high = np.percentile(resampled, [2.5, 97.5])
    return {"codebleu_low": float(low), "codebleu_high": float(high)}
