"""Every stage of a trial has its words and its column; one that has none is refused before it begins."""

import pytest

from raypeft.results.store import ResultStore
from raypeft.study.trials import make_trial
from raypeft.trial.columns import tables
from raypeft.trial.context import TrialContext
from raypeft.trial.stages import STAGES


def test_the_time_of_every_stage_is_a_column() -> None:
    names = {column.name for column in tables()["trials"]}
    assert {f"{name}_seconds" for name in STAGES} <= names


def test_a_stage_without_a_column_is_refused_before_it_begins(tmp_path) -> None:
    heard = []
    trial = make_trial({"model": "toy", "dataset": "toy", "tuning_method": "zero_shot"})
    context = TrialContext(trial, "s", ResultStore(str(tmp_path), tables()), listener=heard.append)
    with pytest.raises(ValueError, match=r"stage must be one of load, .* but got 'polish'"), context.stage("polish"):
        pass
    assert heard == []
