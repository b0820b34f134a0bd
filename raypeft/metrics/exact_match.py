"""Exact match at k (EM@k): is the reference among an example's first k candidates?

    from raypeft.metrics.exact_match import exact_matches
    exact_matches([["x = 1", "x = 2"]], ["x = 2"], k=2)      # [True]

Three readings of the same candidates:

- `CORRECTED` compares the candidate as decoded, outer white space aside. Nothing is cut: where a
  candidate ends is the decoder's business.
- `PAPER_RQ2` repeats what the study's program did to the text before it compared (arXiv 2308.10462, replication
  package, the run behind Table 3). It cannot give 1.0 to perfect output: fed its own references, CoNaLa's
  test set scores 494/543, because references that contain `<`, `>`, a newline or outer white space are lost.
- `PAPER_RQ1` cuts the candidate at the first fence, as the program of RQ1 and RQ3 did, and compares it with the
  reference as it is in the dataset. That program decoded with clean-up (`clean_up`), which RQ2's reading includes and
  which `compute` adds for trials of `fidelity: paper`: fed its own references, CoNaLa's test set then scores 527/543.

This compares text, not programs: `x=1` does not match `x = 1`, and nothing is run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from raypeft.metrics import intervals
from raypeft.metrics.metric import WIDE, Answers, Metric, Score, Values
from raypeft.metrics.readings import Reading

CUTS = (1, 2, 5, 10)
STOP = ("<|endoftext|>", "</s>", "\n")
"""Where the paper's program cut a CoNaLa prediction; CodeAlpacaPy's list lacks the newline."""

_CLEAN_UP = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)
"""The ten replacements of Transformers' `clean_up_tokenization_spaces`, in its order. Transformers 4 applied
them to the paper's output; Transformers 5 skips them for BPE tokenizers, so they are applied here."""


def exact_matches(
    candidates: list[list[str]],
    references: list[str],
    k: int,
    reading: Reading = Reading.CORRECTED,
    stop: Sequence[str] = STOP,
) -> list[bool]:
    """For each example, whether its reference is among its first k candidates: what EM@k and its interval are made
    from.

    candidates[i] holds example i's candidates, best first; fewer than k is allowed. `stop` is used by RQ2's reading
    only. Raises ValueError for no `Reading`, when k is below 1, when the two lists differ in length, and when the
    reading of RQ2 cannot compile `stop` as a regular expression. Source: EM@k as arXiv 2308.10462 uses it.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1 but got {k}")
    if len(candidates) != len(references):
        raise ValueError(
            f"candidates must have one list per reference but got {len(candidates)} lists "
            f"for {len(references)} references"
        )
    reading = Reading(reading)
    return [
        any(_matches(text, reference, reading, stop) for text in texts[:k])
        for texts, reference in zip(candidates, references, strict=True)
    ]


def matches(text: str, reference: str) -> bool:
    """Whether a candidate is the reference, outer white space aside."""
    return text.strip() == reference.strip()


def _matches(text: str, reference: str, reading: Reading, stop: Sequence[str]) -> bool:
    if reading is Reading.CORRECTED:
        return matches(text, reference)
    if reading is Reading.PAPER_RQ1:  # to which the reference is what it is
        return untuned_prediction(text) == reference
    return paper_prediction(text, stop) == paper_reference(reference)


def untuned_prediction(text: str) -> str:
    """A prediction as the paper's RQ1 and RQ3 scored it, which asked in fences: cut at the first fence, stripped."""
    return text.partition("```")[0].strip()


def paper_candidates(answers: Answers) -> list[list[str]]:
    """The candidates of all examples as the paper's scoring program got them: cleaned up, where the trial follows the
    code of RQ1 and RQ3. RQ2's reading cleans up by itself.
    """
    candidates, _ = answers.pairs
    if answers.trains or not answers.as_paper:
        return candidates
    return [[clean_up(text) for text in texts] for texts in candidates]


