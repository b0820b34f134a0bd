"""`--dry-run`: the claims of a sweep, and what its trials cannot decide."""

from pathlib import Path

import pytest

from raypeft.analysis.claims.planning import check_claims
from raypeft.cli.dry_run import describe_plan, print_plan
from raypeft.study.checking import load_config
from raypeft.study.plan import plan_trials

SWEEPS = sorted(Path("sweeps").glob("*.yaml"))
TEXT = """name: x
defaults: {model: toy, dataset: toy}
grids: [{tuning_method: [zero_shot, lora]}]
claims: [{better: {tuning_method: lora}, than: {tuning_method: zero_shot}, on: em_at_10, by: 0.02}]
"""
CLAIM = "lora is better than zero_shot by more than 2 points (EM@10)"
REASON = "lora r 16 has 1 seed, and 3 or more are needed: seed: [1, 2, 3]"


def test_claims_and_what_cannot_be_decided_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(TEXT)
    print_plan(load_config(path))
    assert capsys.readouterr().out.endswith(
        f"the sweep tests a claim:\n  {CLAIM}\n    these trials cannot decide it: {REASON}\n"
    )


def test_a_plan_as_json_has_the_claims(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(TEXT)
    assert describe_plan(load_config(path))["claims"] == [{"claim": CLAIM, "undecidable": REASON}]
    sweep = load_config(path, ["grids.0.seed=[1,2,3]"])
    assert describe_plan(sweep)["claims"] == [{"claim": CLAIM, "undecidable": None}]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_claims_of_every_sweep_fit_its_trials(path: Path) -> None:
    sweep = load_config(path)
    claims = check_claims(sweep, plan_trials(sweep))
    assert len(claims) == len(sweep.config.claims)
    if path.stem.startswith(("rq", "lora_")) and not sweep.config.search:
        assert claims
    if path.stem in ("rq1", "rq3", "rq4"):
        assert [claim.hindrance for claim in claims if claim.hindrance] == []


def test_a_plan_says_how_many_trainings_are_spared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(TEXT.replace("dataset: toy", "dataset: toy, num_beams: [10, 12, 14]"))
    print_plan(load_config(path))
    assert "\n2 trials take over the training of another one that differs only in what" in capsys.readouterr().out
    print_plan(load_config(path, ["keep_checkpoints=last"]))
    assert "take over" not in capsys.readouterr().out
