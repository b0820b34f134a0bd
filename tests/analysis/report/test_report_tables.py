"""The tables, and the files that are made of them."""

import csv
import io
from pathlib import Path

import pytest
from report_folders import add_row, hits_of_share, made_row, store_at

from raypeft.analysis.report.exports import latex, markdown, table_csv
from raypeft.analysis.report.panels import Panel, panels
from raypeft.analysis.report.study import Study, open_study
from raypeft.analysis.report.table import Line, Table, TableColumn
from raypeft.analysis.report.tables import results, tables, unscored
from raypeft.analysis.report.ties import PAIRED


def by_name(panel: Panel, study: Study) -> dict[str, Table]:
    return {each.name: each for each in tables(panel, study)}


def column(table: Table, title: str) -> list[str]:
    place = [each.title for each in table.columns].index(title)
    return [line.cells[place] for line in table.lines]


def of_rows(folder: Path, *rows: dict) -> dict[str, Table]:
    store = store_at(folder)
    for row in rows:
        add_row(store, row)
    study = open_study([str(folder)])
    return by_name(panels(study)[0], study)


def test_one_line_a_condition_best_first_with_interval_and_marks(shown: tuple[Panel, Study]) -> None:
    table = by_name(*shown)["results_toy"]
    assert len(table.lines) == 10 and column(table, "seeds")[0] == "2"
    assert column(table, "EM@10 [95 %]")[0] == "57.5 [47.5, 67.5]"
    assert table.lines[0].marks[0] == "best" and sum("chosen" in line.marks for line in table.lines) == 1


def test_lines_that_nobody_is_shown_are_counted_and_not_made(shown: tuple[Panel, Study]) -> None:
    (whole,), (table,) = results(*shown), results(*shown, most=3)
    assert table.lines == whole.lines[:3] and table.left_out == 7 and whole.left_out == 0
    assert (table.caption, table.columns) == (whole.caption, whole.columns)


def test_the_best_is_the_choice_of_validation_and_not_the_highest_on_test(tmp_path: Path) -> None:
    rows = [made_row(hits_of_share(share), more={"best_eval_loss": loss}, learning_rate=rate)
            for rate, share, loss in ((1e-4, 0.5, 0.5), (1e-3, 0.6, 0.9))]  # fmt: skip
    table = of_rows(tmp_path, *rows)["results_toy"]
    assert [line.marks for line in table.lines] == [("best_on_test",), ("best", "tied", "chosen")]
    assert "best: of all, validation chose it (by validation loss)." in table.caption
    assert "**lora**†*" in markdown(table) and "| lora‡ |" in markdown(table)


def test_a_table_says_that_validation_chose_nothing(tmp_path: Path) -> None:
    rows = [
        made_row(hits_of_share(share), tuning_method="icl", num_shots=shots) for shots, share in ((1, 0.2), (4, 0.5))
    ]
    table = of_rows(tmp_path, *rows)["results_toy"]
    assert "Nothing was chosen on validation." in table.caption and "best_on_test" in table.lines[0].marks
    assert not any("best" in line.marks for line in table.lines)


def test_a_setting_that_all_conditions_share_moves_to_the_caption(tmp_path: Path) -> None:
    rows = [made_row(hits_of_share(0.1 * r), lora_r=r, num_train_epochs=3) for r in (2, 4)]
    table = of_rows(tmp_path, *rows)["results_toy"]
    assert "epochs 3" in table.caption and sorted(column(table, "settings")) == ["r 2", "r 4"]


def test_several_seeds_have_a_table_of_single_trials(shown: tuple[Panel, Study], tmp_path: Path) -> None:
    assert len(by_name(*shown)["trials_toy"].lines) == 19
    assert "trials_toy" not in of_rows(tmp_path, made_row(hits_of_share(0.5)))


def test_single_trials_with_other_shots_are_told_apart_by_the_seed_of_their_shots(tmp_path: Path) -> None:
    rows = [made_row(hits_of_share(0.5), tuning_method="icl", num_shots=2, icl_seed=seed) for seed in (1, 2)]
    assert sorted(column(of_rows(tmp_path, *rows)["trials_toy"], "seed")) == ["42, shots 1", "42, shots 2"]


