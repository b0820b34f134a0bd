"""Every score of a trial from its candidates or their tests: the row's columns, both readings, with intervals."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from raypeft.metrics.codebleu.score import codebleu, example_counts, score_counts
from raypeft.metrics.exact_match import exact_matches, paper_prediction, paper_reference, untuned_prediction
from raypeft.metrics.functional import candidates_passed, pass_at_k, shares_passed
from raypeft.records import Candidate, Dataset
from raypeft.sandbox.records import OUTCOMES

CUTS = (1, 2, 5, 10)
PASS_CUTS = (1, 2, 5)
VERDICT = {"passed": False, "wrong_answer": False, "compile_error": -2}
"""An outcome that did not pass, in the codes of `raypeft.metrics.functional`; -1 what is not here."""
RESAMPLES = 2_000
BOOTSTRAP_SEED = 42


def score(
    candidates: Sequence[Sequence[Candidate]], references: Sequence[str], dataset: Dataset, trains: bool = True
) -> dict[str, Any]:
    """EM@k and CodeBLEU of the first candidate with 95 % intervals, by column, as fractions in [0, 1].

    `candidates[i]` are ranked candidates for `references[i]`. A cut k beyond the number of candidates is left out: the
    column stays null rather than repeating a smaller k under another name. The paper's reading is that of its RQ2 for a
    method that trains, and of RQ1 and RQ3 for others.
    """
    texts = [[candidate.text for candidate in found] for found in candidates]
    known = list(references)
    scores: dict[str, Any] = {}
    for k in (k for k in CUTS if k <= min(map(len, texts))):
        hits = exact_matches(texts, known, k)
        scores[f"em_at_{k}"] = float(np.mean(hits))
        scores |= _wilson(f"em_at_{k}", sum(hits), len(hits))
        reading = "paper" if trains else "paper_untuned"
        paper_hits = exact_matches(texts, known, k, fidelity=reading, stop=dataset.paper_stop)
        scores[f"em_at_{k}_paper"] = float(np.mean(paper_hits))
    first = [found[0] for found in texts]
    rows = np.array(example_counts(known, first))
    scores |= score_counts(rows.sum(axis=0).tolist()) | _codebleu_interval(rows)
    paper = _paper_codebleu(known, first, dataset, trains)
    return scores | {f"{name}_paper": value for name, value in paper.items()}


def _paper_codebleu(known: list[str], first: list[str], dataset: Dataset, trains: bool) -> dict[str, float]:
    if not trains:
        return codebleu(known, [untuned_prediction(text) for text in first], fidelity="package")
    # RQ2's program scored the texts as its exact match had left them (replication package, commit e7971c0).
    predictions = [paper_prediction(text, dataset.paper_stop) for text in first]
    return codebleu([paper_reference(text) for text in known], predictions, fidelity="paper")


def score_tests(rows: Sequence[Mapping[str, Any]], levels: Sequence[str] = ()) -> dict[str, Any]:
    """Tests passed, strict accuracy and pass@k with 95 % intervals, by column, over all problems and over each level.

    `rows` are those of the table `tests`. A cut k beyond the number of candidates is left out, and avg_tests_passed
    where tests were not run after a first failure.
    """
    counts = Counter(row["outcome"] for row in rows)
    scores: dict[str, Any] = {f"{outcome}_tests": counts[outcome] for outcome in OUTCOMES}
    level_of = {row["example_id"]: row["level"] for row in rows}
    values, paper = (values_of_tests(rows, reading) for reading in ("passed", "passed_paper"))
    for level in (None, *levels):
        chosen = [problem for problem in level_of if level in (None, level_of[problem])]
        for name in values if chosen else ():
            if name == "avg_tests_passed" and counts["not_run"]:
                continue
            own = [values[name][problem] for problem in chosen]
            column = f"{name}_{level}" if level else name
            scores[column] = float(np.mean(own))
            scores |= _mean_interval(column, own)
            scores[f"{column}_paper"] = float(np.mean([paper[name][problem] for problem in chosen]))
    return scores


def values_of_tests(rows: Sequence[Mapping[str, Any]], reading: str) -> dict[str, dict[str, float]]:
    """Each functional score of each problem, in [0, 1]."""
    results: dict[str, dict[int, list[Any]]] = {}
    for row in rows:
        verdict = True if row[reading] else VERDICT.get(row["outcome"], -1)
        results.setdefault(row["example_id"], {}).setdefault(row["rank"], []).append(verdict)
    verdicts = {problem: list(candidates.values()) for problem, candidates in results.items()}
    passed = candidates_passed(verdicts)
    values = {
        "avg_tests_passed": shares_passed(verdicts),
        "strict_accuracy": {problem: c / n for problem, (n, c) in passed.items()},
    }
    fewest = min((n for n, _ in passed.values()), default=0)
    for k in (k for k in PASS_CUTS if k <= fewest):
        values[f"pass_at_{k}"] = {problem: pass_at_k(n, c, k) for problem, (n, c) in passed.items()}
    return values


def _mean_interval(name: str, values: Sequence[float]) -> dict[str, float]:
    """The 95 % percentile bootstrap interval of a mean over problems; Wilson's where all of them are alike."""
    if len(set(values)) == 1:  # a bootstrap of 0 in 100 would claim that 0 is certain
        return _wilson(name, round(sum(values)), len(values))
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    draws = generator.multinomial(len(values), np.full(len(values), 1 / len(values)), size=RESAMPLES)
    low, high = np.percentile(draws @ np.array(values) / len(values), [2.5, 97.5])
    return {f"{name}_low": float(low), f"{name}_high": float(high)}


def _wilson(name: str, hits: int, examples: int) -> dict[str, float]:
    """Wilson's 95 % interval, since a bootstrap of 0 hits in 100 would claim that 0 is certain."""
    bounds = binomtest(hits, examples).proportion_ci(0.95, method="wilson")
    return {f"{name}_low": bounds.low, f"{name}_high": bounds.high}


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
