"""Claims before anything runs: mistakes with their lines, and what the planned trials cannot decide."""

import re
from pathlib import Path

import pytest

from raypeft.analysis.claims.planning import check_claims
from raypeft.study.checking import load_config
from raypeft.study.plan import plan_trials
from raypeft.study.sweepfile import ConfigError

GRID = """name: x
defaults: {model: toy, dataset: toy, seed: [1, 2, 3]}
grids:
  - {tuning_method: lora, lora_r: [4, 8], learning_rate: [1.0e-4, 1.0e-3, 1.0e-2]}
  - {tuning_method: zero_shot, seed: 42}
  - {tuning_method: icl, num_shots: [1, 2, 4], icl_seed: [1, 2, 3], seed: 42}
claims:
"""


def loaded(tmp_path: Path, claims: str, *overrides: str):
    path = tmp_path / "x.yaml"
    path.write_text(GRID + "".join(f"  - {claim}\n" for claim in claims.splitlines()))
    sweep = load_config(path, overrides)
    return sweep, plan_trials(sweep)


def mistakes(tmp_path: Path, claims: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        check_claims(*loaded(tmp_path, claims, *overrides))
    return raised.value.problems


def open_ones(tmp_path: Path, claims: str, *overrides: str) -> list[str]:
    planned = check_claims(*loaded(tmp_path, claims, *overrides))
    return [each.hindrance for each in planned if each.hindrance]


@pytest.mark.parametrize("claim, message", [
    ("{better: {tuning_method: lora}, than: {tuning_method: zero_shot}, on: em_at_11}", "on: must be one of .*em_at_1"),
    ("{better: {rank: 8}, than: {lora_r: 4}, on: codebleu}", "rank: must be a field .* did you mean lora_r"),
    ("{better: {lora_r: 16}, than: {lora_r: 4}, on: codebleu}", "no planned trial has r 16; lora_r is 4, 8"),
    ("{better: {tuning_method: lora}, than: {tuning_method: rag}, on: codebleu}", "no planned trial has rag"),
    ("{better: {seed: 1}, than: {seed: 2}, on: codebleu}", "seed: seeds are chance"),
    ("{stops_growing: num_shots, after: 4, on: em_at_10, where: {tuning_method: icl}}", "num_shots above 4"),
    ("{optimum_of: lora_alpha, independent_of: lora_r, on: test_loss, within_decades: 0.2}", "one value of lora_alpha"),
    ("{better: {tuning_method: icl}, than: {tuning_method: zero_shot}, on: test_loss}", "it trains nothing"),
    ("{better: {tuning_method: lora}, than: {tuning_method: zero_shot}, on: pass_at_1}", "judged by reference"),
    ("{saves: peak, better: {lora_r: 4}, than: {lora_r: 8}, factor: 2, keeping: em_at_1, within: 0.01}",
     "saves: must be a column"),
    ("{equivalent: {lora_r: [4, 8], lora_alpha: [1, 2]}, on: codebleu, within: 0.1}", "at most 1 item"),
    ("{bigger: {lora_r: 4}}", "must have one of the keys"),
    ("{better: {lora_r: 8}, than: {lora_r: 8}, on: codebleu}", "r 8 and r 8 both select lora lr 0.0001, r 8; name"),
    ("{ranked: [{lora_r: 8}, {lora_r: 4}, {lora_r: 8}], on: codebleu}", "r 8 and r 8 both select"),
    ("{better: {model: toy}, than: {model: toy}, on: codebleu}", "model toy and model toy both select"),
    ("{better: {lora_r: 8}, than: {tuning_method: lora}, on: codebleu}", "r 8 and lora both select lora .* r 8"),
    ("{equivalent: {lora_r: [4, 4.0]}, on: codebleu, within: 0.1}", "r 4 and r 4 both select"),
    ("{optimum_of: learning_rate, for: {lora_r: 8}, that_of: {lora_r: [4, 8]}, on: test_loss, within_decades: 0.2}",
     "r 8 and r 4 or 8 both select"),
    ("{saves: train_seconds, better: {lora_r: 4}, than: {lora_r: [4, 8]}, factor: 2, keeping: em_at_1, within: 0.1}",
     "r 4 and r 4 or 8 both select"),
])  # fmt: skip
def test_a_mistake_is_told_with_its_line(tmp_path: Path, claim: str, message: str) -> None:
    found = mistakes(tmp_path, claim)
    assert all(problem.startswith("line 8, claims.0: ") for problem in found)
    assert len(found) == 1
    assert re.search(message, found[0])


def test_all_mistakes_are_told_together(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "{bigger: 1}\n{better: {lora_r: 4}, than: {lora_r: 8}, on: bleu}")
    assert [problem.split(":")[0] for problem in found] == ["line 8, claims.0", "line 9, claims.1"]


def test_a_score_of_more_candidates_than_there_are_is_a_mistake(tmp_path: Path) -> None:
    claim = "{better: {lora_r: 8}, than: {lora_r: 4}, on: em_at_10}"
    (found,) = mistakes(tmp_path, claim, "defaults.num_return_sequences=5")
    assert "will have no em_at_10: it has num_return_sequences: 5" in found


def test_claims_that_the_trials_can_decide_have_no_warning(tmp_path: Path) -> None:
    claims = (
        "{better: {tuning_method: lora}, than: {tuning_method: icl}, on: em_at_10}\n"
        "{better: {tuning_method: lora}, than: {tuning_method: zero_shot}, on: em_at_10}\n"
        "{optimum_of: learning_rate, independent_of: lora_r, on: test_loss, within_decades: 0.3}\n"
        "{stops_growing: num_shots, after: 2, on: em_at_10, within: 0.05, where: {tuning_method: icl}}"
    )
    assert open_ones(tmp_path, claims) == []


def test_too_few_seeds_are_told(tmp_path: Path) -> None:
    claim = "{better: {tuning_method: lora}, than: {tuning_method: zero_shot}, on: em_at_10}"
    (reason,) = open_ones(tmp_path, claim, "defaults.seed=1")
    assert reason.endswith("has 1 seed, and 3 or more are needed: seed: [1, 2, 3]")
    claim = "{better: {tuning_method: icl, num_shots: 4}, than: {tuning_method: zero_shot}, on: em_at_10}"
    (reason,) = open_ones(tmp_path, claim, "grids.2.icl_seed=1")
    assert reason == "icl shots 4 has 1 seed, and 3 or more are needed: icl_seed: [1, 2, 3]"
    (reason,) = open_ones(tmp_path, claim, "grids.2={tuning_method: [icl, lora], num_shots: 4}")
    assert reason == "icl shots 4 has 1 seed, and 3 or more are needed: icl_seed: [1, 2, 3]", "they repeat each other"


def test_a_training_with_random_shots_is_told_to_draw_them_anew_with_each_seed(tmp_path: Path) -> None:
    claim = "{better: {tuning_method: lora, num_shots: 4}, than: {tuning_method: zero_shot}, on: em_at_10}"
    (reason,) = open_ones(tmp_path, claim, "grids.2={tuning_method: lora, num_shots: 4}")
    both = "seed: [{name: 1, icl_seed: 1}, {name: 2, icl_seed: 2}, {name: 3, icl_seed: 3}]"
    assert reason.endswith(f"has 1 icl_seed, and 3 or more are needed: {both}")


def test_a_side_of_which_validation_cannot_choose_is_told(tmp_path: Path) -> None:
    claim = "{better: {tuning_method: icl}, than: {tuning_method: zero_shot}, on: em_at_10}"
    (reason,) = open_ones(tmp_path, claim)
    assert reason.startswith("3 trials are icl and none can be chosen on validation; set validation_limit")
    assert open_ones(tmp_path, claim, "grids.2.validation_limit=50") == []


def test_numbers_of_beams_among_which_a_validation_loss_cannot_choose_are_told(tmp_path: Path) -> None:
    claim = "{better: {num_beams: [10, 20]}, than: {num_beams: 30}, on: em_at_10, where: {lora_r: 4}}"
    axes = ("grids.0.num_beams=[10, 20, 30]", "grids.0.learning_rate=1.0e-4")
    (reason,) = open_ones(tmp_path, claim, *axes)
    assert "none can be chosen on validation" in reason
    assert open_ones(tmp_path, claim, *axes, "grids.0.validation_limit=50") == []


def test_a_score_that_is_not_measured_on_validation_chooses_none(tmp_path: Path) -> None:
    """Tests are run on the test split alone, whatever validation_limit says."""
    claim = "{better: {tuning_method: icl}, than: {tuning_method: zero_shot}, on: pass_at_1}"
    (reason,) = open_ones(tmp_path, claim, "defaults.test_dataset=odex", "defaults.validation_limit=50")
    assert reason.startswith("3 trials are icl and none can be chosen on validation; pass_at_1 is not measured on it")


@pytest.mark.parametrize("claim", [
    "{stops_growing: num_shots, after: 1, on: em_at_10, within: 0.2, where: {tuning_method: rag, shot_order: ORDER}}",
    "{optimum_of: num_shots, independent_of: shot_order, on: em_at_10, within_decades: 1, where: {tuning_method: rag}}",
], ids=["stops growing", "optimum"])  # fmt: skip
def test_values_of_which_validation_cannot_choose_a_trial_are_told(tmp_path: Path, claim: str) -> None:
    """Two retrievers at each number of shots but the first, and no validation score."""
    several = ("grids.1={tuning_method: rag, num_shots: [2, 4], embedding_model: [toy, bm25], "
               "shot_order: [nearest_first, nearest_last]}")  # fmt: skip
    one = "grids.2={tuning_method: rag, num_shots: 1, shot_order: [nearest_first, nearest_last]}"
    (reason,) = open_ones(tmp_path, claim.replace("ORDER", "nearest_last"), several, one)
    assert reason.startswith("2 trials are ") and "shots 2 and none can be chosen on validation" in reason


def test_test_examples_that_are_too_few_for_a_margin_are_told(tmp_path: Path) -> None:
    claim = "{equivalent: {lora_r: [4, 8]}, on: em_at_10, within: 0.01}"
    (reason,) = open_ones(tmp_path, claim, "defaults.test_limit=100")
    assert "100 test examples give an interval of about ±6.2 points" in reason and "about 3,842 are needed" in reason
    assert open_ones(tmp_path, claim.replace("0.01", "0.1"), "defaults.test_limit=100") == []


def test_a_whole_test_split_that_is_too_small_for_a_margin_is_told(tmp_path: Path) -> None:
    claim = "{equivalent: {lora_r: [4, 8]}, on: em_at_10, within: 0.02}"
    (reason,) = open_ones(tmp_path, claim)
    assert reason.startswith("250 test examples give an interval of about ±3.9 points")
    (reason,) = open_ones(tmp_path, claim, "defaults.dataset=conala")
    assert reason.startswith("543 test examples give an interval of about ±2.7 points")
    (tmp_path / "elsewhere").mkdir()
    other_files = f"defaults.dataset_path={tmp_path / 'elsewhere'}"
    assert open_ones(tmp_path, claim, "defaults.dataset=conala", other_files) == [], "another file has another size"


def test_the_test_split_of_declared_data_has_the_size_of_its_files(tmp_path: Path) -> None:
    rows = "".join(f'{{"q": "task {number}", "a": "x = {number}"}}\n' for number in range(300))
    (tmp_path / "data.jsonl").write_text(rows)
    claim = "{equivalent: {lora_r: [4, 8]}, on: em_at_10, within: 0.02}"
    (reason,) = open_ones(tmp_path, claim, "defaults.dataset={path: data.jsonl, prompt: q, answer: a}")
    assert re.match(r"(2\d|3\d) test examples give an interval of about ±1\d\.\d points", reason)


def test_an_optimum_of_values_without_a_logarithm_is_a_mistake(tmp_path: Path) -> None:
    claim = "{optimum_of: lora_dropout, independent_of: lora_r, on: test_loss, within_decades: 0.3}"
    (found,) = mistakes(tmp_path, claim, "grids.0.lora_dropout=[0, 0.05, 0.1]")
    assert "the values of lora_dropout must be numbers above 0 but one is 0: the optimum" in found
    where = claim.replace("on:", "where: {lora_dropout: [0.02, 0.05, 0.1]}, on:")
    check_claims(*loaded(tmp_path, where, "grids.0.lora_dropout=[0, 0.02, 0.05, 0.1]"))


def test_an_optimum_of_one_seed_or_two_rates_is_told(tmp_path: Path) -> None:
    claim = "{optimum_of: learning_rate, independent_of: lora_r, on: test_loss, within_decades: 0.3}"
    assert open_ones(tmp_path, claim, "defaults.seed=1") == [
        "every trial has one seed, and two or more are needed: seed: [1, 2]"]  # fmt: skip
    (reason,) = open_ones(tmp_path, claim, "grids.0.learning_rate=[1e-4, 1e-3]")
    assert reason == "2 values of learning_rate are planned, and 3 or more are needed"


def test_a_sweep_without_claims_has_none(tmp_path: Path) -> None:
    sweep, trials = loaded(tmp_path, "", "claims=[]")
    assert check_claims(sweep, trials) == []


def test_scores_on_two_test_datasets_cannot_be_compared(tmp_path: Path) -> None:
    sides = [f"{{tuning_method: lora, test_dataset: {name}}}" for name in ("toy", "conala")]
    grid = "grids=[{tuning_method: lora, test_dataset: [toy, conala]}]"
    (found,) = mistakes(tmp_path, f"{{better: {sides[0]}, than: {sides[1]}, on: em_at_10}}", grid)
    assert "no planned trials that are compared agree in all other fields (model, dataset, test_dataset" in found


def test_layers_to_adapt_are_told_by_their_names(tmp_path: Path) -> None:
    layers = "{better: {target_modules: [k_proj, v_proj]}, than: {target_modules: all-linear}, on: test_loss}"
    grid = "grids.0.target_modules=[[k_proj, v_proj], [all-linear]]"
    (planned,) = check_claims(*loaded(tmp_path, layers, grid))
    assert planned.sentence == "target_modules k_proj+v_proj is better than target_modules all-linear (test loss)"
    (problem,) = mistakes(tmp_path, layers.replace("k_proj", "q_proj"), grid)
    assert "no planned trial has target_modules q_proj+v_proj; target_modules is all-linear, k_proj+v_proj" in problem


SWEEPS = Path(__file__).parents[3] / "sweeps"


@pytest.mark.parametrize("name", ["lora_layers", "lora_batches", "lora_variants", "toy_methods"])
def test_the_plans_of_these_sweeps_can_decide_what_the_sweeps_claim(name: str) -> None:
    sweep = load_config(SWEEPS / f"{name}.yaml")
    planned = check_claims(sweep, plan_trials(sweep))
    assert planned
    assert [each.hindrance for each in planned if each.hindrance] == []