def paper_prediction(text: str, stop: Sequence[str] = STOP) -> str:
    """A prediction as RQ2's program scored it: cleaned up, stripped, cut, on one line. Blanks before the cut stay.

    Raises ValueError when `stop` is no regular expression once joined.
    """
    text = clean_up(text).strip()
    ending = _paper_ending(tuple(stop))
    if ending is not None and (match := ending.search(text)):
        text = text[: match.start()]
    return _on_one_line(text)


def paper_reference(text: str) -> str:
    """A reference as RQ2's program scored it: cleaned up and on one line, neither stripped nor cut."""
    return _on_one_line(clean_up(text))


@cache
def _paper_ending(stop: tuple[str, ...]) -> re.Pattern[str] | None:
    """The paper's pattern of stop strings: joined by `|` and not escaped.

    So `<|endoftext|>` means "`<` or `endoftext` or `>`", which is why every comparison operator ends a
    prediction. None when there is nothing to stop at (an empty pattern would match everywhere).
    """
    if not stop:
        return None
    try:
        return re.compile("|".join(stop))
    except re.error as error:
        raise ValueError(
            f"stop must be a regular expression once joined by '|' but got {list(stop)}: {error}"
        ) from error


def clean_up(text: str) -> str:
    """A text after `clean_up_tokenization_spaces` of Transformers 4."""
    for old, new in _CLEAN_UP:
        text = text.replace(old, new)
    return text


def _on_one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ")


def _score(k: int, **shown: Any) -> Score:
    description = f"EM@k: share of examples with an exact match among the first {k} candidates"
    return Score(
        f"em_at_{k}",
        f"EM@{k}",
        description,
        readings=("low", "high", "paper", "paper_low", "paper_high", "validation"),
        **shown,
    )


def compute(answers: Answers) -> dict[str, float]:
    """EM@k by column, in [0, 1], with Wilson's interval and as the paper's program for such a trial counts.

    That program read fenced answers where nothing was trained. It has no count of answers to other prompts.
    """
    candidates, references = answers.pairs
    paper, told = Reading.of_the_paper(answers.trains), paper_candidates(answers)
    columns: dict[str, float] = {}
    for k in (k for k in CUTS if k <= answers.fewest):
        readings = {f"em_at_{k}": (Reading.CORRECTED, candidates)}
        if answers.trains or answers.fenced:
            readings[f"em_at_{k}_paper"] = paper, told
        for name, (reading, texts) in readings.items():
            hits = exact_matches(texts, references, k, reading, answers.paper_stop)
            columns[name] = sum(hits) / len(hits)
            columns |= intervals.wilson(name, sum(hits), len(hits))
    return columns


def per_example(answers: Answers) -> Values:
    """Hit or miss among the first candidate, and among the first ten."""
    candidates, references = answers.pairs
    return {
        f"em_at_{k}": dict(zip(answers.candidates, map(float, exact_matches(candidates, references, k)), strict=True))
        for k in (1, 10)
        if k <= answers.fewest
    }


def values_of_matches(candidates: Sequence[Mapping[str, Any]]) -> Values:
    """The same from a trial's rows of the table `candidates`, of which references were taken out: by `matches`."""
    found: dict[str, list[tuple[int, bool]]] = {}
    for row in candidates:
        found.setdefault(row["example_id"], []).append((row["rank"], bool(row.get("matches"))))
    fewest = min(map(len, found.values()), default=0)
    return {
        f"em_at_{k}": {
            example: float(any(right for rank, right in each if rank < k)) for example, each in found.items()
        }
        for k in (1, 10)
        if k <= fewest
    }


METRIC = Metric(
    name="exact_match",
    needs="reference",
    scores=(
        _score(1, in_headline=True, hits="em_at_1"),
        _score(2, width=None, over_seeds=False),
        _score(5, width=None, over_seeds=False),
        _score(10, with_interval=True, paper_width=WIDE, in_headline=True, hits="em_at_10"),
    ),
    compute=compute,
    per_example=per_example,
)
