"""`raypeft report`: what it prints and writes."""

import subprocess
import sys
from pathlib import Path

import pytest
from report_folders import add_row, hits_of_share, made_row, store_at, write_plan

from raypeft.analysis.report import page as page_module
from raypeft.cli.report import main, report_lines


@pytest.fixture(autouse=True)
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The charts' library takes seconds to bundle, and these tests do not draw."""
    monkeypatch.setattr(page_module, "charts_script", lambda: "")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = store_at(tmp_path / "study")
    ids = [add_row(store, made_row(hits_of_share(share), lora_r=r)) for r, share in ((4, 0.3), (8, 0.5))]
    write_plan(store, [*ids, "missing"])
    return tmp_path / "study"


def test_the_table_is_printed_and_the_page_lies_in_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert "EM@10" in out and "2 of 3 trials" in out
    assert out.endswith(f"report: {folder}/report.html\n") and (folder / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("option", ["--no-html", "--markdown"])
def test_no_page_is_written_where_none_is_wanted(folder: Path, option: str) -> None:
    assert main([str(folder), option]) == 0
    assert not (folder / "report.html").exists()


def test_the_page_can_lie_elsewhere(folder: Path, tmp_path: Path) -> None:
    assert main([str(folder), "--html", str(tmp_path / "a" / "b.html")]) == 0
    assert (tmp_path / "a" / "b.html").exists() and not (folder / "report.html").exists()


def test_figures_and_tables_become_files(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), "--no-html", "--figures", str(tmp_path / "figures")]) == 0
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {f"scores.{ending}" for ending in ("svg", "png", "pdf", "csv")} <= names
    assert {f"results_toy.{ending}" for ending in ("csv", "tex", "md")} <= names
    assert f"{len(names)} files in" in capsys.readouterr().out


def test_several_folders_are_one_table_that_names_their_sweeps(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_row(store_at(tmp_path / "other"), {**made_row(hits_of_share(0.5), tuning_method="full"), "sweep": "other"})
    assert main([str(folder), str(tmp_path / "other"), "--no-html"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["made", "lora"] for line in lines)
    assert any(line.split()[:2] == ["other", "full"] for line in lines)


def test_thousands_of_rows_show_their_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**made_row(hits_of_share(0.5)), "id": f"{place:010}", "em_at_10": place / 1000, "em_at_1": 0.5,
             "learning_rate": 1e-6 * (1 + place), "em_at_10_low": None}
            for place in range(900)]  # fmt: skip
    store_at(tmp_path).write_rows("trials", "all", rows)
    assert main([str(tmp_path), "--no-html"]) == 0
    out = capsys.readouterr().out
    assert (
        "The best 100 of 900 lines (raypeft report RESULTS --all shows all)." in out
        and "89.9" in out
        and "80.0" in out
        and "79.9" not in out
    )
    assert main([str(tmp_path), "--no-html", "--all"]) == 0
    assert "79.9" in capsys.readouterr().out


def test_thousands_of_failures_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**made_row(status="failed"), "id": f"{place:010}"} for place in range(900)]
    store_at(tmp_path).write_rows("trials", "all", rows)
    assert main([str(tmp_path), "--no-html"]) == 0
    out = capsys.readouterr().out
    assert out.count("failed: ") == 100 and "and 800 more trials without scores" in out


def test_a_damaged_file_is_left_out_and_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sorted((folder / "trials").iterdir())[1]
    path.write_bytes(b"PAR1")
    assert main([str(folder)]) == 0
    assert f"{path.name}: must be a Parquet file but is damaged" in capsys.readouterr().err


def test_a_damaged_file_of_candidates_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trial = sorted((folder / "trials").iterdir())[1].stem
    (folder / "candidates" / f"{trial}.parquet").write_bytes(b"PAR1")
    assert main([str(folder)]) == 0
    assert f"{folder}/candidates/{trial}.parquet: must be a Parquet file but is damaged" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_ends_with_the_reason(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "report.html").mkdir()
    assert main([str(folder)]) == 2
    assert "the report was not written" in capsys.readouterr().err


def test_two_places_for_one_page_are_refused(folder: Path) -> None:
    with pytest.raises(SystemExit):
        main([str(folder), "--html", "a.html", "--no-html"])


def test_a_sweep_that_ends_says_where_its_report_is(folder: Path) -> None:
    assert report_lines(str(folder)) == [f"report: {folder}/report.html"]


def test_a_sweep_never_fails_because_of_its_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no charts")

    monkeypatch.setattr(page_module, "make_page", broken)
    assert report_lines(str(folder)) == ["the report was not written: RuntimeError: no charts"]
    assert report_lines("s3://bucket/study")[0].startswith("the report was not written: ")


PROGRAM = """
import contextlib, io, sys
from raypeft.cli.report import main
with contextlib.redirect_stdout(io.StringIO()):
    assert main([sys.argv[1], "--no-html"]) == 0
charts = sorted({"altair", "vl_convert", "jinja2"} & set(sys.modules))
with contextlib.redirect_stdout(io.StringIO()):
    assert main([sys.argv[1], "--figures", sys.argv[2]]) == 0
print(charts, sorted({"torch", "ray", "transformers", "peft", "datasets"} & set(sys.modules)))
"""


def test_neither_torch_nor_ray_is_loaded_and_charts_only_for_a_page(folder: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(tmp_path / "f")], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[] []"), done.stderr


def test_trials_with_other_scores_in_another_folder_are_named_in_the_terminal_and_in_the_page(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = add_row(store_at(tmp_path / "theirs"), made_row(hits_of_share(0.75), lora_r=8))
    assert main([str(folder), str(tmp_path / "theirs")]) == 0
    named = f"trial {trial} of study and theirs: EM@1 50.0 and 75.0"
    assert named in capsys.readouterr().out and named in (folder / "report.html").read_text("utf-8")
