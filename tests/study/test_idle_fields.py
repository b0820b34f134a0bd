"""Fields that change no trial are told, with the reason."""

from pathlib import Path

import pytest

from raypeft.study.checking import load_config
from raypeft.study.plan import plan_sweep, plan_trials
from raypeft.study.sweepfile import ConfigError, find_sweep_file

HEAD = "name: s\ndefaults: {model: toy, dataset: toy}\n"
BOTH = "{name: full, learning_rate: 1e-4}, {name: lora, learning_rate: 1e-3}"


def told(folder: Path, grids: str, *overrides: str) -> list[str]:
    (folder / "s.yaml").write_text(f"{HEAD}grids:\n{grids}\n")
    try:
        plan_trials(load_config(folder / "s.yaml", overrides))
    except ConfigError as error:
        return error.problems
    return []


def test_an_override_that_a_shipped_sweeps_mappings_overrule_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        plan_trials(load_config(find_sweep_file("quickstart"), ["grids.0.learning_rate=1e-3"]))
    assert caught.value.problems == [
        "override 'grids.0.learning_rate=1e-3', grids.0.learning_rate: has no effect: full, lora has a "
        "learning_rate of its own in its mapping, and no other method takes it"
    ]


def test_the_same_in_a_file_has_its_line(tmp_path: Path) -> None:
    (problem,) = told(tmp_path, f"  - tuning_method: [{BOTH}, zero_shot]\n    learning_rate: [1e-2, 1e-1]")
    assert problem.startswith("line 5, grids.0.learning_rate: has no effect: full, lora has a learning_rate of its own")


def test_a_field_that_one_method_takes_has_an_effect(tmp_path: Path) -> None:
    assert told(tmp_path, f"  - {{tuning_method: [{BOTH}, ia3], learning_rate: 1e-2}}") == []


def test_a_field_that_another_axis_always_sets_is_told(tmp_path: Path) -> None:
    grid = "  - {tuning_method: icl, num_shots: [{name: 4, seed: 1}, {name: 8, seed: 2}], seed: [7, 8]}"
    assert told(tmp_path, grid) == ["line 4, grids.0.seed: has no effect: a mapping on another axis always sets it"]


def test_a_field_that_an_axis_sets_now_and_then_has_an_effect(tmp_path: Path) -> None:
    assert told(tmp_path, "  - {tuning_method: lora, lora_r: [4, {name: 8, seed: 2}], seed: [7, 8]}") == []


def test_a_default_that_every_grid_sets_is_told_on_the_command_line_only(tmp_path: Path) -> None:
    grid = "  - {tuning_method: icl, model: toy, seed: 3}"
    assert told(tmp_path, grid) == []
    assert told(tmp_path, grid, "defaults.seed=4") == [
        "override 'defaults.seed=4', defaults.seed: has no effect: every grid sets it itself"
    ]


def test_a_default_that_one_grid_leaves_alone_has_an_effect(tmp_path: Path) -> None:
    assert told(tmp_path, "  - {tuning_method: icl, seed: 3}\n  - {tuning_method: rag}", "defaults.seed=4") == []


def test_a_field_is_set_by_its_own_mappings(tmp_path: Path) -> None:
    assert told(tmp_path, "  - {tuning_method: lora, lora_r: [{name: 8, lora_alpha: 16}, {name: 64}]}") == []


@pytest.mark.parametrize("sweep", sorted(Path(__file__).parents[2].glob("sweeps/*.yaml")), ids=lambda path: path.stem)
def test_no_shipped_sweep_has_such_a_field(sweep: Path) -> None:
    assert plan_sweep(load_config(sweep)).total


def test_the_place_of_a_test_dataset_that_no_trial_has_is_told(tmp_path: Path) -> None:
    place = "test_dataset_revision: main"
    assert told(tmp_path, f"  - {{tuning_method: lora, {place}}}") == [
        "line 4, grids.0.test_dataset_revision: has no effect without test_dataset"]  # fmt: skip
    assert told(tmp_path, f"  - {{tuning_method: lora, test_dataset: [null, odex], {place}}}") == []


SAMPLES = "has no effect: its trials sample, as is usual for their dataset, and beam search needs do_sample: false"
NO_CHANCE = "has no effect: its trials neither train nor sample, and random shots are drawn by icl_seed"


