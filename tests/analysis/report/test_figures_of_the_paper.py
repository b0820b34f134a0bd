"""The kinds of Figures 1, 5 and 7 of arXiv 2308.10462: what each shows, and where it is not shown."""

from pathlib import Path
from typing import Any

import pytest
from report_folders import add_row, hits_of_share, made_row, store_at

from raypeft.analysis.report.exports import drawn
from raypeft.analysis.report.figures import figures
from raypeft.analysis.report.figures.figure import Figure
from raypeft.analysis.report.page import make_page
from raypeft.analysis.report.panels import panels
from raypeft.analysis.report.study import open_study

CONALA = {"dataset": "conala"}
SEVEN, THIRTEEN, THIRTY_FOUR = (f"CodeLlama-{size}b-Python-hf" for size in (7, 13, 34))


def of_rows(folder: Path, *rows: dict[str, Any]) -> dict[str, Figure]:
    store = store_at(folder)
    for row in rows:
        add_row(store, row)
    study = open_study([str(folder)])
    return {each.name: each for each in figures(panels(study)[0], study)}


def with_peak(model: str, method: str, training: float, whole: float, **fields: Any) -> dict[str, Any]:
    more = {"train_peak_memory_allocated_gb": training, "peak_memory_allocated_gb": whole, "gpu_memory_gb": 24.0}
    return made_row(hits_of_share(0.3), more=more, model=model, tuning_method=method, **{**CONALA, **fields})


def of_memory(folder: Path) -> Figure:
    """Two trials that were measured, one that ran out of memory, and one that was only planned."""
    return of_rows(
        folder,
        with_peak("CodeLlama-7b-hf", "lora", 18.0, 20.0),
        with_peak("codet5p-220m", "full", 3.0, 3.5),
        made_row(status="oom", more={"peak_memory_allocated_gb": 23.0, "predicted_peak_memory_gb": 22.0},
                 model=THIRTY_FOUR, tuning_method="qlora_4bit", **CONALA),
        made_row(status="infeasible", more={"predicted_peak_memory_gb": 60.0}, model="CodeLlama-7b-hf",
                 tuning_method="full", **CONALA),
    )["peak_memory"]  # fmt: skip


def test_peaks_are_ordered_and_say_whether_they_were_measured(tmp_path: Path) -> None:
    found = [(row["bar"], row["peak"], row["text"], row["state"]) for row in of_memory(tmp_path).rows
             if row["state"] != "published"]  # fmt: skip
    assert found == [
        ("codet5p-220m: full", 3.5, "3.5", "measured"),
        ("CodeLlama-7b-hf: lora", 20.0, "20", "measured"),
        (f"{THIRTY_FOUR}: qlora_4bit, ran out", 23.0, "ran out at 23", "out of memory"),
        ("CodeLlama-7b-hf: full, predicted", 60.0, "60 predicted", "predicted"),
    ]


def test_a_trial_that_ran_out_of_memory_stands_beside_one_of_its_method_that_ended(tmp_path: Path) -> None:
    rows = [with_peak("toy", "lora", 5.0, 6.0, dataset="toy"), with_peak("toy", "full", 5.0, 9.0, dataset="toy")]
    out = made_row(status="oom", more={"peak_memory_allocated_gb": 11.0}, model="toy", lora_r=64)
    unknown = made_row(status="oom", model="toy", lora_r=128)
    too_large = made_row(status="infeasible", more={"predicted_peak_memory_gb": 30.0}, model="toy", lora_r=256)
    figure = of_rows(tmp_path, *rows, out, unknown, too_large)["peak_memory"]
    assert [(row["bar"], row["peak"], row["settings"]) for row in figure.rows] == [
        ("full", 9.0, ""),
        ("lora", 6.0, "r 16"),
        ("lora, ran out", 11.0, "r 64"),
        ("lora, predicted", 30.0, "r 256"),
    ]
    assert "1 trial ran out of memory and noted no peak" in figure.caption


def test_only_trials_that_ended_measured_their_peak(tmp_path: Path) -> None:
    rows = [with_peak("toy", method, 1.0, peak, dataset="toy") for method, peak in (("lora", 2.0), ("full", 3.0))]
    broken = {**with_peak("toy", "lora", 7.0, 8.0, dataset="toy", lora_r=64), "status": "failed"}
    figure = of_rows(tmp_path, *rows, broken)["peak_memory"]
    assert [(row["bar"], row["peak"]) for row in figure.rows] == [("lora", 2.0), ("full", 3.0)]


