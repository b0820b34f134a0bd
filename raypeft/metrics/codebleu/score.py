"""CodeBLEU of a corpus: n-grams, weighted n-grams, syntax and data flow (arXiv 2009.10297), for Python.

    from raypeft.metrics.codebleu.score import codebleu
    codebleu(references=["x = f(y)"], predictions=["x = g(y)"])["codebleu"]

One reference and one prediction (the first candidate) an example; always corpus level: counts are summed over the
examples before any division, so the score is not a mean of examples' scores. Any text scores, Python or not.

Three readings:

- `CORRECTED`: the syntax tree tells what is a comment, so `//` and leading strings stay; when no reference has any
  data flow, its weight is spread evenly over the other three parts; no text on either side scores 0.
- `PAPER_RQ2`: the numbers of the study's RQ2 (arXiv 2308.10462). Comments are cut by Java's rules, so `//` ends a
  line; 35 keywords; a missing data flow counts 0. The study joined a program's lines first; callers do that.
- `PAPER_RQ1`: the numbers of its RQ1 and RQ3, made by the codebleu package 0.7.0. Comments and what it takes for
  docstrings are cut by Python's tokens; a data flow of 0, missing or all wrong, counts 1.

Comments are left out of syntax and data flow only: n-grams are those of the text as given. All readings are the
same under every PYTHONHASHSEED, which the codebleu package and the study's own program are not.
The n-gram parts are the codebleu package's; syntax and data flow are in the modules beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from math import exp, fsum, log

from codebleu import bleu, weighted_ngram_match

from raypeft.metrics.codebleu.dataflow import data_flow
from raypeft.metrics.codebleu.links import Sources
from raypeft.metrics.codebleu.syntax import Shapes, subtree_shapes
from raypeft.metrics.codebleu.tree import read_program
from raypeft.metrics.readings import Reading

_ORDERS = (1, 2, 3, 4)
"""n-gram lengths, each with weight 1/4 in the geometric mean (BLEU-4)."""

_KEYWORDS = frozenset((resources.files("codebleu") / "keywords" / "python.txt").read_text("utf-8").split())
"""Tokens that weigh 1 in the weighted n-gram match; others weigh 0.2 (arXiv 2009.10297, section 3.1)."""

_PAPER_KEYWORDS = _KEYWORDS - {"match", "case", "type"}
"""The study's list was made before Python's soft keywords."""

# The package's functions carry no types.
_precision: Callable[[list[list[str]], list[str], int], tuple[int, int]] = bleu.modified_precision
_recall: Callable[[list[list[object]], list[str], int], tuple[float, float]] = weighted_ngram_match.modified_recall
_brevity: Callable[[float, float], float] = bleu.brevity_penalty


def codebleu(references: list[str], predictions: list[str], reading: Reading = Reading.CORRECTED) -> dict[str, float]:
    """CodeBLEU and its four parts, each in [0, 1]; all 0 for no examples.

    Keys: codebleu, ngram_match, weighted_ngram_match, syntax_match, dataflow_match. dataflow_match is 0 when no
    reference has data flow; codebleu then depends on the reading (see the module's head). Raises ValueError
    when the lists differ in length or for no `Reading`; never for what a text holds.
    Source of the parts and of the equal weights: arXiv 2009.10297, section 3.
    """
    rows = example_counts(references, predictions, reading)
    return score_counts([sum(column) for column in zip(*rows, strict=True)], reading)


def example_counts(
    references: list[str], predictions: list[str], reading: Reading = Reading.CORRECTED
) -> list[tuple[float, ...]]:
    """One row of counts an example. CodeBLEU of any set of examples is `score_counts` of their rows' sum.

    That makes a bootstrap over examples cheap: texts are parsed once, then rows are drawn and added up. The
    columns belong to this module. Raises as `codebleu` does.
    """
    if len(references) != len(predictions):
        raise ValueError(f"predictions must be as many as references but got {len(predictions)} for {len(references)}")
    reading = Reading(reading)
    keywords = _PAPER_KEYWORDS if reading is Reading.PAPER_RQ2 else _KEYWORDS
    return [
        (*_ngram_counts(reference, prediction, keywords), *_tree_counts(reference, prediction, reading))
        for reference, prediction in zip(references, predictions, strict=True)
    ]


def score_counts(totals: Sequence[float], reading: Reading = Reading.CORRECTED) -> dict[str, float]:
    """The scores of a corpus from the sums of its `example_counts` columns; all 0 when `totals` is empty.

    Raises ValueError for no `Reading`.
    """
    reading = Reading(reading)
    parts = dict.fromkeys(("ngram_match", "weighted_ngram_match", "syntax_match", "dataflow_match"), 0.0)
    if not len(totals):
        return {"codebleu": 0.0, **parts}
    n = 2 * len(_ORDERS)
    examples, predicted, expected, same_trees, all_trees, same_flows, all_flows = totals[2 * n :]
    if reading is Reading.CORRECTED and not (predicted and expected):
        # Nothing on one side: the original still finds two empty modules alike.
        return {"codebleu": 0.0, **parts}
    parts["ngram_match"] = _geometric_mean(totals[:n], _brevity(expected, predicted))
    # All implementations take the length of a (tokens, weights) pair for a reference's, so 2. That does
    # little harm: a recall punishes short predictions by itself.
    parts["weighted_ngram_match"] = _geometric_mean(totals[n : 2 * n], _brevity(2 * examples, predicted))
    parts["syntax_match"] = same_trees / all_trees
    if all_flows:
        parts["dataflow_match"] = same_flows / all_flows
    counted = 3 if reading is Reading.CORRECTED and not all_flows else 4
    gift = 1 if reading is Reading.PAPER_RQ1 and not parts["dataflow_match"] else 0  # its `theta * (dataflow or 1)`
    return {"codebleu": float((fsum(parts.values()) + gift) / counted), **{name: float(parts[name]) for name in parts}}


def _ngram_counts(reference: str, prediction: str, keywords: frozenset[str]) -> list[float]:
    """Matches and totals of each n-gram length, plain then weighted; 1, for the example; both lengths in tokens.

    Tokens are what white space separates. Plain counts are BLEU's precision, weighted ones a recall.
    """
    expected, predicted = reference.split(), prediction.split()
    weights = {token: 1 if token in keywords else 0.2 for token in expected}
    counts: list[float] = []
    for order in _ORDERS:
        counts += _precision([expected], predicted, order)
    for order in _ORDERS:
        counts += _recall([[expected, weights]], predicted, order)
    return [*counts, 1, len(predicted), len(expected)]


def _tree_counts(reference: str, prediction: str, reading: Reading) -> tuple[int, int, int, int]:
    """The reference's subtrees found in the prediction and all of them; the same for its data flows.

    A subtree counts as found however often the prediction has it; a data flow as often as both have it.
    """
    shapes: Shapes = {}
    sources: Sources = {}
    expected = read_program(reference, reading)
    expected_trees = subtree_shapes(expected, shapes)
    expected_flows = data_flow(expected, reading, sources)
    predicted = expected if prediction == reference else read_program(prediction, reading)
    found = subtree_shapes(predicted, shapes)
    same_trees = sum(count for shape, count in expected_trees.items() if shape in found)
    same_flows = 0
    if expected_flows:
        same_flows = (expected_flows & data_flow(predicted, reading, sources)).total()
    return same_trees, expected_trees.total(), same_flows, expected_flows.total()


def _geometric_mean(counts: Sequence[float], penalty: float) -> float:
    """BLEU of summed matches and totals: 0 without a common token, else lengths without match count 0.1 match.

    That is "method 1" of Chen and Cherry (2014), as the package sets it.
    """
    if counts[0] == 0:
        return 0.0
    pairs = zip(counts[::2], counts[1::2], strict=True)
    return penalty * exp(fsum(log((matches or 0.1) / total) / len(_ORDERS) for matches, total in pairs))
