"""`--dry-run`: the claims of a sweep, and what its trials cannot decide."""

from pathlib import Path

import pytest
from report_folders import add_row, made_row, store_at

from raypeft.analysis.claims.planning import check_claims
from raypeft.cli.dry_run import describe_plan, print_plan, time_lines
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


GRID = "name: s\ndefaults: {model: toy, dataset: toy}\ngrids: [{tuning_method: lora, seed: [1, 2, 3]}]\n"


def time_told(folder: Path, text: str, ended: dict[str, tuple[str, ...]]) -> str:
    """What a plan says of its time, where the trials of each sweep have ended in these ways, each after a minute."""
    folder.mkdir(exist_ok=True)
    path = folder / "s.yaml"
    path.write_text(f"{text}results: {folder}\n")
    sweep = load_config(path)
    planned = plan_trials(sweep)
    more = {"total_seconds": 60.0, "gpu_memory_gb": 23.65}
    for name, statuses in ended.items():
        store = store_at(folder / name)
        for trial, status in zip(planned, statuses, strict=False):
            add_row(store, {**made_row(status=status, more=more), "id": trial.id, **trial.fields})
    return "".join(time_lines(planned, sweep.config))


def test_the_expected_time_is_that_of_trials_that_are_not_settled_in_the_sweeps_own_folder(tmp_path: Path) -> None:
    assert time_told(tmp_path / "a", GRID, {"other": ("ok", "ok")}).startswith("the 3 trials still to run")
    assert time_told(tmp_path / "b", GRID, {"s": ("ok", "failed")}).startswith("the 1 trial still to run")
    assert time_told(tmp_path / "c", GRID, {"s": ("ok", "lost")}).startswith("the 2 trials still to run")


def test_trials_that_are_copied_take_no_time(tmp_path: Path) -> None:
    ended = {"other": ("ok", "oom")}
    found = time_told(tmp_path / "a", f"{GRID}reuse: [other]\n", ended)
    assert found.startswith("the 1 trial still to run will take about")
    found = time_told(tmp_path / "b", f"{GRID}reuse: [other]\nresources: {{gpu_memory_gb: 40}}\n", ended)
    assert found.startswith("the 2 trials still to run will take about")


def test_pruned_trials_are_still_to_run_where_there_is_no_scheduler(tmp_path: Path) -> None:
    ended = {"s": ("ok", "pruned", "pruned")}
    assert time_told(tmp_path / "a", GRID, ended).startswith("the 2 trials still to run")
    search = "search: random\nnum_samples: 3\nscheduler: asha\nparameters: {lora_r: [2, 4, 8]}\n"
    assert time_told(tmp_path / "b", GRID.replace(", seed: [1, 2, 3]", "") + search, ended) == ""
