"""The points at which a sweep searches, and the trials of a random search."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raypeft.study.checking import load_config
from raypeft.study.parameters import Parameter
from raypeft.study.plan import Plan, plan_sweep
from raypeft.study.searching import SearchPoint
from raypeft.study.sweepfile import ConfigError

make = SearchPoint.trial
HEAD = "name: study\ndefaults: {model: toy, dataset: toy}\nsearch: random\nnum_samples: 6\n"
RATE = "  learning_rate: {min: 1.0e-4, max: 1.0e-2, distribution: log_uniform}\n"


def plan(folder: Path, text: str, head: str = HEAD) -> Plan:
    file = folder / "study.yaml"
    file.write_text(head + text)
    return plan_sweep(load_config(file))


def problems(folder: Path, text: str, head: str = HEAD) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        plan(folder, text, head)
    return caught.value.problems


def values(made: Plan, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(trial.fields[name] for name in names) for trial in made.trials]


def test_a_random_search_has_its_number_of_different_trials_at_each_point(tmp_path: Path) -> None:
    made = plan(tmp_path, f"grids: [{{tuning_method: [lora, ia3]}}]\nparameters:\n{RATE}")
    assert [trial.tuning_method for trial in made.trials] == 6 * ["lora"] + 6 * ["ia3"]
    assert len({trial.id for trial in made.trials}) == made.total == 12


def test_draws_do_not_change_from_one_planning_to_the_next_and_points_try_the_same_values(tmp_path: Path) -> None:
    text = f"grids: [{{tuning_method: lora, seed: [1, 2]}}]\nparameters:\n{RATE}  lora_r: [4, 8, 16]\n"
    first, second = plan(tmp_path, text), plan(tmp_path, text)
    assert [trial.id for trial in first.trials] == [trial.id for trial in second.trials]
    pairs = values(first, "learning_rate", "lora_r")
    assert pairs[:6] == pairs[6:]


def test_more_samples_and_further_parameters_leave_the_earlier_draws_as_they_are(tmp_path: Path) -> None:
    text = f"grids: [{{tuning_method: lora}}]\nparameters:\n{RATE}"
    few, many = plan(tmp_path, text), plan(tmp_path, text, HEAD.replace("6", "9"))
    assert [trial.id for trial in many.trials][:6] == [trial.id for trial in few.trials]
    other = plan(tmp_path, f"{text}  lora_r: [4, 8]\n")
    assert values(other, "learning_rate") == values(few, "learning_rate")


def test_another_search_seed_draws_other_values(tmp_path: Path) -> None:
    text = f"grids: [{{tuning_method: lora}}]\nparameters:\n{RATE}"
    one, other = plan(tmp_path, text), plan(tmp_path, f"search_seed: 1\n{text}")
    assert not set(values(one, "learning_rate")) & set(values(other, "learning_rate"))


def test_a_search_with_fewer_configurations_than_samples_has_each_once(tmp_path: Path) -> None:
    made = plan(tmp_path, "grids: [{tuning_method: lora}]\nparameters: {lora_r: [4, 8], lora_alpha: [8, 16]}\n")
    assert sorted(values(made, "lora_r", "lora_alpha")) == [(4, 8), (4, 16), (8, 8), (8, 16)]


def test_a_parameter_that_a_method_does_not_take_is_left_out_there(tmp_path: Path) -> None:
    made = plan(tmp_path, f"grids: [{{tuning_method: [zero_shot, full, lora]}}]\nparameters:\n{RATE}  lora_r: [4, 8]\n")
    methods = [trial.tuning_method for trial in made.trials]
    assert sorted(methods) == [*6 * ["full"], *6 * ["lora"], "zero_shot"]


def test_a_grids_own_parameters_and_values_come_before_the_sweeps(tmp_path: Path) -> None:
    made = plan(tmp_path, f"""grids:
  - {{tuning_method: lora, parameters: {{learning_rate: [0.25, 0.5]}}}}
  - {{tuning_method: lora, learning_rate: 0.125}}
