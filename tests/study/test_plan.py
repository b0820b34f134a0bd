"""From grids to trials: products, merging, ids that never change."""

import re
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from raypeft.study.axes import grid_points
from raypeft.study.checking import load_config
from raypeft.study.config import Trial
from raypeft.study.plan import parameter_counts, plan_sweep, plan_trials
from raypeft.study.sweepfile import ConfigError
from raypeft.study.trials import make_trial

HEAD = "name: study\ndefaults: {model: toy, dataset: toy}\n"
SHIPPED = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))


def plan(folder: Path, grids: str, *overrides: str) -> list[Trial]:
    file = folder / "study.yaml"
    file.write_text(HEAD + f"grids:\n{grids}")
    return plan_trials(load_config(file, overrides))


def problems(folder: Path, grids: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        plan(folder, grids)
    return caught.value.problems


def trial(**fields: object) -> Trial:
    return make_trial({"model": "toy", "dataset": "toy", **fields})


def test_a_grid_is_the_product_of_its_axes_the_last_one_turning_fastest(tmp_path: Path) -> None:
    trials = plan(tmp_path, "  - {tuning_method: lora, lora_r: [8, 16], lora_alpha: [16, 32, 64]}\n")
    pairs = [(each.fields["lora_r"], each.fields["lora_alpha"]) for each in trials]
    assert pairs == [(8, 16), (8, 32), (8, 64), (16, 16), (16, 32), (16, 64)]


def test_trials_come_in_the_order_of_the_grids(tmp_path: Path) -> None:
    trials = plan(tmp_path, "  - {tuning_method: [lora, zero_shot]}\n  - {tuning_method: [icl, full]}\n")
    assert [each.tuning_method for each in trials] == ["lora", "zero_shot", "icl", "full"]


def test_trials_that_can_share_a_loaded_model_stand_together(tmp_path: Path) -> None:
    grids = (
        "  - {tuning_method: zero_shot, model: [toy, owner/name]}\n  - {tuning_method: icl, model: [owner/name, toy]}\n"
    )
    trials = plan(tmp_path, grids)
    assert [(each.model, each.tuning_method) for each in trials] == [
        ("toy", "zero_shot"), ("toy", "icl"), ("owner/name", "zero_shot"), ("owner/name", "icl"),
    ]  # fmt: skip


def test_a_method_without_the_field_of_an_axis_is_one_trial(tmp_path: Path) -> None:
    trials = plan(tmp_path, "  - {tuning_method: [zero_shot, lora], lora_r: [4, 8, 16]}\n")
    assert [each.tuning_method for each in trials] == ["zero_shot", "lora", "lora", "lora"]


def test_a_trial_that_two_grids_hold_is_planned_once(tmp_path: Path) -> None:
    grids = "  - {tuning_method: lora, lora_r: [8, 16]}\n  - {tuning_method: lora, lora_r: [16, 32]}\n"
    assert [each.fields["lora_r"] for each in plan(tmp_path, grids)] == [8, 16, 32]


def test_a_grid_overrules_the_defaults(tmp_path: Path) -> None:
    grids = "  - {tuning_method: lora, seed: 7}\n  - {tuning_method: icl}\n"
    assert [each.seed for each in plan(tmp_path, grids, "defaults.seed=1")] == [7, 1]


@pytest.mark.parametrize("order", ["{0}, {1}", "{1}, {0}"])
def test_a_coupled_value_wins_over_the_grids_own(tmp_path: Path, order: str) -> None:
    keys = order.format("tuning_method: [full, {name: lora, learning_rate: 1e-3}]", "learning_rate: 2e-5")
    rates = {each.tuning_method: each.fields["learning_rate"] for each in plan(tmp_path, f"  - {{{keys}}}\n")}
    assert rates == {"full": 2e-5, "lora": 1e-3}


def test_mappings_of_two_axes_that_set_one_field_differently_are_refused(tmp_path: Path) -> None:
    model = "model: [{name: toy, learning_rate: 1.0e-4, num_train_epochs: 2}]"
    lora = "{name: lora, learning_rate: 1.0e-3, lora_r: 8, lora_alpha: 16}"
    assert problems(tmp_path, f"  - {{{model}, tuning_method: [{{name: lora, learning_rate: 1.0e-3}}, {lora}]}}\n") == [
        "line 4, grids.0: learning_rate must be set alike by the mappings of a trial, but mappings of model and of "
        "tuning_method set it differently; leave it out of one of them, or write two grids"
    ]
    same = "{name: lora, learning_rate: 1.0e-4, lora_r: 8, num_train_epochs: 2.0}"
    assert len(plan(tmp_path, f"  - {{{model}, tuning_method: [full, {same}]}}\n")) == 2


def test_any_axis_may_couple_values(tmp_path: Path) -> None:
    trials = plan(
        tmp_path, "  - {tuning_method: lora, lora_r: [{name: 8, lora_alpha: 16}, {name: 64, lora_alpha: 9}]}\n"
    )
    assert [(each.fields["lora_r"], each.fields["lora_alpha"]) for each in trials] == [(8, 16), (64, 9)]


def test_a_list_field_is_an_axis_only_where_lists_are_nested(tmp_path: Path) -> None:
    (one,) = plan(tmp_path, "  - {tuning_method: lora, target_modules: [q_proj, v_proj]}\n")
    two = plan(tmp_path, "  - {tuning_method: lora, target_modules: [[q_proj, v_proj], [q_proj]]}\n")
    assert [each.fields["target_modules"] for each in two] == [("q_proj", "v_proj"), ("q_proj",)]
    assert one.id == two[0].id


def test_a_field_left_out_is_the_methods_default(tmp_path: Path) -> None:
    full, lora = plan(tmp_path, "  - {tuning_method: [full, lora]}\n")
    assert (full.fields["learning_rate"], lora.fields["learning_rate"]) == (5e-5, 3e-4)


def test_planning_twice_gives_the_same_list(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(HEAD + "grids: [{tuning_method: [zero_shot, icl, lora], seed: [1, 2], lora_r: [8, 16]}]\n")
    sweep = load_config(file)
    first = plan_trials(sweep)
    assert plan_trials(sweep) == first == plan_trials(load_config(file))


@pytest.mark.parametrize(
    ("fields", "identity"),
    [
        ({"tuning_method": "zero_shot"}, "9ed4ec5546"),
        ({"tuning_method": "icl", "num_shots": 4, "dataset": "conala", "limit": 100}, "5a487b668a"),
        ({"tuning_method": "lora", "lora_r": 8, "lora_alpha": 16, "learning_rate": 1e-3, "seed": 7}, "ab29f52980"),
        ({"tuning_method": "lora", "target_modules": ["q_proj", "v_proj"], "model": "owner/name"}, "2cd161f946"),
        ({"tuning_method": "lora", "num_shots": 4, "icl_seed": 7}, "d2e70721a4"),
        ({"tuning_method": "prefix_tuning", "fidelity": "paper", "dataset": "codealpacapy"}, "11458043af"),
        ({"tuning_method": "rag", "embedding_model": "toy", "shot_order": "nearest_last"}, "7ae36dc86e"),
    ],
)
def test_an_id_never_changes_from_one_release_to_the_next(fields: dict[str, object], identity: str) -> None:
    """Results on disk are found by these ids: where this test fails, change the code and not the test."""
    assert trial(**fields).id == identity


def test_a_default_that_is_written_out_changes_no_id() -> None:
    bare = trial(tuning_method="lora")
    assert trial(**bare.fields).id == bare.id


@pytest.mark.parametrize(
    ("written", "same"),
    [({"lora_alpha": 64}, {"lora_alpha": 64.0}), ({"num_train_epochs": 1}, {"num_train_epochs": 1.0})],
)
def test_a_whole_number_and_its_float_are_one_trial(written: dict[str, object], same: dict[str, object]) -> None:
    assert trial(tuning_method="lora", **written).id == trial(tuning_method="lora", **same).id


@pytest.mark.parametrize(
    ("fields", "idle"),
    [
        (
            {"tuning_method": "zero_shot"},
            {"embedding_model": "toy", "on_overflow": "error", "shot_source": "retrieved"},
        ),
        ({"tuning_method": "lora"}, {"icl_seed": 7}),
        ({"tuning_method": "icl"}, {"embedding_model": "toy", "shot_order": "nearest_last"}),
        ({"tuning_method": "rag"}, {"icl_seed": 7, "icl_sampling": "per_example"}),
        ({"tuning_method": "lora", "num_shots": 2, "shot_source": "retrieved"}, {"icl_seed": 7}),
    ],
)
def test_trials_that_differ_in_fields_without_effect_are_one_trial(
    fields: dict[str, object], idle: dict[str, object]
) -> None:
    assert trial(**fields, **idle) == trial(**fields)


def test_trials_that_differ_in_how_shots_are_found_are_trials_of_their_own() -> None:
    bare = {"tuning_method": "lora", "num_shots": 2}
    found = {**bare, "shot_source": "retrieved"}
    kinds = [
        bare,
        {**bare, "icl_sampling": "per_example"},
        {**bare, "on_overflow": "error"},
        found,
        {**found, "embedding_model": "bm25"},
        {**found, "shot_order": "nearest_last"},
        {**found, "on_overflow": "error"},
    ]
    assert len({trial(**kind).id for kind in kinds}) == len(kinds)


@pytest.mark.parametrize(
    ("method", "source"), [("icl", "retrieved"), ("rag", "random")], ids=["icl retrieved", "rag random"]
)
def test_a_method_named_after_its_shots_takes_no_others(tmp_path: Path, method: str, source: str) -> None:
    (problem,) = problems(tmp_path, f"  - {{tuning_method: {method}, shot_source: {source}}}\n")
    assert f"{method}: shot_source: must be " in problem and f"but got '{source}'" in problem


def test_a_dataset_brings_its_own_way_of_decoding_which_the_sweep_may_overrule() -> None:
    sampled = trial(dataset="apps", tuning_method="lora")
    assert (sampled.do_sample, sampled.num_beams, sampled.num_return_sequences) == (True, 1, 5)
    assert (sampled.temperature, sampled.top_p) == (0.6, 0.95)
    assert trial(dataset="apps", tuning_method="lora", temperature=0.2).temperature == 0.2
    searched = trial(dataset="apps", tuning_method="lora", do_sample=False)
    assert (searched.num_beams, searched.num_return_sequences, searched.temperature) == (10, 10, 1)
    assert not trial(dataset="toy", tuning_method="lora").do_sample
    assert trial(dataset="apps", tuning_method="lora", num_beams=4).num_beams == 1, (
        "meant for datasets that are searched"
    )


def test_the_papers_table_4_is_among_the_trials_of_rq4() -> None:
    file = next(file for file in SHIPPED if file.stem == "rq4")
    planned = {(each.model, each.tuning_method, each.dataset) for each in plan_trials(load_config(file))}
    methods = ("zero_shot", "lora", "qlora_8bit", "qlora_4bit")
    assert {("CodeLlama-7b-Instruct-hf", method, "apps") for method in methods} <= planned


def shipped(name: str) -> list[Trial]:
    return plan_trials(load_config(next(file for file in SHIPPED if file.stem == name)))


def test_rq1_has_the_nine_models_of_the_papers_figure_3() -> None:
    assert {each.model for each in shipped("rq1")} == {
        "codet5p-220m", "codet5p-770m", "codegen-350M-mono", "codegen2-1B", "codegen2-3_7B", "codegen2-7B",
        "CodeLlama-7b-hf", "CodeLlama-7b-Instruct-hf", "CodeLlama-7b-Python-hf",
    }  # fmt: skip


def test_rq3_takes_all_of_icl_over_from_rq1_and_a_seed_of_lora_from_rq2() -> None:
    wanted = shipped("rq3")
    icl = {each.id for each in wanted if each.tuning_method == "icl"}
    lora = {each.id for each in wanted
            if each.tuning_method == "lora" and each.seed == 42 and not each.method.num_shots}  # fmt: skip
    assert len(icl) == 3 * 5 * (7 + 6) and icl <= {each.id for each in shipped("rq1")}
    assert len(lora) == 3 * 2 and lora <= {each.id for each in shipped("rq2")}


@pytest.mark.parametrize("name", ["rq1", "rq3", "conala_shots"])
def test_a_number_of_shots_can_be_chosen_on_validation(name: str) -> None:
    assert all(each.validation_limit == 100 for each in shipped(name))


@pytest.mark.parametrize("name", ["rq4", "conala_smollm2", "conala_shots"])
def test_instruct_models_are_asked_without_training_in_their_chat_template_too(name: str) -> None:
    asked = {form: [each.method for each in shipped(name) if not each.method.trains and each.prompt_form == form]
             for form in (None, "chat")}  # fmt: skip
    assert asked["chat"] == asked[None] != []


@pytest.mark.parametrize(("fidelity", "trained"), [("corrected", 12_582_912), ("paper", 39_976_960)])
def test_the_papers_lora_on_apps_adapts_all_seven_linear_layers(fidelity: str, trained: int) -> None:
    file = next(file for file in SHIPPED if file.stem == "rq4")
    planned = plan_trials(load_config(file, [f"defaults.fidelity={fidelity}"]))
    tuned = [each for each in planned if each.method.trains]
    assert len(tuned) == 3 * 3  # seeds
    assert {parameter_counts(each)["trainable_params"] for each in tuned} == {trained}


def test_a_sweep_may_overrule_the_papers_targets_and_other_datasets_and_methods_keep_theirs() -> None:
    paper = partial(trial, fidelity="paper", model="CodeLlama-7b-hf")
    modules = ["q_proj", "v_proj"]
    assert paper(dataset="apps", tuning_method="lora", target_modules=modules).method.target_modules == tuple(modules)
    assert paper(dataset="apps", tuning_method="ia3").method.target_modules is None
    assert paper(dataset="conala", tuning_method="lora").method.target_modules is None


def test_trials_that_differ_in_any_field_have_ids_of_their_own() -> None:
    axes: dict[str, list[object]] = {
        "tuning_method": ["zero_shot", "full", "lora"],
        "dataset": ["toy", "conala"],
        "seed": [1, 42],
        "limit": [None, 1, 12],
        "test_limit": [None, 12],
        "learning_rate": [3e-4, 3e-3],
        "num_train_epochs": [0.5, 5],
    }
    trials = [trial(**dict(zip(axes, values, strict=True))) for values in product(*axes.values())]
    different = {tuple(sorted(each.fields.items(), key=str)) for each in trials}
    assert len({each.id for each in trials}) == len(different) == 24 + 2 * 24 * 4


def test_more_candidates_than_beams_are_refused_with_the_grids_line(tmp_path: Path) -> None:
    grids = "  - tuning_method: icl\n  - tuning_method: lora\n    num_beams: 4\n"
    assert problems(tmp_path, grids) == [
        "line 5, grids.1: lora: num_return_sequences must be at most num_beams but got 10 of 4"
    ]


def test_more_shots_than_any_method_takes_are_refused_with_their_line(tmp_path: Path) -> None:
    assert problems(tmp_path, "  - tuning_method: icl\n    num_shots: [8, 17]\n") == [
        "line 5, grids.0.num_shots.1: must be less than or equal to 16 but got 17"
    ]


def test_shots_for_zero_shot_are_refused(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "  - {tuning_method: zero_shot, num_shots: 4}\n")
    assert problem == "line 4, grids.0: zero_shot: num_shots: must be less than or equal to 0 but got 4"


def test_the_form_of_the_prompts_is_an_axis(tmp_path: Path) -> None:
    trials = plan(tmp_path, "  - {tuning_method: [icl, lora], prompt_form: [null, plain, fenced]}\n")
    assert [each.prompt_form for each in trials] == [None, "plain", "fenced"] * 2
    assert len({each.id for each in trials}) == 6


@pytest.mark.parametrize("form", ["plain", "fenced", "chat"])
def test_the_papers_prompts_have_no_other_form(tmp_path: Path, form: str) -> None:
    grids = f"  - {{tuning_method: lora, fidelity: paper, prompt_form: {form}, model: owner/name}}\n"
    assert problems(tmp_path, grids) == [
        "line 4, grids.0: lora: prompt_form must be left out under fidelity: paper, whose prompts are those of the "
        f"paper's code, but got {form}"
    ]


@pytest.mark.parametrize(
    ("model", "why"), [("codet5p-220m", "an encoder-decoder"), ("toy", "whose tokenizer has no chat template")]
)
def test_a_chat_with_a_model_that_has_no_chat_template_is_refused(tmp_path: Path, model: str, why: str) -> None:
    (problem,) = problems(tmp_path, f"  - {{tuning_method: lora, prompt_form: [fenced, chat], model: {model}}}\n")
    assert problem.startswith(f"line 4, grids.0: lora: prompt_form must be plain or fenced for {model}, {why}")


def test_a_list_in_a_coupled_entry_is_an_axis_of_that_entry_alone(tmp_path: Path) -> None:
    entries = "[zero_shot, {name: lora, lora_r: [4, 8], seed: [1, 2]}, {name: ia3, target_modules: [q_proj, v_proj]}]"
    trials = plan(tmp_path, f"  - {{tuning_method: {entries}, seed: 7}}\n")
    assert [(each.tuning_method, each.fields.get("lora_r"), each.seed) for each in trials] == [
        ("zero_shot", None, 7), ("lora", 4, 1), ("lora", 4, 2), ("lora", 8, 1), ("lora", 8, 2), ("ia3", None, 7),
    ]  # fmt: skip


def test_prompt_templates_are_an_axis_of_texts_and_mappings_and_part_of_the_id(tmp_path: Path) -> None:
    grids = """\
  - tuning_method: zero_shot
    prompt_template: [null, "# {nl}\\n", {query: "# {nl}\\n", stop: ["\\n"]}, {name: "// {nl}\\n", seed: 7}]
"""
    trials = plan(tmp_path, grids)
    assert [(each.fields["prompt_template"], each.seed) for each in trials] == [
        (None, 42),
        ("# {nl}\n", 42),
        ('{"query": "# {nl}\\n", "stop": ["\\n"]}', 42),
        ("// {nl}\n", 7),
    ]
    assert len({each.id for each in trials}) == 4
    for each in trials:
        assert Trial.model_validate(each.model_dump()).id == each.id
        assert trial(**each.fields).id == each.id


def test_a_template_is_not_given_beside_a_form_that_has_one(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "  - {tuning_method: icl, prompt_form: fenced, prompt_template: '{nl}'}\n")
    assert "prompt_form must be chat or left out beside a prompt_template" in problem
    template = "prompt_template: {query: '{nl}', shot: '{nl}{code}'}"
    grid = f"  - {{tuning_method: icl, model: a/b, prompt_form: chat, {template}}}\n"
    assert "prompt_template must have no shot under prompt_form: chat" in problems(tmp_path, grid)[0]


def test_the_papers_prompts_take_no_template(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "  - {tuning_method: icl, fidelity: paper, prompt_template: '{nl}'}\n")
    assert "prompt_template must be left out under fidelity: paper" in problem


def test_every_impossible_trial_stands_in_one_report(tmp_path: Path) -> None:
    grids = "  - {tuning_method: lora, lora_r: [0, 8]}\n  - {tuning_method: icl, num_shots: 17, seed: -1}\n"
    assert len(problems(tmp_path, grids)) >= 2


def test_a_grids_points_are_flat_mappings_of_every_key() -> None:
    assert grid_points({"tuning_method": [{"name": "lora", "lora_r": 4}], "seed": [1, 2]}) == [
        {"seed": 1, "tuning_method": "lora", "lora_r": 4},
        {"seed": 2, "tuning_method": "lora", "lora_r": 4},
    ]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_a_shipped_sweep_plans_under_its_own_name(file: Path) -> None:
    sweep = load_config(file)
    assert plan_sweep(sweep).total
    assert sweep.config.name == file.stem


def test_some_sweeps_are_shipped() -> None:
    assert {"quickstart", "conala_smollm2"} <= {file.stem for file in SHIPPED}


def test_validation_scores_of_a_dataset_that_is_judged_by_tests_alone_are_refused(tmp_path: Path) -> None:
    grids = "  - {dataset: toy_apps, tuning_method: zero_shot, validation_limit: 10}\n"
    (problem,) = problems(tmp_path, grids)
    assert "validation_limit must be left out for toy_apps" in problem


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ("seed: 9223372036854775808", "seed must be an integer of 64 bits at most but got 9223372036854775808"),
        ("icl_seed: -9223372036854775809", "icl_seed must be an integer of 64 bits at most"),
        ('model_revision: "a\\0"', "model_revision must be text without NUL"),
        ('embedding_revision: "\\ud800"', "embedding_revision must be text without NUL and halves"),
    ],
)
def test_what_a_row_could_not_hold_is_refused_when_it_is_planned(tmp_path, field, problem):
    with pytest.raises(ConfigError, match=problem):
        plan(tmp_path, f"  - {{tuning_method: [icl, rag], {field}}}\n")