def test_beams_of_a_grid_whose_datasets_all_sample_are_told(tmp_path: Path) -> None:
    grid = "  - {tuning_method: zero_shot, dataset: toy_apps, num_beams: [1, 4, 8]"
    assert told(tmp_path, grid + "}") == [f"line 4, grids.0.num_beams: {SAMPLES}"]
    assert told(tmp_path, grid + ", do_sample: false, num_return_sequences: 1}") == []
    assert told(tmp_path, "  - {tuning_method: zero_shot, dataset: [toy, toy_apps], num_beams: 10}") == []


def test_beams_among_the_defaults_are_told_where_no_grid_searches(tmp_path: Path) -> None:
    grid = "  - {tuning_method: zero_shot, dataset: toy_apps}"
    override = "defaults.num_beams=5"
    assert told(tmp_path, grid, override) == [f"override '{override}', defaults.num_beams: {SAMPLES}"]
    assert told(tmp_path, f"{grid}\n  - {{tuning_method: zero_shot, num_return_sequences: 5}}", override) == []


@pytest.mark.parametrize("grid", [
    "tuning_method: rag, icl_seed: [1, 2, 3]",
    "tuning_method: [rag, zero_shot, lora], icl_seed: 7",
    "tuning_method: lora, num_shots: [0, {name: 2, shot_source: retrieved}], icl_seed: 7",
])  # fmt: skip
def test_a_seed_of_shots_that_no_trial_draws_is_told(tmp_path: Path, grid: str) -> None:
    assert told(tmp_path, f"  - {{{grid}}}") == [
        "line 4, grids.0.icl_seed: has no effect: its trials draw no shots at random"
    ]


def test_what_a_mapping_sets_without_effect_is_told_at_its_place(tmp_path: Path) -> None:
    methods = "[{name: icl, icl_seed: [1, 2]}, {name: rag, icl_seed: [1, 2]}]"
    assert told(tmp_path, f"  - {{tuning_method: {methods}}}") == [
        "line 4, grids.0.tuning_method.1.icl_seed: has no effect: its trials draw no shots at random"
    ]


def test_seeds_of_a_grid_that_neither_trains_nor_samples_are_told(tmp_path: Path) -> None:
    assert told(tmp_path, "  - {tuning_method: [zero_shot, icl], seed: [1, 2]}") == [
        f"line 4, grids.0.seed: {NO_CHANCE}"
    ]
    assert told(tmp_path, "  - {tuning_method: [zero_shot, lora], seed: [1, 2]}") == []
    assert told(tmp_path, "  - {tuning_method: icl, seed: [1, 2], do_sample: true, num_beams: 1}") == []


def test_one_value_that_the_trials_have_anyway_misleads_nobody(tmp_path: Path) -> None:
    assert told(tmp_path, "  - {tuning_method: rag, icl_seed: 42, seed: 7}") == []
    assert told(tmp_path, "  - {tuning_method: zero_shot, dataset: toy_apps, num_beams: 1}") == []


@pytest.mark.parametrize("fields", ["lr_scheduler_type: constant, warmup_steps: 0", "lr_scheduler_type: constant"])
def test_no_warm_up_under_a_constant_rate_is_no_mistake(tmp_path: Path, fields: str) -> None:
    assert told(tmp_path, f"  - {{tuning_method: lora, {fields}}}") == []


def test_an_axis_that_sets_another_seed_as_well_is_no_mistake(tmp_path: Path) -> None:
    seeds = "[{name: 1, icl_seed: 1}, {name: 2, icl_seed: 2}]"
    assert told(tmp_path, f"  - {{tuning_method: icl, seed: {seeds}}}") == []


def test_what_a_search_may_give_an_effect_is_not_told(tmp_path: Path) -> None:
    grid = "  - {tuning_method: lora, icl_seed: [1, 2], parameters: {num_shots: [0, 2]}}"
    search = ["search=random", "num_samples=2"]
    assert told(tmp_path, grid, *search) == []


def test_a_field_that_the_choice_of_another_field_leaves_unread_is_told_with_that_choice(tmp_path: Path) -> None:
    for fields, why in [
        ("tuning_method: lora, lr_scheduler_type: constant, warmup_steps: [0, 0.1]", "constant_with_warmup has"),
        (
            "tuning_method: prompt_tuning, prompt_tuning_init: RANDOM, prompt_tuning_init_text: a",
            "RANDOM reads no text",
        ),
    ]:
        (problem,) = told(tmp_path, f"  - {{{fields}}}")
        assert "has no effect" in problem and problem.endswith(why)
    assert (
        told(tmp_path, "  - {tuning_method: lora, lr_scheduler_type: [linear, constant], warmup_steps: [0, 9]}") == []
    )
