"""What sets a trial apart."""

import json
from typing import Any

import pytest

from raypeft.analysis.settings import labels, settings, shown, split_settings
from raypeft.results.declarations import Declarations, DeclaredDataset, DeclaredMethod
from raypeft.study.trials import make_trial
from raypeft.trial.declarations import own_declarations


def row(**fields: Any) -> dict[str, Any]:
    return make_trial({"model": "toy", "dataset": "toy", "tuning_method": "lora", **fields}).fields


def told(*rows: dict[str, Any]) -> list[str]:
    return settings(rows, own_declarations())


def test_settings_name_what_is_not_default_or_differs() -> None:
    assert told(row(lora_r=8, seed=1), row(lora_r=16, seed=1), row(tuning_method="icl")) == [
        "seed 1, r 8", "seed 1, r 16", "shots 8",
    ]  # fmt: skip


def test_settings_hold_no_field_of_another_method() -> None:
    assert told(row(tuning_method="zero_shot"), row(learning_rate=1e-3)) == ["", "lr 0.001, r 16"]


def test_a_default_is_told_where_another_trial_of_the_same_method_and_dataset_has_another_value() -> None:
    assert told(row(), row(max_grad_norm=2.0)) == ["max_grad_norm 1, r 16", "max_grad_norm 2, r 16"]
    assert told(row(), row(max_grad_norm=2.0, dataset="conala")) == ["r 16", "max_grad_norm 2, r 16"]


def test_a_template_with_line_breaks_is_told_on_one_line() -> None:
    assert told(row(prompt_template="# {nl}\n")) == ["prompt_template # {nl}\\n, r 16"]


def test_what_a_dataset_sets_by_itself_is_no_setting() -> None:
    assert told(row(dataset="toy_apps")) == ["r 16"]
    assert told(row(dataset="toy_apps", temperature=0.2)) == ["temperature 0.2, r 16"]


def test_a_method_of_another_version_is_told_by_its_own_declaration() -> None:
    declared = Declarations(
        datasets={"new": DeclaredDataset(decoding={"width": 3})},
        methods={"novel": DeclaredMethod(("width", "depth", "must"), {"width": 1, "depth": 2})},
    )
    rows = [{"tuning_method": "novel", "dataset": "new", "width": 3, "depth": 7, "must": "a"}]
    assert settings(rows, declared) == ["depth 7, must a"], "the field without a default is always told"


def test_layers_to_adapt_are_shown_as_a_list_of_names() -> None:
    assert shown(("q_proj", "v_proj")) == "q_proj+v_proj" and shown(["all-linear"]) == "all-linear"


def test_a_setting_of_some_rows_is_not_told_as_that_of_all_where_others_leave_the_field_empty() -> None:
    plain = row(tuning_method="zero_shot")
    chats = [row(tuning_method=each, prompt_form="chat") for each in ("zero_shot", "icl")]
    shared, own = split_settings([plain, *chats], own_declarations())
    assert not any("prompt_form" in each for each in shared)
    assert own[0] == "" and "prompt_form chat" in own[1] and "prompt_form chat" in own[2]


def test_rows_that_differ_in_where_they_were_loaded_from_alone_are_told_by_it() -> None:
    rows = [row(model_path="/a"), row(model_path="/b"), row(model_path="/a", lora_r=8)]
    assert told(*rows) == ["r 16, model_path /a", "r 16, model_path /b", "r 8"]
    assert labels(rows, own_declarations())[:2] == ["lora r 16, model_path /a", "lora r 16, model_path /b"]
    assert split_settings(rows[:2], own_declarations()) == (["r 16"], ["model_path /a", "model_path /b"])


def test_a_mix_is_told_by_the_part_that_differs() -> None:
    mixes = [{"mix": [{"name": "conala"}, {"name": "codealpacapy", "dataset_path": path}]} for path in ("/a", "/b")]
    rows = [{**row(test_dataset="conala"), "dataset": "both", "declared": json.dumps(each)} for each in mixes]
    assert told(*rows) == ["r 16, mix.1.dataset_path /a", "r 16, mix.1.dataset_path /b"]


def test_a_declaration_of_another_version_is_told_as_it_is() -> None:
    rows = [{**row(), "declared": json.dumps({"unknown": value})} for value in (1, 2)]
    assert told(*rows) == [f'r 16, declared {{"unknown": {value}}}' for value in (1, 2)]


@pytest.mark.parametrize("name", ["limit", "test_limit", "validation_limit"])
def test_numbers_of_examples_are_told_where_rows_differ_in_them_alone(name: str) -> None:
    rows = [row(**{name: number}) for number in (10, 20)]
    assert told(*rows) == [f"{name} 10, r 16", f"{name} 20, r 16"]
    assert labels(rows, own_declarations()) == [f"lora {name} 10, r 16", f"lora {name} 20, r 16"]
    assert told(rows[0], rows[0]) == ["r 16", "r 16"]


def test_methods_that_were_tested_on_other_numbers_of_examples_are_told_by_them() -> None:
    rows = [row(test_limit=10), row(tuning_method="zero_shot", test_limit=20)]
    assert labels(rows, own_declarations()) == ["lora test_limit 10, r 16", "zero_shot test_limit 20"]
