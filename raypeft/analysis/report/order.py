"""By which score the results of a dataset are ordered: the same one in every table, of a sweep's end and of a report.

first, *others = shown_scores(known_scores(rows, declared))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raypeft.metrics.metric import Score
from raypeft.results.declarations import Declarations

Row = Mapping[str, Any]


LOSSES = ("test_loss", "best_eval_loss")


def known_scores(rows: Sequence[Row], declared: Declarations) -> list[Score]:
    """The scores that some of these rows have."""
    return [score for score in declared.scores if any(row.get(score.name) is not None for row in rows)]


def shown_scores(known: Sequence[Score]) -> list[Score]:
    """Those of `known_scores` that readers look for first; the one to order by stands first.

    It is the first score with an interval (EM@10, pass@1), else the first of the headline, else the test loss, else
    the validation loss.
    """
    headline = [score for score in known if score.in_headline]
    first = sorted(headline, key=lambda score: not score.with_interval)[:1]
    losses = [score for score in known if score.name in LOSSES]
    losses.sort(key=lambda score: score.name != "test_loss")
    return [*first, *(score for score in headline if score not in first), *losses]


def tabled_scores(known: Sequence[Score]) -> list[Score]:
    """Those of `shown_scores`, and before the losses the others that tables show, such as pass@1 of each level."""
    shown = shown_scores(known)
    more = [score for score in known if score.width is not None and score not in shown]
    losses = [score for score in shown if score.name in LOSSES]
    return [*(score for score in shown if score not in losses), *more, *losses]
