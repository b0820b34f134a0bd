"""The figures: each is there where the rows allow it, says what it shows, and can be drawn."""

from itertools import product
from pathlib import Path

import pytest
from report_folders import add_row, hits_of_share, made_row, store_at

from raypeft.analysis.report.exports import drawn
from raypeft.analysis.report.figures import FIGURES, figures
from raypeft.analysis.report.figures.cost import gpu_hours, pareto_front
from raypeft.analysis.report.figures.figure import Figure, in_order
from raypeft.analysis.report.figures.lines import labelled
from raypeft.analysis.report.panels import Panel, panels
from raypeft.analysis.report.study import Study, open_study


def by_name(panel: Panel, study: Study) -> dict[str, Figure]:
    return {each.name: each for each in figures(panel, study)}


def of_rows(folder: Path, *rows: dict) -> dict[str, Figure]:
    store = store_at(folder)
    for row in rows:
        add_row(store, row)
    study = open_study([str(folder)])
    return by_name(panels(study)[0], study)


def test_a_whole_study_has_every_kind_of_figure(shown: tuple[Panel, Study]) -> None:
    assert list(by_name(*shown)) == [
        "scores", "best_of_each_method", "peak_memory", "score_by_memory", "score_by_parameters",
        "map_lora_lora_r_lora_alpha",
        "map_lora_lora_r_learning_rate", "map_lora_lora_alpha_learning_rate", "learning_rate", "effects_lora",
        "parallel_coordinates", "learning_curves", "agreement",
    ]  # fmt: skip
    assert len(FIGURES) == 10


