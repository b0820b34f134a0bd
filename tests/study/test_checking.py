"""A sweep file is checked whole: every mistake, each with its place, what was expected and what was there."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic.fields import FieldInfo

from raypeft.models.table import TOY_FOLDER
from raypeft.study import values
from raypeft.study.checking import LoadedSweep, load_config
from raypeft.study.plan import plan_trials
from raypeft.study.sweepfile import ConfigError

HEAD = "name: study\ndefaults: {model: toy, dataset: toy}\n"


def load(folder: Path, text: str, *overrides: str) -> LoadedSweep:
    file = folder / "study.yaml"
    file.write_text(text)
    return load_config(file, overrides)


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, *overrides)
    return caught.value.problems


def test_a_good_sweep_keeps_what_the_file_says(tmp_path: Path) -> None:
    config = load(tmp_path, HEAD + "grids: [{tuning_method: [lora], lora_r: [8, 16]}]\n").config
    assert config.name == "study"
    assert config.defaults == {"model": "toy", "dataset": "toy"}
    assert config.grids == [{"tuning_method": ["lora"], "lora_r": [8, 16]}]


def test_every_mistake_of_a_file_stands_in_one_report(tmp_path: Path) -> None:
    text = """\
name: a/b
defaults: {dataset: conalla, sead: 3}
grids:
  - model: tooy
    tuning_method: lara
    lora_r: eight
  - {model: toy}