parameters:
{RATE}  lora_alpha: [8, 16, 32]
""")  # fmt: skip
    assert set(values(made, "learning_rate")) == {(0.25,), (0.5,), (0.125,)}


def test_the_trials_of_optuna_are_not_planned_but_counted(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    head = HEAD.replace("random", "optuna")
    made = plan(tmp_path, f"grids: [{{tuning_method: [zero_shot, lora]}}]\nparameters:\n{RATE}", head)
    assert [trial.tuning_method for trial in made.trials] == ["zero_shot"]
    assert (made.total, [point.label for point in made.suggesting]) == (7, ["toy toy lora"])


def test_a_stored_plan_tells_which_of_its_trials_belong_to_a_search(tmp_path: Path) -> None:
    made = plan(tmp_path, f"grids: [{{tuning_method: lora, seed: [1, 2]}}]\nparameters:\n{RATE}")
    stored = {trial.id: trial.fields for trial in made.trials}
    first = made.searches[0]
    assert list(first.known(stored)) == [trial.id for trial in made.trials if trial.seed == 1]
    narrow = plan(tmp_path, "grids: [{tuning_method: lora, seed: 1}]\nparameters:\n"
                            "  learning_rate: {min: 1.0e-3, max: 1.0e-2, distribution: log_uniform}\n")  # fmt: skip
    kept = narrow.searches[0].known(stored)
    assert 0 < len(kept) < 6 and all(each["learning_rate"] >= 1e-3 for each in kept.values())


GRID = "grids: [{tuning_method: lora}]\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GRID, "line 3, search: needs parameters"),
        (f"{GRID}parameters: {{seed: [1, 2]}}\n", "line 6, parameters.seed: must not be searched over: it is chance"),
        (f"{GRID}parameters: {{dataset: [toy, conala]}}\n", "must not be searched over: it is a condition"),
        (f"{GRID}parameters: {{limit: [1, 2]}}\n", "it changes what the metric is measured on"),
        (f"{GRID}parameters: {{lora_rr: [1, 2]}}\n", "unknown key; did you mean lora_r?"),
        (f"{GRID}parameters: {{lora_r: [4, many]}}\n", "line 6, parameters.lora_r.values.1: must be a valid integer"),
        (f"{GRID}parameters: {{lora_r: {{min: 2.5, max: 9.5}}}}\n", "(distribution: int, or q_log_uniform with q: 1)"),
        (f"{GRID}parameters: {{lora_r: {{mn: 2, max: 9}}}}\n", "unknown key; did you mean min?"),
        (f"{GRID}parameters: {{num_virtual_tokens: [4, 8]}}\n", "no trial is searched over it"),
        ("grids: [{tuning_method: lora, lora_r: 4}]\nparameters: {lora_r: [4, 8]}\n", "no trial is searched over it"),
        ("grids: [{tuning_method: icl}]\nparameters: {num_shots: [4, 8]}\n", "trains nothing and has no eval_loss"),
        (f"{GRID}parameters: {{lora_r: [4]}}\nmetric: {{name: em_at_1}}\n", "line 7, metric.name: must be a figure of"),
        (f"{GRID}parameters: {{lora_r: [4]}}\nmetric: {{name: test_loss}}\n", "write eval_loss"),
        (f"{GRID}parameters: {{lora_r: [4]}}\nmetric: {{name: lucky}}\n", "must be eval_loss or a score"),
        (f"{GRID}parameters: {{lora_r: [4]}}\nmetric: {{name: em_at_1_validation}}\n", "needs validation_limit"),
        (f"{GRID}parameters: {{lora_r: [4]}}\nscheduler: {{name: asha, grace_periods: 1}}\n", "did you mean grace_p"),
        ("grids: [{tuning_method: lora, parameters: {lora_r: [4, x]}}]\n", "grids.0.parameters.lora_r.values.1"),
        ("grids: [{tuning_method: lora, lora_r: 4, parameters: {lora_r: [4, 8]}}]\n", "not both"),
        (f"{GRID}parameters: {{lora_r: [4]}}\nmetric: {{name: eval_loss, goal: maximize}}\n", "look for the worst"),
        (f"{GRID}parameters: {{lora_r: [4]}}\nmetric: 3\n", "line 7, metric: must be a figure such as eval_loss"),
        (f"{GRID}parameters: {{lora_r: [4]}}\nscheduler: true\n", "line 7, scheduler: must be asha, or a mapping such"),
        (f"{GRID}parameters: {{lora_r: [4]}}\nearly_terminate: asha\n", "unknown key; did you mean scheduler?"),
        (f"{GRID}parameters: {{lora_r: [4]}}\nmethod: bayes\n", "unknown key; did you mean search?"),
        (f"{GRID}parameters: {{target_modules: [q_proj, v_proj]}}\n",
         'since one target_modules is a list itself: values: [["q_proj", "v_proj"], ...]'),
        ("grids: [{tuning_method: icl, validation_limit: 9}]\nparameters: {num_shots: [4, 8]}\nscheduler: asha\n"
         "metric: em_at_1_validation\n", "asha must be left out where nothing is trained"),
        ("grids: [{tuning_method: lora, num_train_epochs: 1, eval_every_epochs: 1}]\nparameters: {lora_r: [4]}\n"
         "scheduler: asha\n", "eval_every_epochs must be below num_train_epochs (1) but got 1"),
    ],
)  # fmt: skip
def test_a_search_that_cannot_be_is_refused_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    assert any(told in each for each in problems(tmp_path, text)), problems(tmp_path, text)


@pytest.mark.parametrize(
    ("kind", "told"), [("bayes", "must be optuna, whose TPE"), ("grid", "must be left out to try")]
)
def test_kinds_of_search_of_other_tools_are_answered(tmp_path: Path, kind: str, told: str) -> None:
    found = problems(tmp_path, f"{GRID}parameters: {{lora_r: [4]}}\n", HEAD.replace("random", kind))
    assert any(told in each for each in found), found


def test_a_metric_may_be_given_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"{HEAD}grids: [{{tuning_method: lora}}]\nparameters: {{lora_r: [4]}}\nmetric: eval_loss\n")
    assert load_config(path).config.metric.column == "best_eval_loss"


def test_configurations_that_cannot_run_are_told_together_with_what_to_do(tmp_path: Path) -> None:
    text = (f"{GRID}parameters: {{num_beams: {{values: [1, 2]}}, num_return_sequences: {{values: [1, 2]}}, "
            "lora_r: {min: 4, max: 64}}\n")  # fmt: skip
    (found,) = [each for each in problems(tmp_path, text) if "configurations" in each]
    assert "such as num_beams 1, num_return_sequences 2, lora_r " in found and "in two grids" in found


def test_searches_of_one_method_are_named_by_what_tells_them_apart(tmp_path: Path) -> None:
    text = f"grids: [{{tuning_method: [lora, ia3], seed: [1, 2], num_train_epochs: [2, 3]}}]\nparameters:\n{RATE}"
    names = [point.label for point in plan(tmp_path, text).searches]
    assert "toy toy lora seed 1 num_train_epochs 2" in names and len(set(names)) == 8


def test_keys_of_a_search_without_one_have_no_effect_and_are_refused(tmp_path: Path) -> None:
    head = HEAD.replace("search: random\n", "")
    found = problems(tmp_path, f"{GRID}parameters: {{lora_r: [4, 8]}}\nscheduler: asha\n", head)
    assert len(found) == 3 and all("has no effect without search" in each for each in found)


def test_claims_beside_optuna_are_refused(tmp_path: Path) -> None:
    text = f"{GRID}parameters: {{lora_r: [4, 8]}}\nclaims: [{{stops_growing: lora_r, after: 4, on: test_loss}}]\n"
    assert any(
        "claims: must be left out" in each for each in problems(tmp_path, text, HEAD.replace("random", "optuna"))
    )


def test_two_grids_with_other_ranges_at_one_point_are_two_searches(tmp_path: Path) -> None:
    made = plan(tmp_path, """grids:
  - {tuning_method: lora, parameters: {learning_rate: {min: 1.0e-4, max: 1.0e-3}}}
  - {tuning_method: lora, parameters: {learning_rate: {min: 1.0e-2, max: 1.0e-1}}}