def of_published(figure: Figure) -> list[tuple[Any, ...]]:
    return [(row["bar"], row["paper_gb"], row["paper"]) for row in figure.rows if row["state"] == "published"]


def test_published_peaks_are_lines_of_their_own_in_gib_with_what_is_not_known(tmp_path: Path) -> None:
    figure = of_memory(tmp_path)
    assert of_published(figure) == [
        ("CodeT5+-220M: full, the paper", 3.54, pytest.approx(3.297, abs=1e-3)),
        ("CodeLlama-7B: variant not named: lora, the paper", 19.06, pytest.approx(17.751, abs=1e-3)),
        ("CodeLlama-34B: variant not named: qlora_4bit, the paper", 23.59, pytest.approx(21.970, abs=1e-3)),
    ]
    assert {row["paper"] for row in figure.rows if row["state"] != "published"} == {None}, "none is on a bar of ours"
    assert (
        "converted from GB (10^9 bytes) to GiB" in figure.caption
        and "nor which variant of CodeLlama it was" in figure.caption
    )
    titles = {each["encoding"]["x"].get("title") for each in figure.spec()["layer"] if "x" in each["encoding"]}
    assert any("GiB" in (title or "") for title in titles)


def test_two_variants_of_a_model_have_one_published_peak_after_them(tmp_path: Path) -> None:
    rows = [with_peak(model, "lora", 18.0, peak) for model, peak in (("CodeLlama-7b-hf", 20.0), (SEVEN, 21.0))]
    figure = of_rows(tmp_path, *rows)["peak_memory"]
    assert [row["model"] for row in figure.rows] == ["CodeLlama-7b-hf", SEVEN, "CodeLlama-7B, variant not named"]


