"""The report on a terminal: it names what the page names, within the terminal's width."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from report_folders import add_row, hits_of_share, made_row, store_at, write_plan
from rich.console import Console

from raypeft.analysis.report.panels import Panel, panels
from raypeft.analysis.report.printed import markdown_report, print_report
from raypeft.analysis.report.study import Study, open_study
from raypeft.analysis.report.tables import results


def printed(study: Study, width: int | None = None, most: int | None = 100) -> str:
    out = StringIO()
    console = Console(file=out, width=width or 80, force_terminal=width is not None, color_system=None)
    print_report(study, panels(study), most, console)
    return out.getvalue()


def of_rows(folder: Path, *rows: dict[str, Any]) -> Study:
    store = store_at(folder)
    for row in rows:
        add_row(store, row)
    return open_study([str(folder)])


def test_its_lines_are_those_of_the_page_in_their_order(shown: tuple[Panel, Study]) -> None:
    (table,) = results(*shown)
    text = printed(shown[1])
    places = [text.index(line.cells[-1]) for line in table.lines]
    assert places == sorted(places) and "Validation chose lora lr 0.001, r 4, alpha 16" in text
    every = markdown_report(shown[1], [shown[0]])
    assert every.index(table.lines[0].cells[-1]) < every.index(table.lines[1].cells[-1])
    assert "Trials without scores" in every and "ValueError: <b>no</b>" in every


def test_memory_is_the_allocated_one_as_in_the_page(tmp_path: Path) -> None:
    more = {"peak_memory_allocated_gb": 1.25, "peak_memory_reserved_gb": 7.5}
    text = printed(of_rows(tmp_path, made_row(hits_of_share(0.5), more=more)))
    assert "1.25" in text and "7.5" not in text


def test_marks_and_warnings_stand_in_it(shown: tuple[Panel, Study]) -> None:
    text = printed(shown[1])
    (best,) = (line for line in text.splitlines() if line.startswith(" lora") and " best " in line)
    assert "lr 0.001, r 4, alpha 16" in best
    assert "tied" in text and "warning: few seeds: 9 of 9 trained conditions" in text


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("most", [None, 100], ids=["all", "short"])
def test_no_line_is_wider_than_the_terminal(shown: tuple[Panel, Study], width: int, most: int | None) -> None:
    lines = printed(shown[1], width, most).splitlines()
    assert max(map(len, lines)) <= width
    assert any("57.5 [47.5, 67.5]" in line for line in lines), "the score that orders keeps its interval"


def test_a_narrow_terminal_says_which_columns_it_has_no_room_for(shown: tuple[Panel, Study]) -> None:
    assert "no room here for the columns " in printed(shown[1], 80) and "no room" not in printed(shown[1], 250)


def test_all_shows_ids_where_a_narrow_terminal_does_not_and_single_trials(shown: tuple[Panel, Study]) -> None:
    panel, study = shown
    ids = panel.ranked[0].condition.ids
    second = panel.ranked[0].condition.rows[1]["id"]
    assert ids not in printed(study, 80) and ids in printed(study, 80, most=None)
    assert second in printed(study, most=None) and second not in printed(study)


def test_a_folder_without_rows_says_so(tmp_path: Path) -> None:
    write_plan(store_at(tmp_path), ["a", "b"])
    (tmp_path / "trials").mkdir(exist_ok=True)
    assert "0 of 2 trials: no trial has a row yet" in printed(open_study([str(tmp_path)]))


def test_of_many_warnings_the_first_are_printed(tmp_path: Path) -> None:
    rows = [made_row(hits_of_share(0.5), more={"test_too_long": count}, lora_r=count) for count in range(1, 21)]
    study = of_rows(tmp_path, *rows)
    assert "more warnings (raypeft report RESULTS --all shows all)" in printed(study)
    assert printed(study, most=None).count("test prompts do not fit") == 20 > printed(study).count("do not fit")
