"""Datasets that a sweep file declares, and what its trials may ask of them."""

import json
import re
from pathlib import Path

import pytest

from raypeft.study.checking import load_config, with_all_data
from raypeft.study.config import Trial
from raypeft.study.plan import plan_trials
from raypeft.study.sweepfile import ConfigError

REVIEWS = "datasets: {reviews: {path: data.jsonl, prompt: q, answer: a}}"
GRID = "grids: [{model: toy, dataset: reviews, tuning_method: lora}]"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tests = {"inputs": ["1"], "outputs": ["2"]}
    rows = [{"q": f"task {number}", "a": f"code {number}", "t": tests} for number in range(30)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def planned(folder: Path, *lines: str, overrides: tuple[str, ...] = ()) -> list[Trial]:
    (folder / "s.yaml").write_text("\n".join(["name: s", *lines]))
    return plan_trials(load_config(folder / "s.yaml", overrides))


def told(folder: Path, *lines: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        planned(folder, *lines)
    return caught.value.problems


def test_data_elsewhere_has_its_say_when_it_is_read_and_no_trial_another_id(folder: Path) -> None:
    url = (folder / "data.jsonl").as_uri()
    (folder / "elsewhere.yaml").write_text(
        f"name: s\ndatasets: {{far: {{path: '{url}', prompt: q, answer: a}}}}\n"
        "grids: [{model: toy, dataset: [far, {mix: [far, toy]}], tuning_method: [zero_shot, lora]}]\n"
    )
    unread = load_config(folder / "elsewhere.yaml")
    read = with_all_data(unread)
    assert (unread.has_unread_data, read.has_unread_data) == (True, False)
    before, after = plan_trials(unread), plan_trials(read)
    assert [trial.id for trial in after] == [trial.id for trial in before]
    mix = next(trial for trial in after if trial.test_dataset == "far")
    assert after[0].test_data.test_size and mix.test_data.test_size == after[0].test_data.test_size


def test_a_declared_dataset_is_named_like_a_built_in_one(folder: Path) -> None:
    (trial,) = planned(folder, REVIEWS, GRID)
    assert trial.dataset == "reviews"
    assert trial.declared and trial.declared.sizes == {"train": 24, "validation": 3, "test": 3}
    assert json.loads(trial.fields["declared"])["prompt"] == "q"
    assert Trial.model_validate(trial.model_dump()).id == trial.id


def test_a_dataset_may_be_declared_in_its_place_on_an_axis(folder: Path) -> None:
    inline = "{path: data.jsonl, prompt: q, answer: a}"
    named = "{name: other, path: data.jsonl, prompt: q, answer: a}"
    trials = planned(folder, f"grids: [{{model: toy, dataset: [{inline}, toy, {named}], tuning_method: icl}}]")
    assert [trial.dataset for trial in trials] == ["data", "toy", "other"]


def test_a_dataset_may_be_declared_on_the_command_line(folder: Path) -> None:
    override = "grids.0.dataset={path: data.jsonl, prompt: q, answer: a}"
    (trial,) = planned(folder, "grids: [{model: toy, dataset: toy, tuning_method: icl}]", overrides=(override,))
    assert trial.dataset == "data" and trial.declared


def test_the_id_follows_the_content_and_not_the_place(folder: Path, tmp_path: Path) -> None:
    (first,) = planned(folder, REVIEWS, GRID)
    (folder / "data.jsonl").rename(folder / "moved.jsonl")
    (moved,) = planned(folder, REVIEWS.replace("data.jsonl", "moved.jsonl"), GRID)
    assert moved.id == first.id
    (folder / "moved.jsonl").write_text((folder / "moved.jsonl").read_text().replace("code 3", "code x"))
    (changed,) = planned(folder, REVIEWS.replace("data.jsonl", "moved.jsonl"), GRID)
    assert changed.id != first.id


def test_a_wrong_declaration_is_told_with_its_line(folder: Path) -> None:
    problems = told(folder, "datasets:\n  reviews: {path: data.jsonl, prompt: q, answr: a}", GRID)
    assert "line 3, datasets.reviews.answr: unknown key; did you mean answer?" in problems
    problems = told(folder, REVIEWS.replace("reviews", "toy"), GRID.replace("reviews", "toy"))
    assert any("must not have the name of a built-in dataset but got toy" in problem for problem in problems)


def test_all_that_is_wrong_with_the_data_is_told_with_the_datasets_line(folder: Path) -> None:
    (folder / "bad.jsonl").write_text('{"q": "x"}\n{"q": 3, "a": "y"}\nno\n')
    problems = told(folder, REVIEWS.replace("data.jsonl", "bad.jsonl"), GRID)
    assert len(problems) == 3 and all(problem.startswith("line 2, datasets.reviews: ") for problem in problems)


def levelled(folder: Path, name: str, level: str) -> str:
    rows = (json.dumps({"q": f"{name} {n}", "t": {"inputs": ["1"], "outputs": ["2"]}, "l": level}) for n in range(30))
    (folder / f"{name}.jsonl").write_text("\n".join(rows))
    return f"{{path: {name}.jsonl, prompt: q, tests: t, levels: l}}"


def test_levels_that_differ_from_another_datasets_in_capitals_alone_are_refused(folder: Path) -> None:
    declared = {name: levelled(folder, name, level) for name, level in (("a", "Easy"), ("b", "easy"), ("c", "Easy"))}
    (problem,) = told(
        folder, "datasets:", *(f"  {name}: {given}" for name, given in declared.items()), GRID.replace("reviews", "a")
    )
    assert problem.startswith("line 4, datasets.b: levels must") and "has 'easy', and a has 'Easy'" in problem


def test_levels_that_differ_from_a_built_in_datasets_in_capitals_alone_are_refused(folder: Path) -> None:
    (problem,) = told(folder, f"datasets: {{a: {levelled(folder, 'a', 'Interview')}}}", GRID.replace("reviews", "a"))
    assert problem.endswith("l has 'Interview', and apps has 'interview'")


def test_an_unknown_dataset_is_compared_with_the_declared_ones_as_well(folder: Path) -> None:
    (problem,) = told(folder, REVIEWS, GRID.replace("reviews", "review"))
    assert problem.endswith("odex, reviews but got 'review'; did you mean reviews?")


def test_two_datasets_of_one_name_are_told(folder: Path) -> None:
    axis = "[{path: data.jsonl, prompt: q, answer: a}, {path: data.jsonl, prompt: a, answer: q}]"
    (problem,) = told(folder, f"grids: [{{model: toy, dataset: {axis}, tuning_method: icl}}]")
    assert problem.endswith("another dataset has the name data; give this one a `name`")


@pytest.mark.parametrize(
    ("declaration", "fields", "expected"),
    [
        ("prompt: q, answer: a", "fidelity: paper", "fidelity must be corrected for a declared dataset"),
        ("prompt: q, answer: a", "dataset_revision: x", "dataset_revision must be left out for a declared dataset"),
        ("prompt: q, tests: t", "seed: 1", "max_new_tokens must be given for reviews"),
        ("prompt: q, tests: t", "max_new_tokens: 9", "reviews must have an answer (or messages) for lora"),
        (
            "prompt: q, tests: t",
            "max_new_tokens: 9, tuning_method: {name: icl}",
            "answer (or messages) for icl, whose shots",
        ),
        ("prompt: q, answer: a, split: {validation: 0}", "", "reviews must have validation examples for lora"),
    ],
)
def test_what_a_trial_cannot_have_of_its_data_is_told(
    folder: Path, declaration: str, fields: str, expected: str
) -> None:
    method = "" if "tuning_method" in fields else "tuning_method: lora"
    grid = f"grids: [{{model: toy, dataset: reviews, {', '.join(filter(None, (method, fields)))}}}]"
    problems = told(folder, f"datasets: {{reviews: {{path: data.jsonl, {declaration}}}}}", grid)
    assert any(expected in problem for problem in problems), problems


def test_test_examples_alone_are_enough_to_ask_an_untuned_model(folder: Path) -> None:
    declaration = "datasets: {reviews: {path: {test: data.jsonl}, prompt: q, answer: a}}"
    assert planned(folder, declaration, GRID.replace("lora", "zero_shot"))
    (problem,) = told(folder, declaration, GRID.replace("lora", "icl"))
    assert problem.endswith("reviews must have train examples for icl but has none")


def test_data_without_a_test_split_is_trained_on_and_tested_on_a_test_dataset_alone(folder: Path) -> None:
    declaration = "datasets: {reviews: {path: data.jsonl, prompt: q, answer: a, split: {test: 0}}}"
    assert planned(folder, declaration, GRID.replace("lora", "lora, test_dataset: toy"))
    (problem,) = told(folder, declaration, GRID)
    assert "reviews must have test examples but has none" in problem
    (problem,) = told(
        folder, declaration, "grids: [{model: toy, dataset: toy, test_dataset: reviews, tuning_method: lora}]"
    )
    assert "reviews must have test examples but has none" in problem


def test_data_elsewhere_without_a_test_split_is_told_when_it_is_read(folder: Path) -> None:
    url = (folder / "data.jsonl").as_uri()
    (folder / "elsewhere.yaml").write_text(
        f"name: s\ndatasets: {{reviews: {{path: '{url}', prompt: q, answer: a, split: {{test: 0}}}}}}\n{GRID}\n"
    )
    with pytest.raises(ConfigError, match="reviews must have test examples but has none"):
        plan_trials(with_all_data(load_config(folder / "elsewhere.yaml")))


MIX = "grids: [{model: toy, dataset: {mix: [toy, reviews]}, tuning_method: lora}]"


def test_a_mix_is_trained_on_together_and_each_of_its_datasets_tested_apart(folder: Path) -> None:
    trials = planned(folder, REVIEWS, MIX)
    assert [trial.data_name for trial in trials] == ["toy+reviews->toy", "toy+reviews->reviews"]
    assert all([part.name for part in trial.data.parts] == ["toy", "reviews"] for trial in trials)
    assert trials[1].test_declared and trials[1].test_declared.prompt == "q"
    assert trials[0].fields["declared"] == trials[1].fields["declared"]


def test_a_mix_may_have_a_name_and_stand_on_an_axis_or_in_its_section(folder: Path) -> None:
    inline = "grids: [{model: toy, dataset: [toy, {mix: [toy, reviews], name: both}], tuning_method: lora}]"
    names = [trial.data_name for trial in planned(folder, REVIEWS, inline)]
    assert names == ["toy", "both->toy", "both->reviews"]
    section = "mixes: {both: [toy, reviews]}"
    again = planned(folder, REVIEWS, section, "grids: [{model: toy, dataset: [toy, both], tuning_method: lora}]")
    assert [trial.data_name for trial in again] == names


def test_a_mix_is_tested_on_what_the_sweep_names(folder: Path) -> None:
    grid = MIX.replace("tuning_method", "test_dataset: toy_apps, tuning_method")
    assert [trial.data_name for trial in planned(folder, REVIEWS, grid)] == ["toy+reviews->toy_apps"]


def test_a_dataset_of_a_mix_may_lie_elsewhere_and_is_tested_from_there(folder: Path) -> None:
    conala = f"{{name: conala, dataset_path: {folder}, dataset_revision: abc}}"
    trials = planned(folder, f"grids: [{{model: toy, dataset: {{mix: [toy, {conala}]}}, tuning_method: lora}}]")
    places = [(trial.test_dataset_path, trial.test_dataset_revision) for trial in trials]
    assert places == [(None, None), (str(folder), "abc")]


def test_a_dataset_may_be_declared_in_a_mix(folder: Path) -> None:
    own = "{path: data.jsonl, prompt: q, answer: a, name: mine}"
    trials = planned(folder, f"grids: [{{model: toy, dataset: {{mix: [toy, {own}]}}, tuning_method: lora}}]")
    assert [trial.data_name for trial in trials] == ["toy+mine->toy", "toy+mine->mine"]


def test_the_id_of_a_mix_follows_its_datasets_and_their_content(folder: Path) -> None:
    first, _ = planned(folder, REVIEWS, MIX)
    (folder / "data.jsonl").rename(folder / "moved.jsonl")
    moved, _ = planned(folder, REVIEWS.replace("data.jsonl", "moved.jsonl"), MIX)
    with (folder / "moved.jsonl").open("a") as file:
        file.write('{"q": "another task", "a": "another code"}\n')
    longer, _ = planned(folder, REVIEWS.replace("data.jsonl", "moved.jsonl"), MIX)
    assert first.id == moved.id != longer.id


@pytest.mark.parametrize(
    "mix, message",
    [
        ("{mix: toy}", "mix: must be a list of datasets but got 'toy'"),
        ("{mix: []}", "must name at least two datasets but got none"),
        ("{mix: [toy]}", "must name at least two datasets but got toy"),
        ("{mix: [toy, toy]}", "must name each dataset once but got toy, toy"),
        ("{mix: [toy, revews]}", "must be one of .* but got 'revews'; did you mean reviews?"),
        ("{mix: [toy, {name: conala, dataset_path: /no}]}", "dataset_path must be a URL or a folder that exists"),
        ("{mix: [toy, {name: reviews, dataset_path: /no}]}", "dataset_path must be left out for reviews"),
        ("{mix: [toy, {name: conala, pth: /no}]}", "unknown key"),
        ("{mix: [toy, reviews], weights: [1, 2]}", "weights: unknown key beside mix"),
        ("{mix: [toy, odex]}", "odex must have train examples for lora but has none"),
        ("{mix: [toy, reviews]}, dataset_path: /tmp", "dataset_path must be left out for a mix"),
        ("{mix: [toy, reviews]}, fidelity: paper", "fidelity must be corrected for a mix"),
        ("toy, test_dataset: {mix: [toy, reviews]}", "must be one of .* but got"),
        ("{mix: [toy, reviews]}, test_dataset: toy_apps, validation_limit: 5", "unless test_dataset is a dataset of"),
    ],
)
def test_a_mix_that_cannot_be_is_refused(folder: Path, mix: str, message: str) -> None:
    problems = told(folder, REVIEWS, f"grids: [{{model: toy, dataset: {mix}, tuning_method: lora}}]")
    assert any(re.search(message, problem) for problem in problems), problems
    assert all(problem.startswith("line ") for problem in problems), problems
