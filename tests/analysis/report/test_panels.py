"""Conditions in the order of a score, and their marks."""

from pathlib import Path

import pytest
from report_folders import add_row, hits_of_share, made_row, made_study, store_at

from raypeft.analysis.report.lead import lead
from raypeft.analysis.report.panels import Panel, panels
from raypeft.analysis.report.study import open_study


def only_panel(folder: Path) -> Panel:
    (panel,) = panels(open_study([str(folder)]))
    return panel


def test_conditions_stand_in_the_order_of_the_first_score_with_an_interval(tmp_path: Path) -> None:
    made_study(tmp_path)
    panel = only_panel(tmp_path)
    means = [each.scores["em_at_10"].mean for each in panel.ranked]
    assert panel.score.name == "em_at_10" and means == sorted(means, reverse=True)
    assert panel.ranked[-1].condition.fields["tuning_method"] == "icl"


def test_the_best_on_validation_is_chosen_and_not_the_best_on_the_test(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for rate, share, loss in ((1e-4, 0.3, 0.5), (1e-3, 0.6, 0.9)):
        add_row(store, made_row(hits_of_share(share), more={"best_eval_loss": loss}, learning_rate=rate))
    best, other = only_panel(tmp_path).ranked
    assert (best.is_chosen, other.is_chosen, other.by) == (False, True, "best_eval_loss")


def test_a_validation_score_goes_before_the_validation_loss(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for rate, loss, validation in ((1e-4, 0.5, 0.2), (1e-3, 0.9, 0.4)):
        more = {"best_eval_loss": loss, "em_at_10_validation": validation}
        add_row(store, made_row(hits_of_share(0.5), more=more, learning_rate=rate))
    (chosen,) = [each for each in only_panel(tmp_path).ranked if each.is_chosen]
    assert chosen.condition.fields["learning_rate"] == 1e-3 and chosen.by == "em_at_10_validation"


def test_the_validation_loss_chooses_no_number_of_beams(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for beams, share in ((10, 0.2), (20, 0.3)):
        add_row(store, made_row(hits_of_share(share), more={"best_eval_loss": 0.5}, num_beams=beams))
    panel = only_panel(tmp_path)
    assert not any(each.is_chosen for each in panel.ranked) and panel.best is None
    assert lead(panel).startswith("Nothing was chosen on validation.")


@pytest.mark.parametrize("seeds", [[(1, 1), (1, 2), (1, 3), (1, 4)], [(1, 1), (1, 2), (2, 1), (2, 2)]])
def test_draws_of_shots_are_no_trainings_and_the_interval_is_over_test_examples(
    tmp_path: Path, seeds: list[tuple[int, int]]
) -> None:
    store = store_at(tmp_path)
    for seed, draw in seeds:
        add_row(store, made_row(hits_of_share(0.5 + draw / 40), num_shots=2, seed=seed, icl_seed=draw))
    measured = only_panel(tmp_path).ranked[0].scores["em_at_10"]
    assert measured.low is not None and measured.mean - measured.low == pytest.approx(0.1)


def test_without_validation_nothing_is_chosen_and_alone_nothing_is_either(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for shots in (1, 4):
        add_row(store, made_row(hits_of_share(0.5), tuning_method="icl", num_shots=shots))
    add_row(store, made_row(hits_of_share(0.4), more={"best_eval_loss": 0.5}))
    panel = only_panel(tmp_path)
    assert not any(each.is_chosen for each in panel.ranked)
    assert [each.condition.fields["tuning_method"] for each in panel.representatives] == ["icl", "lora"]


def test_the_best_of_all_is_chosen_among_the_choices_of_the_methods_by_validation(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for method, rate, share, loss in (("lora", 1e-3, 0.6, 0.9), ("lora", 1e-4, 0.3, 0.5), ("full", 1e-4, 0.4, 0.4)):
        more = {"best_eval_loss": loss}
        add_row(store, made_row(hits_of_share(share), more=more, tuning_method=method, learning_rate=rate))
    panel = only_panel(tmp_path)
    assert panel.best and panel.best.condition.fields["tuning_method"] == "full"
    assert panel.best_by == "best_eval_loss"


def test_validation_losses_of_two_models_do_not_choose_between_them(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for model, rate, share, loss in (("toy", 1e-3, 0.6, 0.9), ("toy", 1e-4, 0.5, 0.8), ("owner/name", 1e-3, 0.1, 0.2)):
        add_row(store, made_row(hits_of_share(share), more={"best_eval_loss": loss}, model=model, learning_rate=rate))
    panel = only_panel(tmp_path)
    assert panel.best and panel.best.is_chosen and panel.best.condition.fields["learning_rate"] == 1e-4
    assert panel.best_by == ""


def test_seeds_are_one_condition_with_mean_and_range(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for seed, share in ((1, 0.4), (2, 0.5)):
        add_row(store, made_row(hits_of_share(share), seed=seed))
    (one,) = only_panel(tmp_path).ranked
    measured = one.scores["em_at_10"]
    assert (measured.mean, measured.least, measured.most) == (pytest.approx(0.45), 0.4, 0.5)
    assert measured.low == pytest.approx(0.35), "the mean of the seeds' bounds, over examples"


def test_three_seeds_have_an_interval_over_seeds(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for seed in (1, 2, 3):
        add_row(store, made_row(hits_of_share(0.5), seed=seed))
    measured = only_panel(tmp_path).ranked[0].scores["em_at_10"]
    assert measured.low == measured.high == 0.5


def test_a_score_that_is_no_number_is_missing_and_stands_last(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for rate, loss in ((1e-4, 0.9), (1e-2, float("nan"))):
        row = made_row(more={"test_loss": loss, "best_eval_loss": 0.8}, learning_rate=rate)
        add_row(store, row)
    panel = only_panel(tmp_path)
    assert panel.score.name == "test_loss"
    assert [each.condition.fields["learning_rate"] for each in panel.standings] == [1e-4, 1e-2]
    assert len(panel.ranked) == 1


def test_a_loss_is_better_where_it_is_lower(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for rate, loss in ((1e-4, 0.9), (1e-3, 0.7)):
        add_row(store, made_row(more={"test_loss": loss}, learning_rate=rate))
    assert [each.scores["test_loss"].mean for each in only_panel(tmp_path).ranked] == [0.7, 0.9]


def test_a_field_without_effect_is_not_swept(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    add_row(store, made_row(hits_of_share(0.5), tuning_method="zero_shot"))
    add_row(store, made_row(hits_of_share(0.5), tuning_method="rag", num_shots=4, embedding_model="bm25"))
    panel = only_panel(tmp_path)
    assert "embedding_model" not in panel.swept()
    assert "num_shots" in panel.swept()


def test_each_dataset_has_its_panel(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    add_row(store, made_row(hits_of_share(0.5)))
    add_row(store, made_row(more={"pass_at_1": 0.5}, dataset="toy_apps"))
    found = panels(open_study([str(tmp_path)]))
    assert [(each.dataset, each.score.name) for each in found] == [("toy", "em_at_10"), ("toy_apps", "pass_at_1")]


def test_rows_without_any_score_make_no_panel(tmp_path: Path) -> None:
    add_row(store_at(tmp_path), made_row())
    assert panels(open_study([str(tmp_path)])) == []


def test_trials_stand_in_the_panel_of_the_dataset_that_they_were_tested_on(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for fields in ({}, {"test_dataset": "conala"}, {"dataset": "conala"}):
        add_row(store, made_row(hits_of_share(0.5), **fields))
    found = panels(open_study([str(tmp_path)]))
    assert {panel.dataset: len(panel.rows) for panel in found} == {"toy": 1, "conala": 2}
    assert found[1].swept() == ["dataset"]


def test_nothing_is_chosen_between_datasets_that_were_trained_on(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for data, loss in (("toy", 0.5), ("codealpacapy", 0.9)):
        more = {"best_eval_loss": loss}
        add_row(store, made_row(hits_of_share(0.5), more=more, dataset=data, test_dataset="conala"))
    panel = only_panel(tmp_path)
    assert not any(each.is_chosen for each in panel.standings) and len(panel.representatives) == 2