resources: {gpu_memory_gb: [24], cpu_per_trial: 1}
resutls: there
"""
    assert sorted(problems(tmp_path, text)) == [
        "line 1, name: must match pattern '^[A-Za-z0-9][\\w.-]*$' but got 'a/b'",
        "line 2, defaults.dataset: must be one of toy, toy_apps, conala, conala_tests, codealpacapy, apps, "
        "mbpp, humaneval, odex but got 'conalla'; did you mean conala?",
        "line 2, defaults.sead: unknown key; did you mean seed?",
        "line 4, grids.0.model: must be a model of the table, a hub id (owner/name), or a folder or GGUF file that "
        "exists but got 'tooy'; did you mean toy?",
        "line 5, grids.0.tuning_method: must be one of zero_shot, icl, rag, full, lora, qlora_8bit, "
        "qlora_4bit, ia3, prompt_tuning, prefix_tuning but got 'lara'; did you mean lora?",
        "line 6, grids.0.lora_r: must be a valid integer but got 'eight'",
        "line 7, grids.1: needs tuning_method, here or in defaults",
        "line 8, resources.cpu_per_trial: unknown key; did you mean cpus_per_trial?",
        "line 8, resources.gpu_memory_gb: must be a valid number but got a list ([24])",
        "line 9, resutls: unknown key; did you mean results?",
    ]


def test_the_report_opens_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "{}")
    assert str(caught.value).startswith(str(tmp_path / "study.yaml"))


def test_a_misspelt_key_is_named_with_its_line_and_the_nearest_key(tmp_path: Path) -> None:
    text = HEAD + "grids:\n  - tuning_method: lora\n    learnig_rate: 3e-4\n"
    assert problems(tmp_path, text) == ["line 5, grids.0.learnig_rate: unknown key; did you mean learning_rate?"]


def test_a_key_unlike_any_other_gets_no_suggestion(tmp_path: Path) -> None:
    assert problems(tmp_path, HEAD + "grids: [{tuning_method: lora}]\nqqq: 1\n") == ["line 4, qqq: unknown key"]


def test_a_wrong_override_is_named_instead_of_a_line(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, HEAD + "grids: [{tuning_method: lora}]\n", "defaults.seed=many")
    assert problem.startswith("override 'defaults.seed=many', defaults.seed: must be a valid integer")


@pytest.mark.parametrize("text", ["", "# nothing\n", "- name: a\n", "study\n", "3\n"])
def test_a_file_that_is_no_mapping_is_told_what_a_sweep_is(tmp_path: Path, text: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert problem.startswith("line 1: a sweep must be a mapping with name, defaults and grids but got ")


def test_a_sweep_needs_a_name_and_grids(tmp_path: Path) -> None:
    assert problems(tmp_path, "defaults: {}\n") == ["line 1, name: is required", "line 1, grids: is required"]


@pytest.mark.parametrize("grids", ["[]", "", "3", "{model: toy}"])
def test_grids_must_be_a_list_with_something_in_it(tmp_path: Path, grids: str) -> None:
    (problem,) = problems(tmp_path, f"name: study\ngrids: {grids}\n")
    assert problem.startswith("line 2, grids: must ") and "but got" in problem


def test_a_grid_that_is_nothing_is_refused_at_its_line(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, HEAD + "grids:\n  - tuning_method: lora\n  -\n")
    assert problem.startswith("line 5, grids.1: must be ") and problem.endswith("but got nothing")


def test_an_empty_grid_is_told_each_field_that_it_needs(tmp_path: Path) -> None:
    assert problems(tmp_path, "name: study\ngrids:\n  - {}\n") == [
        f"line 3, grids.0: needs {field}, here or in defaults" for field in ("model", "dataset", "tuning_method")
    ]


def test_an_empty_axis_is_refused(tmp_path: Path) -> None:
    text = HEAD + "grids:\n  - tuning_method: lora\n    lora_r: []\n"
    assert problems(tmp_path, text) == ["line 5, grids.0.lora_r: must have at least one value but got an empty list"]


def test_an_empty_list_of_methods_is_one_mistake(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, HEAD + "grids: [{tuning_method: [], lora_r: 8}]\n")
    assert "at least one value" in problem


@pytest.mark.parametrize("resource", ["gpu_memory_gb: [24]", "gpu_memory_gb: 0", "cpus_per_trial: two"])
def test_a_resource_must_be_one_sensible_number(tmp_path: Path, resource: str) -> None:
    text = HEAD + f"grids: [{{tuning_method: lora}}]\nresources:\n  {resource}\n"
    (problem,) = problems(tmp_path, text)
    assert problem.startswith(f"line 5, resources.{resource.split(':')[0]}: must be ")


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("tier: D", "must be 'auto', 'A', 'B', 'C' or 'U' but got 'D'"),
        ("seconds_per_test: 0", "must be greater than or equal to 0.01 but got 0"),
        ("second_per_test: 1", "unknown key; did you mean seconds_per_test?"),
        ("stop: never", "must be 'first_fail' but got 'never'"),
    ],
)
def test_a_wrong_option_of_the_sandbox_is_named_with_its_line(tmp_path: Path, option: str, told: str) -> None:
    text = HEAD + f"grids: [{{tuning_method: lora}}]\nsandbox:\n  {option}\n"
    assert problems(tmp_path, text) == [f"line 5, sandbox.{option.split(':')[0]}: {told}"]


def test_a_wrong_entry_of_an_axis_is_named_with_its_own_line(tmp_path: Path) -> None:
    text = HEAD + "grids:\n  - tuning_method: lora\n    lora_r:\n      - 8\n      - big\n      - 16\n"
    (problem,) = problems(tmp_path, text)
    assert problem.startswith("line 7, grids.0.lora_r.1: must be a valid integer")


def test_a_key_that_no_chosen_method_takes_is_refused(tmp_path: Path) -> None:
    text = HEAD + "grids:\n  - tuning_method: [zero_shot, full]\n    lora_r: 8\n"
    assert problems(tmp_path, text) == [
        "line 5, grids.0.lora_r: none of the chosen methods (zero_shot, full) takes lora_r"
    ]


def test_a_key_that_one_chosen_method_takes_is_welcome(tmp_path: Path) -> None:
    assert load(tmp_path, HEAD + "grids: [{tuning_method: [zero_shot, lora], lora_r: 8}]\n")


def test_a_default_need_only_suit_one_of_the_grids(tmp_path: Path) -> None:
    text = HEAD + "grids: [{tuning_method: zero_shot}, {tuning_method: lora}]\n"
    assert load(tmp_path, text, "defaults.num_train_epochs=1")


def test_a_default_that_suits_no_grid_is_refused_once(tmp_path: Path) -> None:
    text = HEAD + "grids: [{tuning_method: zero_shot}, {tuning_method: icl}]\n"
    (problem,) = problems(tmp_path, text, "defaults.num_train_epochs=1")
    assert problem.endswith("none of the chosen methods (zero_shot, icl) takes num_train_epochs")


def test_a_coupled_entry_must_have_a_name(tmp_path: Path) -> None:
    text = HEAD + "grids:\n  - tuning_method:\n      - lora\n      - {learning_rate: 3e-4}\n"
    assert problems(tmp_path, text) == [
        "line 6, grids.0.tuning_method.1: a mapping on an axis must give tuning_method as name"
    ]


def test_a_coupled_key_that_its_method_does_not_take_is_refused(tmp_path: Path) -> None:
    text = HEAD + "grids:\n  - tuning_method:\n      - name: full\n        lora_r: 8\n      - lora\n"
    assert problems(tmp_path, text) == ["line 6, grids.0.tuning_method.0.lora_r: full does not take lora_r"]


def test_a_misspelt_coupled_key_is_named_with_the_nearest(tmp_path: Path) -> None:
    text = HEAD + "grids:\n  - tuning_method:\n      - name: lora\n        lora_rr: 8\n"
    assert problems(tmp_path, text) == [
        "line 6, grids.0.tuning_method.0.lora_rr: unknown key; did you mean lora_r?",
    ]


def test_each_value_of_a_list_in_a_coupled_entry_is_checked(tmp_path: Path) -> None:
    text = HEAD + "grids: [{tuning_method: [{name: lora, lora_r: [8, x], seed: []}]}]\n"
    assert problems(tmp_path, text) == [
        "line 3, grids.0.tuning_method.0.lora_r.1: must be a valid integer but got 'x'",
        "line 3, grids.0.tuning_method.0.seed: must have at least one value but got an empty list",
    ]


@pytest.mark.parametrize("method", ["[[lora]]", "[{name: [lora]}]", "[3]", "[null]"])
def test_a_method_that_is_no_name_is_refused(tmp_path: Path, method: str) -> None:
    (problem,) = problems(tmp_path, HEAD + f"grids: [{{tuning_method: {method}, lora_r: 8}}]\n")
    assert "must be one of zero_shot, icl, rag, full, lora" in problem


@pytest.mark.parametrize("model", ["toy", "owner/name", "SmolLM2-135M-Instruct", str(TOY_FOLDER)])
def test_a_model_is_a_known_name_a_hub_id_or_a_place(tmp_path: Path, model: str) -> None:
    assert load(tmp_path, HEAD + f"grids: [{{tuning_method: lora, model: {model}}}]\n")


@pytest.mark.parametrize("model", ["Toy", "./nowhere", "a/b/c", "3", "null"])
def test_any_other_model_is_refused(tmp_path: Path, model: str) -> None:
    (problem,) = problems(tmp_path, HEAD + f"grids: [{{tuning_method: lora, model: {model}}}]\n")
    assert problem.startswith("line 3, grids.0.model: must be a model of the table")


def test_a_list_of_modules_is_one_value_and_a_list_of_lists_an_axis(tmp_path: Path) -> None:
    for value in ("[q_proj, v_proj]", "[[q_proj], [q_proj, v_proj]]"):
        assert load(tmp_path, HEAD + f"grids: [{{tuning_method: lora, target_modules: {value}}}]\n")


@pytest.mark.parametrize(
    ("kind", "one_value"),
    [
        (tuple[str, ...], True),
        (list[int] | None, True),
        (Annotated[tuple[str, ...], "described"] | None, True),
        (int | None, False),
        (Literal["tuple", "list"], False),
    ],
)
def test_a_field_takes_a_list_as_one_value_by_its_type_and_not_by_its_words(
    kind: Any, one_value: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "trial_fields", lambda: {"field": FieldInfo(annotation=kind)})
    assert values.is_axis("field", ["tuple"]) is not one_value
    assert values.is_axis("field", [["tuple"], ["list"]])
    assert not values.is_axis("field", "tuple")


@pytest.mark.parametrize(("field", "value"), [("seed", "true"), ("limit", "'8'"), ("seed", "-1"), ("limit", "0")])
def test_true_a_quoted_number_and_a_number_out_of_bounds_are_refused_with_their_line(
    tmp_path: Path, field: str, value: str
) -> None:
    (problem,) = problems(tmp_path, HEAD + f"grids:\n  - tuning_method: zero_shot\n    {field}: {value}\n")
    assert problem.startswith(f"line 5, grids.0.{field}: must be")


@pytest.mark.parametrize("value", ["123456", "1e5", "on", "2024-01-31"])
def test_a_text_that_yaml_reads_as_something_else_is_to_be_put_in_quotes(tmp_path: Path, value: str) -> None:
    grid = "grids:\n  - tuning_method: zero_shot\n    model_revision: {}\n"
    (problem,) = problems(tmp_path, HEAD + grid.format(value))
    assert problem.startswith("line 5, grids.0.model_revision: ")
    assert problem.endswith("; in quotes it is a text")
    assert load(tmp_path, HEAD + grid.format(f"'{value}'")).config.grids[0]["model_revision"] == value


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("dataset_path", "a URL or a folder that exists"),
        ("model_path", "a hub id, or a folder or GGUF file that exists"),
    ],
)
def test_a_local_path_that_is_not_there_is_refused_with_its_line(tmp_path: Path, key: str, wanted: str) -> None:
    text = HEAD + f"grids:\n  - tuning_method: zero_shot\n    {key}: /no/such/place\n"
    assert problems(tmp_path, text) == [f"line 5, grids.0.{key}: must be {wanted} but got '/no/such/place'"]


@pytest.mark.parametrize(("key", "path"), [("dataset_path", "s3://bucket/conala"), ("model_path", "owner/name")])
def test_a_url_or_a_hub_id_is_left_to_the_trial(tmp_path: Path, key: str, path: str) -> None:
    grid = f"grids:\n  - {{tuning_method: zero_shot, {key}: '{path}'}}\n"
    assert load(tmp_path, HEAD + grid).config.grids[0][key] == path


def test_a_wrong_template_is_named_with_its_line_in_an_axis_too(tmp_path: Path) -> None:
    text = HEAD + "grids:\n  - tuning_method: icl\n    prompt_template:\n      - '# {nl}'\n      - {query: '{n}'}\n"
    (problem,) = problems(tmp_path, text)
    assert problem == (
        "line 7, grids.0.prompt_template.1: query must have no other placeholders than {nl}, {starter_code} but got "
        "{n}; did you mean nl?; literal braces are doubled"
    )


@pytest.mark.parametrize(
    "field", ["num_train_epochs", "lora_alpha", "warmup_steps", "learning_rate", "eval_every_epochs"]
)
@pytest.mark.parametrize("value", [".inf", ".nan"])
def test_a_number_without_end_is_refused_with_its_line(tmp_path: Path, field: str, value: str) -> None:
    (problem,) = problems(tmp_path, HEAD + f"grids: [{{tuning_method: lora, {field}: {value}}}]\n")
    assert problem == f"line 3, grids.0.{field}: must be a finite number but got {value[1:]}"


def test_gradients_may_have_no_largest_norm(tmp_path: Path) -> None:
    assert load(tmp_path, HEAD + "grids: [{tuning_method: lora, max_grad_norm: .inf}]\n")


@pytest.mark.parametrize("value", ["all-linear", "[all-linear, [q_proj, v_proj]]"])
def test_layers_may_be_given_by_one_name(tmp_path: Path, value: str) -> None:
    assert load(tmp_path, HEAD + f"grids: [{{tuning_method: lora, target_modules: {value}}}]\n")


def test_a_limit_of_the_command_line_is_that_of_every_trial(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("""\
name: study
defaults: {model: toy, dataset: toy, tuning_method: [zero_shot, {name: icl, limit: 300}]}
grids:
  - {tuning_method: [full, {name: lora, limit: 500}]}
  - {tuning_method: {name: ia3, limit: [100, 200]}, limit: 50}
  - {seed: 42}
""")
    trials = plan_trials(load_config(tmp_path / "study.yaml", limit=4))
    assert {each.tuning_method: each.limit for each in trials} == dict.fromkeys(
        ("full", "lora", "ia3", "zero_shot", "icl"), 4
    )
    assert len(trials) == 5