def test_figures_of_two_models_have_names_of_their_own(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for model in ("toy", "owner/Toy"):
        for rank, alpha in product((4, 8), (8, 16)):
            share = 0.3 + 0.02 * rank + 0.01 * alpha
            add_row(store, made_row(hits_of_share(share), model=model, lora_r=rank, lora_alpha=alpha))
    study = open_study([str(tmp_path)])
    names = [each.name for each in figures(panels(study)[0], study)]
    assert {"map_toy_lora_r_lora_alpha", "map_owner-toy_lora_r_lora_alpha", "effects_toy", "effects_owner-toy"} <= {
        *names}  # fmt: skip
    assert len({*names}) == len(names)


def test_every_figure_has_a_definition_with_its_data_and_can_be_drawn(shown: tuple[Panel, Study]) -> None:
    for figure in figures(*shown):
        spec = figure.spec()
        assert len(spec["datasets"]["rows"]) == len(figure.rows) > 0 and figure.title and figure.caption
        files = drawn(figure)
        assert files["svg"].startswith(b"<svg") and files["pdf"].startswith(b"%PDF"), figure.name
        assert files["png"].startswith(b"\x89PNG") and files["csv"].count(b"\n") == len(figure.rows) + 1
        assert files["svg"].count(b"<path") > 3, f"{figure.name} draws something"


def test_a_single_condition_has_no_figure(tmp_path: Path) -> None:
    assert of_rows(tmp_path, made_row(hits_of_share(0.5))) == {}


def test_scores_are_shown_in_percent_with_interval_and_mark(shown: tuple[Panel, Study]) -> None:
    rows = [row for row in by_name(*shown)["scores"].rows if row["score"] == "EM@10, %"]
    values = [row["value"] for row in rows]
    assert values == sorted(values, reverse=True) and 60 > values[0] > 50
    assert all(row["low"] < row["value"] < row["high"] for row in rows)
    assert {row["method"] for row in rows if row["chosen"]} == {"lora"}


def test_the_pareto_front_has_what_no_cheaper_one_equals() -> None:
    assert pareto_front([(3, 9), (1, 5), (2, 5), (2, 7), (4, 8)]) == [1, 3, 0]
    assert pareto_front([]) == []


def test_a_cost_that_hardly_differs_has_no_figure(tmp_path: Path) -> None:
    rows = [
        made_row(hits_of_share(0.1 * r), more={"peak_memory_allocated_gb": 1 + r / 100}, lora_r=r) for r in (2, 4, 8)
    ]
    assert "score_by_memory" not in of_rows(tmp_path, *rows)


def test_gpu_hours_are_time_by_the_share_of_a_gpu_and_only_of_rows_from_one(tmp_path: Path) -> None:
    shares = {2: 0.5, 4: None, 8: 1.0, 16: 0.25}
    rows = [made_row(hits_of_share(0.02 * r), lora_r=r,
                     more={"total_seconds": 3600.0 * r, "gpu_share": share, "device_memory_gb": 24.0})
            for r, share in shares.items()]  # fmt: skip
    rows.append(made_row(hits_of_share(0.5), lora_r=32))
    found = of_rows(tmp_path, *rows)["score_by_gpu_hours"]
    assert sorted(row["cost"] for row in found.rows) == [1.0, 4.0, 4.0, 8.0] and "GPU hours" in found.title
    assert gpu_hours(rows[-1]) is None


def test_cells_of_r_and_alpha_know_their_convention(shown: tuple[Panel, Study]) -> None:
    rows = by_name(*shown)["map_lora_lora_r_lora_alpha"].rows
    found = {(row["one"], row["other"]): row["diagonal"] for row in rows}
    assert found == {("4", "8"): "alpha = 2r", ("4", "16"): "", ("8", "8"): "alpha = r", ("8", "16"): "alpha = 2r"}


def test_a_cell_shows_its_interval_where_there_is_one(shown: tuple[Panel, Study], tmp_path: Path) -> None:
    figure = by_name(*shown)["map_lora_lora_r_lora_alpha"]
    row = figure.rows[0]
    assert row["interval"] == f"[{row['low']:.1f}, {row['high']:.1f}]" and "In brackets: 95 %" in figure.caption
    assert row["interval"] in drawn(figure)["svg"].decode()
    losses = [
        made_row(more={"test_loss": 1 + 0.1 * r + 0.01 * a}, lora_r=r, lora_alpha=a) for r in (2, 4) for a in (8, 16)
    ]
    plain = of_rows(tmp_path, *losses)["map_lora_r_lora_alpha"]
    assert {row["interval"] for row in plain.rows} == {""} and "In brackets" not in plain.caption


def test_a_cell_shows_the_condition_that_validation_chose(tmp_path: Path) -> None:
    rows = [
        made_row(hits_of_share(share), more={"best_eval_loss": loss}, lora_r=r, lora_alpha=alpha, learning_rate=rate)
        for r in (2, 4) for alpha in (8, 16) for rate, share, loss in ((1e-4, 0.2, 0.5), (1e-3, 0.8, 0.9))
    ]  # fmt: skip
    cells = of_rows(tmp_path, *rows)["map_lora_r_lora_alpha"].rows
    assert {(row["value"], row["trials"]) for row in cells} == {(20.0, 2)}


def test_the_best_rate_of_a_line_is_the_one_of_validation(shown: tuple[Panel, Study]) -> None:
    rows = [row for row in by_name(*shown)["learning_rate"].rows if row["score"] == "EM@10, %"]
    assert {row["place"] for row in rows if row["optimum"]} == {1e-3}
    assert len({row["group"] for row in rows}) == 4


def test_main_effects_are_those_of_the_largest_complete_grid_where_runs_failed(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    failed = {(8, 1e-2, 1), (16, 1e-2, 1), (16, 1e-2, 2), (4, 1e-4, 2)}  # rank, rate and seed
    for rank, rate, seed in product((4, 8, 16, 32), (1e-4, 1e-3, 3e-3, 1e-2), (1, 2)):
        hits = hits_of_share(0.2 + 0.1 * (rate > 5e-4) + 0.01 * rank)
        status = "failed" if (rank, rate, seed) in failed else "ok"
        add_row(store, made_row(hits, status=status, lora_r=rank, learning_rate=rate, seed=seed))
    study = open_study([str(tmp_path)])
    found = by_name(panels(study)[0], study)["effects"]
    assert "over 9 conditions, a complete grid" in found.caption
    assert ("Of 15 conditions are left out: 4 so that the others are a complete grid (lr 0.01, r 4) and "
            "2 that did not run with 2 seeds.") in found.caption  # fmt: skip
    assert sum(row["share"] for row in found.rows) == pytest.approx(100, abs=0.01)


def test_two_methods_agree_and_differ_on_counted_examples(shown: tuple[Panel, Study]) -> None:
    rows = [row for row in by_name(*shown)["agreement"].rows if row["pair"] == "lora | icl"]
    counts = {row["outcome"]: row["examples"] for row in rows}
    assert counts == {"both right": 8, "only the first": 15, "only the second": 0, "neither": 17}


def test_curves_mark_the_checkpoint_that_is_tested(shown: tuple[Panel, Study]) -> None:
    rows = by_name(*shown)["learning_curves"].rows
    assert {row["step"] for row in rows if row["best"]} == {20}
    assert {row["score"] for row in rows} == {"validation loss, nats per token", "training loss, nats per token"}


def test_no_number_in_the_data_is_infinite(tmp_path: Path) -> None:
    rows = [made_row(hits_of_share(0.1 * r), more={"best_eval_loss": loss}, lora_r=r)
            for r, loss in ((2, 0.5), (4, float("nan")), (8, float("inf")))]  # fmt: skip
    for figure in of_rows(tmp_path, *rows).values():
        assert "nan" not in str(figure.spec()).lower() and "inf" not in str(figure.spec()["datasets"]).lower()


@pytest.mark.parametrize(("given", "ordered"), [
    (["32", "4", "8"], ["4", "8", "32"]),
    (["r 32, alpha 16", "r 2, alpha 16", "r 2, alpha 4"], ["r 2, alpha 4", "r 2, alpha 16", "r 32, alpha 16"]),
    (["lora", "full"], ["lora", "full"]),
    (["lora r 8", "full", "lora r 128", "lora r 2"], ["lora r 2", "lora r 8", "lora r 128", "full"]),
])  # fmt: skip
def test_texts_are_ordered_by_their_numbers(given: list[str], ordered: list[str]) -> None:
    assert in_order(given) == ordered


def test_the_best_line_of_parallel_coordinates_lies_on_top_and_a_missing_field_is_explained(
    shown: tuple[Panel, Study],
) -> None:
    figure = by_name(*shown)["parallel_coordinates"]
    assert figure.rows[0]["rank"] == max(row["rank"] for row in figure.rows) and figure.rows[-1]["rank"] == 0
    assert "–: the field does not apply" in figure.caption


def test_labels_of_an_axis_are_left_out_only_where_they_would_touch() -> None:
    rates = [1e-5, 5e-5, 1e-4, 2e-4, 3e-4, 1e-3, 3e-3]
    assert labelled(rates, True) == [1e-5, 5e-5, 1e-4, 3e-4, 1e-3, 3e-3]
    assert labelled([1.0, 4.0, 8.0, 16.0], False) == [1.0, 4.0, 8.0, 16.0] and labelled([0.0], False) == [0.0]


def test_score_against_shots_has_one_line_for_each_retriever(tmp_path: Path) -> None:
    rows = [made_row(hits_of_share(0.05 * shots), tuning_method="icl", num_shots=shots) for shots in (1, 4)]
    rows += [
        made_row(hits_of_share(0.1 * shots), tuning_method="rag", num_shots=shots, embedding_model=name)
        for shots in (1, 4) for name in ("bm25", "toy")
    ]  # fmt: skip
    drawn_rows = of_rows(tmp_path, *rows)["num_shots"].rows
    assert {row["group"] for row in drawn_rows} == {"icl", "rag retriever bm25", "rag retriever toy"}
    assert not any(row["optimum"] for row in drawn_rows), "without validation there is no optimum to mark"


def test_weights_of_two_revisions_are_no_points_of_one_line(tmp_path: Path) -> None:
    rows = [
        made_row(hits_of_share(0.1 * shots), tuning_method="icl", num_shots=shots, model_revision=step)
        for shots in (1, 4) for step in ("step1000", "step2000")
    ]  # fmt: skip
    drawn_rows = of_rows(tmp_path, *rows)["num_shots"].rows
    assert {row["group"] for row in drawn_rows} == {"model_revision step1000", "model_revision step2000"}


def test_the_optimum_of_a_line_has_an_interval_where_it_lies_inside(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for seed in (1, 2, 3):
        for rate, loss in ((1e-4, 1.2), (1e-3, 1.0), (1e-2, 1.2)):
            for rank in (4, 8):  # the best rate of rank 8 is the highest
                more = {"test_loss": loss + 0.001 * seed if rank == 4 else 1.0 / (1 + rate), "best_eval_loss": loss}
                add_row(store, made_row(more=more, lora_r=rank, learning_rate=rate, seed=seed))
    study = open_study([str(tmp_path)])
    (panel,) = panels(study)
    found = by_name(panel, study)["learning_rate"]
    (optimum,) = [each for each in found.extra["optima"] if each["score"].startswith("test loss")]
    assert optimum["group"] == "r 4" and 0.6e-3 < optimum["low"] < 1e-3 < optimum["high"] < 1.7e-3
    assert "Bars above the plot" in found.caption
    assert drawn(found)["optima.csv"].decode().splitlines()[1].startswith('r 4,"test loss')


def test_a_line_whose_second_seed_has_only_begun_has_no_bar(tmp_path: Path) -> None:
    rows = [made_row(more={"test_loss": loss}, learning_rate=rate, seed=seed)
            for rate, loss, seeds in ((1e-5, 1.4, 2), (1e-4, 1.2, 1), (1e-3, 1.0, 1), (1e-2, 1.2, 1))
            for seed in range(seeds)]  # fmt: skip
    assert not of_rows(tmp_path, *rows)["learning_rate"].extra


def test_bars_of_optima_end_at_the_values_that_were_tried_and_lie_one_below_the_other(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for rank, rate, seed in product((4, 8), (1e-4, 1e-3, 1e-2), (1, 2)):  # a flat curve has its optimum anywhere
        loss = 1.0 + (0.01 if rate != 1e-3 else 0.0) + 0.05 * (seed - 1)
        add_row(store, made_row(more={"test_loss": loss}, lora_r=rank, learning_rate=rate, seed=seed))
    study = open_study([str(tmp_path)])
    optima = by_name(panels(study)[0], study)["learning_rate"].extra["optima"]
    assert all(each["low"] * 1.0001 >= 1e-4 and each["high"] <= 1e-2 * 1.0001 for each in optima)
    assert [(each["group"], each["above"]) for each in optima] == [("r 4", -16), ("r 8", -8)]