def test_the_largest_seed_that_a_row_holds_is_planned(tmp_path):
    assert plan(tmp_path, "  - {tuning_method: lora, seed: 9223372036854775807}\n")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ("dataset: odex, test_dataset: toy", "odex must have train examples for lora but has none"),
        ("test_dataset: odx", "test_dataset: must be one of toy, .* but got 'odx'; did you mean odex?"),
        ("test_dataset: odex, fidelity: paper", "test_dataset must be left out under fidelity: paper"),
        ("test_dataset: odex, test_dataset_path: /no", "must be a URL or a folder that exists"),
    ],
)  # fmt: skip
def test_a_test_dataset_that_cannot_be_is_refused(tmp_path: Path, fields: str, told: str) -> None:
    assert any(re.search(told, each) for each in problems(tmp_path, f"  - {{tuning_method: lora, {fields}}}\n"))


def test_a_test_dataset_is_an_axis_and_may_be_declared_there(tmp_path: Path) -> None:
    rows = "".join(f'{{"q": "sort {n}", "a": "x.sort({n})"}}\n' for n in range(30))
    (tmp_path / "mine.jsonl").write_text(rows)
    data = "{path: mine.jsonl, prompt: q, answer: a}"
    trials = plan(tmp_path, f"  - {{tuning_method: lora, test_dataset: [null, toy, toy_apps, {data}]}}\n")
    assert [each.data_name for each in trials] == ["toy", "toy->toy_apps", "toy->mine"]
    assert trials[-1].test_data.judged_by == ("reference",) and trials[-1].declared is None


@pytest.mark.parametrize(
    ("fields", "names", "values"),
    [
        ("tuning_method: zero_shot, max_new_tokens: 2048", "max_new_tokens", "2048"),
        ("tuning_method: prompt_tuning, num_virtual_tokens: 2048, decode: false", "num_virtual_tokens", "2048"),
        ("tuning_method: prefix_tuning, num_virtual_tokens: 1000, max_new_tokens: 1048",
         "num_virtual_tokens and max_new_tokens", "1000 and 1048"),
    ],
)  # fmt: skip
def test_fields_that_leave_no_room_for_a_prompt_are_refused(
    tmp_path: Path, fields: str, names: str, values: str
) -> None:
    (problem,) = problems(tmp_path, f"  - {{{fields}}}\n")
    assert problem.endswith(
        f"{names} must leave room for a prompt in the model's context of 2048 tokens but got {values}"
    )
    last = values.rpartition(" ")[2]
    assert plan(tmp_path, f"  - {{{fields.replace(last, str(int(last) - 1))}}}\n")