def test_trials_without_scores_are_listed_with_their_reasons(shown: tuple[Panel, Study]) -> None:
    table = unscored(shown[1])
    assert table and column(table, "status") == ["failed", "oom"]
    assert column(table, "reason") == ["ValueError: <b>no</b>", "out of memory"]


def test_a_study_without_failures_has_no_such_table(tmp_path: Path) -> None:
    add_row(store_at(tmp_path), made_row(hits_of_share(0.5)))
    assert unscored(open_study([str(tmp_path)])) is None


def test_the_paper_stands_beside_the_same_model_method_and_dataset(tmp_path: Path) -> None:
    fields = {"model": "codet5p-220m", "dataset": "conala", "tuning_method": "lora"}
    more = {"em_at_10_paper": 0.15, "em_at_10_paper_low": 0.1, "em_at_10_paper_high": 0.2}
    table = of_rows(tmp_path, made_row(hits_of_share(0.2), more=more, **fields))["paper_conala"]
    lines = {line.cells[3]: line.cells[4:] for line in table.lines}
    assert lines["EM@10"] == ("15.0 [10.0, 20.0]", "12.71", "+2.3", "yes", "Table 3", table.lines[0].id)
    assert lines["CodeBLEU"][1:4] == ("18.96", "-9.0", "")


def test_the_paper_stands_beside_the_interval_of_the_results_table(tmp_path: Path) -> None:
    fields = {"model": "codet5p-220m", "dataset": "conala", "tuning_method": "lora"}
    rows = [made_row(hits_of_share(share), seed=seed, **fields) for seed, share in ((1, 0.1), (2, 0.2), (3, 0.3))]
    found = of_rows(tmp_path, *rows)
    assert found["paper_conala"].lines[0].cells[4] == column(found["results_conala"], "EM@10 [95 %]")[0]
    assert found["paper_conala"].lines[0].cells[4] == "20.0 [0.0, 44.8]"


def test_a_condition_of_two_folders_names_both(tmp_path: Path) -> None:
    for name, seeds in (("one", (1,)), ("two", (2, 3))):
        for seed in seeds:
            add_row(store_at(tmp_path / name), {**made_row(hits_of_share(0.5), seed=seed), "sweep": name})
    study = open_study([str(tmp_path / "one"), str(tmp_path / "two")])
    assert column(by_name(panels(study)[0], study)["results_toy"], "sweep") == ["one, two"]


@pytest.mark.parametrize("other", [
    {"model": "SmolLM2-135M"}, {"dataset": "toy"}, {"tuning_method": "icl", "num_shots": 4}, {"test_limit": 100},
])  # fmt: skip
def test_the_paper_is_not_beside_anything_else(tmp_path: Path, other: dict) -> None:
    fields = {"model": "codet5p-220m", "dataset": "conala", "tuning_method": "lora", **other}
    assert not any(name.startswith("paper_") for name in of_rows(tmp_path, made_row(hits_of_share(0.2), **fields)))


def test_of_icl_only_the_best_of_several_numbers_of_shots_is_beside_the_paper(tmp_path: Path) -> None:
    fields = {"model": "CodeLlama-7b-hf", "dataset": "conala", "tuning_method": "icl"}
    rows = [made_row(hits_of_share(share), num_shots=shots, **fields) for shots, share in ((4, 0.3), (8, 0.2))]
    table = of_rows(tmp_path / "two", *rows)["paper_conala"]
    assert [line.cells[2:6] for line in table.lines] == [("shots 4", "EM@10", "30.0 [20.0, 40.0]", "29.83")]
    assert "the best of several numbers of shots" in table.caption
    assert "paper_conala" not in of_rows(tmp_path / "one", rows[0])


def test_csv_has_plain_numbers(shown: tuple[Panel, Study]) -> None:
    rows = list(csv.DictReader(io.StringIO(table_csv(by_name(*shown)["results_toy"]))))
    assert float(rows[0]["em_at_10"]) == 0.575 and float(rows[0]["em_at_10_low"]) == pytest.approx(0.475)
    assert len(rows) == 10 and len(rows[0]["ids"].split()) == 2


