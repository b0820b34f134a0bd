"""`raypeft trial` beside another command on the same folder."""

from pathlib import Path

import pytest

from raypeft.cli.trial import main
from raypeft.results.leases import leased
from raypeft.results.store import ResultStore
from raypeft.study.checking import load_config
from raypeft.study.plan import plan_trials
from raypeft.trial.columns import tables

SWEEP = """
name: s
defaults: {model: toy, dataset: toy, max_new_tokens: 4, num_beams: 1, num_return_sequences: 1}
grids: [{tuning_method: zero_shot}]
"""


def test_a_trial_that_another_command_runs_is_left_to_it_and_then_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.yaml").write_text(SWEEP)
    words = [str(tmp_path / "s.yaml"), "--results", str(tmp_path), "--limit", "2"]
    (trial,) = plan_trials(load_config(tmp_path / "s.yaml", limit=2))
    store = ResultStore(str(tmp_path / "s"), tables())
    with leased(store, trial.id, "another command"):
        assert main(words) == 1
    assert "not run: process" in capsys.readouterr().err and store.read_rows() == []
    for count in (0, 1):
        assert main(words) == 0
        (row,) = store.read_rows()
        assert (row["status"], row["limit"], row["attempts"]) == ("ok", 2, 1)
        assert len(list((tmp_path / "s").rglob("superseded/*/trials/*.parquet"))) == count