@pytest.mark.parametrize("other", [
    {"dataset": "codealpacapy"}, {"per_device_train_batch_size": 4}, {"limit": 100}, {"num_shots": 4},
])  # fmt: skip
def test_a_published_peak_does_not_vanish_where_a_trial_was_run_otherwise(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    rows = [with_peak("CodeLlama-7b-hf", "lora", 18.0, 20.0, **other), with_peak("toy", "full", 3.0, 3.5, **other)]
    figure = of_rows(tmp_path, *rows)["peak_memory"]
    assert len(of_published(figure)) == 1 and "Do not read it as a comparison" in figure.caption
    assert {row["batch"] for row in figure.rows if row["bar"] == "CodeLlama-7b-hf: lora"} == {
        other.get("per_device_train_batch_size", 8)}  # fmt: skip


def test_without_a_published_peak_the_caption_speaks_of_none(tmp_path: Path) -> None:
    rows = [with_peak("toy", method, 3.0, 3.5) for method in ("lora", "full")]
    assert "paper" not in of_rows(tmp_path, *rows)["peak_memory"].caption


def test_a_sweep_that_ran_out_of_memory_altogether_has_its_figure(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for method, peak in (("lora", 23.0), ("full", 23.5)):
        more = {"peak_memory_allocated_gb": peak, "gpu_memory_gb": 24.0, "error": "out of memory"}
        add_row(store, made_row(status="oom", more=more, tuning_method=method))
    page = make_page(open_study([str(tmp_path)]))
    ((name, figure),) = page.figures
    assert name == "peak_memory_toy" and [row["bar"] for row in figure.rows] == ["lora", "full"]
    assert "Solid" not in figure.caption and "ran out" in figure.caption
    assert drawn(figure)["svg"].count(b"budget 24 GiB") > 0


def test_the_budget_is_a_line(tmp_path: Path) -> None:
    figure = of_memory(tmp_path)
    assert figure.extra == {"budgets": [{"gb": 24.0, "text": "budget 24 GiB"}]}
    assert drawn(figure)["svg"].count(b"budget 24 GiB") > 0


@pytest.mark.parametrize(("budget", "lines"), [(12.0, 1), (80.0, 0)])
def test_the_axis_reaches_a_budget_that_is_not_far_beyond_the_bars(tmp_path: Path, budget: float, lines: int) -> None:
    rows = [with_peak("toy", method, gb, gb) for method, gb in (("lora", 1.5), ("full", 2.5))]
    figure = of_rows(tmp_path, *({**row, "gpu_memory_gb": budget} for row in rows))["peak_memory"]
    assert len(figure.extra.get("budgets", ())) == lines == figure.caption.count("Vertical line")
    (domain,) = {tuple(each["encoding"]["x"]["scale"]["domain"]) for each in figure.spec()["layer"]
                 if "scale" in each["encoding"].get("x", {})}  # fmt: skip
    assert domain == pytest.approx((0, 12.6 if lines else 3.0))


def test_a_peak_that_is_no_number_is_left_out(tmp_path: Path) -> None:
    rows = [with_peak("toy", method, gb, gb) for method, gb in
            (("lora", 1.5), ("full", float("nan")), ("ia3", 1.0), ("qlora_4bit", float("inf")))]  # fmt: skip
    assert [row["bar"] for row in of_rows(tmp_path, *rows)["peak_memory"].rows] == ["ia3", "lora"]


def test_of_several_trials_the_dearest_is_shown(tmp_path: Path) -> None:
    rows = [with_peak("toy", "lora", 1.0, 1.0 + r, lora_r=r, dataset="toy") for r in (2, 4)]
    rows.append(with_peak("toy", "full", 5.0, 6.0, dataset="toy"))
    assert [row["peak"] for row in of_rows(tmp_path, *rows)["peak_memory"].rows] == [5.0, 6.0]


@pytest.mark.parametrize("peaks", [(20.0,), (None, None)], ids=["one bar", "on a CPU"])
def test_without_two_peaks_there_is_no_figure_of_memory(tmp_path: Path, peaks: tuple[float | None, ...]) -> None:
    rows = [
        made_row(hits_of_share(0.3), more={"peak_memory_allocated_gb": peak}, tuning_method=method)
        for method, peak in zip(("lora", "full"), peaks, strict=False)
    ]
    assert "peak_memory" not in of_rows(tmp_path, *rows)


def quantized(folder: Path) -> dict[str, Figure]:
    shares = {(SEVEN, "lora"): 0.35, (SEVEN, "qlora_4bit"): 0.4, (THIRTEEN, "qlora_8bit"): 0.375,
              (THIRTEEN, "qlora_4bit"): 0.375, (THIRTY_FOUR, "qlora_4bit"): 0.425}  # fmt: skip
    rows = [made_row(hits_of_share(share), model=model, tuning_method=method, **CONALA)
            for (model, method), share in shares.items()]  # fmt: skip
    return of_rows(folder, *rows)


def test_quantised_weights_stand_model_by_model_beside_the_published_values(tmp_path: Path) -> None:
    rows = quantized(tmp_path)["quantization"].rows
    assert [(row["model"], row["group"], row["value"], row["paper"]) for row in rows] == [
        (SEVEN, "lora", 35.0, 36.28), (SEVEN, "qlora_4bit", 40.0, 38.5), (THIRTEEN, "qlora_8bit", 37.5, 37.8),
        (THIRTEEN, "qlora_4bit", 37.5, 38.1), (THIRTY_FOUR, "qlora_4bit", 42.5, 40.7)]  # fmt: skip
    assert [row["place"] for row in rows] == [0, 1, 3, 4, 6], "a gap after each model"


def test_what_one_figure_shows_is_not_shown_twice(tmp_path: Path) -> None:
    assert "best_of_each_method" not in quantized(tmp_path)


def test_models_without_quantised_weights_are_not_in_that_figure(tmp_path: Path) -> None:
    rows = [made_row(hits_of_share(0.4), model=model, tuning_method=method, **CONALA)
            for model, method in ((SEVEN, "lora"), (SEVEN, "qlora_4bit"), ("codegen2-1B", "lora"))]  # fmt: skip
    found = of_rows(tmp_path, *rows)
    assert {row["model"] for row in found["quantization"].rows} == {SEVEN}
    assert {row["model"] for row in found["best_of_each_method"].rows} == {SEVEN, "codegen2-1B"}


def of_methods(folder: Path, validated: bool = False) -> Figure:
    """LoRA, LoRA with shots, and ICL with three numbers of shots; validation would choose the worst one."""
    model = {"model": "CodeLlama-7b-hf", **CONALA}
    rows = [made_row(hits_of_share(0.4), **model), made_row(hits_of_share(0.5), num_shots=4, **model)]
    for shots, share in ((1, 0.1), (4, 0.3), (8, 0.2)):
        more = {"em_at_10_validation": 1 - share} if validated else {}
        rows.append(made_row(hits_of_share(share), more=more, tuning_method="icl", num_shots=shots, **model))
    return of_rows(folder, *rows)["best_of_each_method"]


def test_each_method_is_shown_at_its_best_beside_the_published_best(tmp_path: Path) -> None:
    figure = of_methods(tmp_path)
    assert [(row["group"], row["value"], row["paper"]) for row in figure.rows] == [
        ("lora", 40.0, 39.31), ("lora with shots", 50.0, None), ("icl", 30.0, 29.83)]  # fmt: skip
    assert "the best one on the test split, which is too high (icl)" in figure.caption
    assert "which may be another number than ours" in figure.caption


def test_validation_chooses_the_condition_of_a_method_where_it_can(tmp_path: Path) -> None:
    figure = of_methods(tmp_path, validated=True)
    assert [(row["value"], row["chosen"]) for row in figure.rows if row["group"] == "icl"] == [
        (10.0, "chosen on validation")]  # fmt: skip
    assert "the one that validation chose (icl)" in figure.caption and "too high" not in figure.caption


SHOTS = [
    made_row(hits_of_share(share), model="CodeLlama-7b-hf", tuning_method="icl", num_shots=shots, **CONALA)
    for shots, share in ((1, 0.1), (4, 0.3), (8, 0.2))
]


def test_a_number_of_shots_is_not_beside_the_best_number_of_the_paper(tmp_path: Path) -> None:
    zero = made_row(hits_of_share(0.1), model="CodeLlama-7b-hf", tuning_method="zero_shot", **CONALA)
    figure = of_rows(tmp_path, *SHOTS, zero)["scores"]
    assert {(row["method"], row["paper"]) for row in figure.rows if row["score"] == "EM@10, %"} == {
        ("icl", None), ("zero_shot", 7.73)}  # fmt: skip
    assert "ICL and RAG have no cross" in figure.caption


def test_one_number_of_shots_is_not_called_the_best_one(tmp_path: Path) -> None:
    lora = [made_row(hits_of_share(0.4), model=model, **CONALA) for model in ("CodeLlama-7b-hf", "toy")]
    figure = of_rows(tmp_path, *lora, SHOTS[0])["best_of_each_method"]
    assert {row["group"]: row["paper"] for row in figure.rows if row["model"] != "toy"} == {"lora": 39.31, "icl": None}
    assert "ICL and RAG" not in figure.caption


def test_trainings_on_another_dataset_are_methods_of_their_own(tmp_path: Path) -> None:
    rows = [made_row(hits_of_share(share), dataset=data, test_dataset="conala", tuning_method=method, model="toy")
            for data, share in (("conala", 0.5), ("toy", 0.3)) for method in ("lora", "full")]  # fmt: skip
    found = of_rows(tmp_path, *rows, made_row(hits_of_share(0.6), lora_r=8, **CONALA))["best_of_each_method"]
    assert [(row["group"], row["value"]) for row in found.rows] == [
        ("lora", 60.0), ("full", 50.0), ("lora, toy", 30.0), ("full, toy", 30.0)]  # fmt: skip


@pytest.mark.parametrize("rows", [
    [made_row(hits_of_share(0.4), lora_r=r) for r in (4, 8)],
    [made_row(hits_of_share(0.4), tuning_method=method) for method in ("lora", "full")],
    [made_row(more={"best_eval_loss": 1.0}, tuning_method=method, learning_rate=rate)
     for method in ("lora", "full") for rate in (1e-4, 1e-3)],
], ids=["one method", "one condition of each", "losses only"])  # fmt: skip
def test_there_is_no_figure_of_methods_where_it_would_say_nothing_new(tmp_path: Path, rows: list[dict]) -> None:
    found = of_rows(tmp_path, *rows)
    assert found and "best_of_each_method" not in found and "quantization" not in found


def test_each_is_drawn_with_its_data(tmp_path: Path) -> None:
    for figure, label in (
        (of_memory(tmp_path / "1"), b"CodeLlama-7b-hf"),
        (quantized(tmp_path / "5")["quantization"], SEVEN.encode()),
        (of_methods(tmp_path / "7"), b"lora with shots"),  # one model: each bar has its method's name
    ):
        files = drawn(figure)
        assert files["pdf"].startswith(b"%PDF") and files["png"].startswith(b"\x89PNG")
        assert files["csv"].count(b"\n") == len(figure.rows) + 1 and label in files["svg"]