def test_a_markdown_table_is_one_that_a_markdown_reader_knows(shown: tuple[Panel, Study]) -> None:
    markdown_it = pytest.importorskip("markdown_it")
    html = markdown_it.MarkdownIt("commonmark").enable("table").render(markdown(by_name(*shown)["results_toy"]))
    assert html.count("<table>") == 1 and html.count("<tr>") == 11


def test_every_score_with_known_bounds_shows_them(tmp_path: Path) -> None:
    rows = [made_row(hits_of_share(0.5), more={"test_loss": 0.5 + seed / 10}, seed=seed) for seed in (1, 2, 3)]
    table = of_rows(tmp_path, *rows)["results_toy"]
    assert column(table, "test loss [95 %]")[0].startswith("0.700 [0.")
    assert column(table, "EM@1 [95 %]")[0].startswith("50.0 [") and "[95 %]: over seeds." in table.caption


def test_conditions_with_losses_alone_are_tied_where_three_seeds_give_intervals(tmp_path: Path) -> None:
    rows = [made_row(more={"test_loss": 0.5 + seed / 10 + rank / 1000}, seed=seed, lora_r=rank)
            for seed in (1, 2, 3) for rank in (2, 4)]  # fmt: skip
    assert "tied" in of_rows(tmp_path, *rows)["results_toy"].lines[1].marks


AWKWARD = Table("t", "a_b", "50 % & more.", (TableColumn("x|y", False), TableColumn("n")), (
    Line(("a|b\nc {d}", "1"), (), "", ("best",)), Line(("~^\\", "2"), (), "", ("tied", "chosen"))))  # fmt: skip


def test_latex_escapes_what_is_special_and_uses_booktabs() -> None:
    text = latex(AWKWARD)
    assert r"\toprule" in text and r"\caption{a\_b. 50 \% \& more." in text
    assert r"\textbf{a\textbar{}b c \{d\}} & \textbf{1} \\" in text
    assert (
        r"\textasciitilde{}\textasciicircum{}\textbackslash{}\textsuperscript{\dag}\textsuperscript{*} & 2 \\" in text
    )


def test_latex_has_no_sign_of_ours_that_pdflatex_lacks_or_prints_as_another_one() -> None:
    line = Line(("toy->odex", "template <|user|>"), (), "", ("tied",))
    text = latex(Table("t", "Results", f"tied ({PAIRED}).", (TableColumn("data"), TableColumn("settings")), (line,)))
    assert r"p $\geq$ 0.05 after Holm" in text
    assert r"toy-\textgreater{}odex\textsuperscript{\dag} & " in text
    assert r"template \textless{}\textbar{}user\textbar{}\textgreater{} \\" in text
    assert text.isascii()


def test_markdown_keeps_a_cell_on_its_line() -> None:
    lines = markdown(AWKWARD).splitlines()
    assert lines[2:] == ["| x\\|y | n |", "| --- | ---: |", "| **a\\|b c {d}** | **1** |", "| ~^\\†* | 2 |"]


def test_a_table_says_what_was_trained_on_where_it_was_another_dataset(tmp_path: Path) -> None:
    rows = [made_row(hits_of_share(share), dataset=data, test_dataset="conala")
            for data, share in (("conala", 0.5), ("toy", 0.3))]  # fmt: skip
    table = of_rows(tmp_path, *rows)["results_conala"]
    assert column(table, "trained on") == ["conala", "toy"]
    assert [(line.values["dataset"], line.values["test_dataset"]) for line in table.lines] == [
        ("conala", "conala"), ("toy", "conala")]  # fmt: skip


def test_the_paper_is_not_put_beside_a_trial_that_was_trained_on_another_dataset(tmp_path: Path) -> None:
    fields = {"model": "codet5p-220m", "test_dataset": "conala"}
    rows = [made_row(hits_of_share(0.5), dataset=data, **fields) for data in ("conala", "toy")]
    assert len(of_rows(tmp_path, rows[0])) > len(of_rows(tmp_path / "other", rows[1]))