""")  # fmt: skip
    assert len(made.searches) == 2 and sum(rate > 0.005 for (rate,) in values(made, "learning_rate")) == 6


def test_points_that_differ_in_a_field_of_other_methods_are_one_search(tmp_path: Path) -> None:
    made = plan(tmp_path, f"grids: [{{tuning_method: [lora, ia3], lora_r: [4, 8]}}]\nparameters:\n{RATE}")
    assert [point.fixed["tuning_method"] for point in made.searches] == ["lora", "lora", "ia3"]


@pytest.mark.parametrize(
    "given",
    [
        "target_modules: [q_proj, [v_proj]]",
        "prompt_template: ['# {nl}\\n', {query: '{nl}', stop: x}]",
        "lora_r: [2, 4]",
    ],
)
def test_values_that_are_stored_in_another_form_are_known_again(tmp_path: Path, given: str) -> None:
    made = plan(tmp_path, f"grids: [{{tuning_method: lora}}]\nparameters:\n{RATE}  {given}\n")
    stored = json.loads(json.dumps({trial.id: trial.fields for trial in made.trials}))
    assert list(made.searches[0].known(stored)) == [trial.id for trial in made.trials]


@pytest.mark.parametrize(
    "given",
    [
        "num_shots: [0, 2]\n  embedding_model: [toy, bm25]\n  shot_source: [retrieved]",
        "lr_scheduler_type: [constant, linear]\n  warmup_steps: {min: 10, max: 90}",
    ],
)
def test_a_trial_is_known_again_whose_idle_field_has_a_default_that_is_not_searched(tmp_path: Path, given: str) -> None:
    made = plan(tmp_path, f"grids: [{{tuning_method: lora}}]\nparameters:\n{RATE}  {given}\n")
    stored = json.loads(json.dumps({trial.id: trial.fields for trial in made.trials}))
    assert list(made.searches[0].known(stored)) == [trial.id for trial in made.trials]


def test_a_search_with_few_configurations_is_planned_at_once_whatever_its_number_of_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(SearchPoint, "trial", lambda point, values: drawn.append(values) or make(point, values))
    head = HEAD.replace("6", "100000")
    point = plan(tmp_path, "grids: [{tuning_method: lora}]\nparameters: {lora_r: [2, 4, 8]}\n", head).searches[0]
    assert point.most == 3 and len(drawn) < 20


def test_impossible_combinations_do_not_count(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    point = plan(tmp_path, f"grids: [{{tuning_method: lora}}]\nparameters:\n{RATE}").searches[0]
    parameters = {"num_beams": Parameter(values=(1, 2)), "num_return_sequences": Parameter(values=(1, 2))}
    impossible = replace(point, parameters=parameters)
    assert impossible.most == len(list(impossible.trials())) == 3
