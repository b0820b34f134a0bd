"""How long a trial will take, by those like it."""

from statistics import median
from typing import Any

import pytest

from raypeft.analysis import timing
from raypeft.analysis.timing import Timing

LIKE = {"model": "toy", "dataset": "toy", "tuning_method": "lora", "limit": None, "decode": True, "num_train_epochs": 2}


def ended(**row: Any) -> dict[str, Any]:
    return {**LIKE, "status": "ok", "total_seconds": 100.0, "train_seconds": 50.0, "eval_seconds": 10.0, **row}


def test_training_time_goes_with_the_epochs_and_the_rest_does_not() -> None:
    known = Timing([ended()])
    assert known.expected({**LIKE, "num_train_epochs": 5}) == 5 * 30 + 40


def test_the_median_of_like_trials_counts() -> None:
    known = Timing([ended(), ended(total_seconds=110.0), ended(total_seconds=900.0)])
    assert known.expected(LIKE) == 110.0
    assert known.count(LIKE) == 3


def test_nothing_is_said_of_a_trial_that_is_like_none() -> None:
    known = Timing([ended()])
    assert known.expected({**LIKE, "model": "other"}) is None
    assert known.expected({**LIKE, "limit": 20}) is None


def test_trials_that_failed_were_pruned_or_went_on_from_a_checkpoint_do_not_count() -> None:
    rows = [ended(status="failed"), ended(status="pruned"), ended(attempts=2)]
    assert Timing(rows).expected(LIKE) is None


def test_a_row_whose_total_lacks_its_training_does_not_count() -> None:
    assert Timing([ended(total_seconds=30.0)]).expected(LIKE) is None


def test_an_untrained_trial_has_no_epochs() -> None:
    plain = {**LIKE, "tuning_method": "icl", "num_train_epochs": None}
    assert Timing([ended(**{**plain, "train_seconds": None, "eval_seconds": None})]).expected(plain) == 100.0


def test_what_trials_take_that_are_alike_is_worked_out_once_for_each_number_of_epochs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(timing, "median", lambda values: asked.append(1) or median(values))
    known = Timing([ended()] * 100)
    assert {known.expected({**LIKE, "num_train_epochs": 1 + place % 2}) for place in range(100)} == {70.0, 100.0}
    assert len(asked) == 2
