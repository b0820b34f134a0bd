"""The table that people read."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raypeft.analysis.report.terminal import older_lines, print_summary, summary_table
from raypeft.cli.report import main
from raypeft.results.store import ResultStore
from raypeft.study.trials import make_trial
from raypeft.trial.columns import tables
from raypeft.trial.provenance import git_state

SCORES = {
    **{f"em_at_{k}": 0.125 for k in (1, 2, 5, 10)},
    "em_at_10_low": 0.1,
    "em_at_10_high": 0.1504,
    "em_at_10_paper": 0.13,
    "codebleu": 0.3456,
    "test_examples": 200,
    "total_seconds": 61.7,
}


def row(status: str = "ok", measured: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A trial's row as the store gives it: every column, most of them null."""
    trial = make_trial({"model": "toy", "dataset": "toy", "tuning_method": "lora", **fields})
    blank = dict.fromkeys(column.name for column in tables()["trials"])
    scores = SCORES if status == "ok" else {}
    return blank | {"id": trial.id, "sweep": "s", "status": status} | trial.fields | scores | (measured or {})


def printed(rows: list[dict[str, Any]], width: int = 160, terminal: bool = False) -> str:
    out = StringIO()
    print_summary(rows, Console(file=out, width=width, force_terminal=terminal, color_system=None))
    return out.getvalue()


def cells(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    _, headings, lines = summary_table(rows)
    return [dict(zip((heading.title for heading in headings), line, strict=True)) for line in lines]


def test_what_all_rows_share_stands_in_the_title_and_not_in_a_column() -> None:
    title, headings, _ = summary_table([row(), row(tuning_method="full")])
    assert title == "model toy, dataset toy, test examples 200, scores in percent"
    assert not {"model", "dataset", "test examples"} & {heading.title for heading in headings}


def test_what_rows_differ_in_is_a_column() -> None:
    rows = [row(), row(model="owner/name")]
    title, _, _ = summary_table(rows)
    assert title == "dataset toy, test examples 200, r 16, scores in percent"
    assert [line["model"] for line in cells(rows)] == ["toy", "owner/name"]


def test_a_line_is_one_trial_in_the_order_given() -> None:
    methods = ["zero_shot", "icl", "lora", "full"]
    assert [line["method"] for line in cells([row(tuning_method=method) for method in methods])] == methods


def test_settings_of_all_rows_that_have_the_field_stand_in_the_title() -> None:
    rows = [row(num_train_epochs=7, lora_r=r) for r in (2, 4)] + [row(tuning_method="zero_shot")]
    title, _, _ = summary_table(rows)
    assert title == "model toy, dataset toy, test examples 200, epochs 7, scores in percent"
    assert [line["settings"] for line in cells(rows)] == ["r 2", "r 4", ""]


def test_a_setting_that_another_row_has_at_its_default_stays_with_its_row() -> None:
    rows = [row(learning_rate=1e-3), row(tuning_method="full"), row("failed")]
    assert cells(rows)[0]["settings"].startswith("lr 0.001")


def test_the_best_row_by_the_score_that_orders_reports_comes_first_and_what_has_no_score_last() -> None:
    losses = [0.5, 0.3, 0.9]
    rows = [row("pruned", {"best_eval_loss": loss}, lora_r=r) for r, loss in zip((2, 4, 6), losses, strict=True)]
    rows += [row(measured={"em_at_10": score}, lora_r=r) for r, score in ((8, 0.2), (10, 0.4))]
    text = printed(rows)
    places = [text.index(f"r {r} ") for r in (10, 8, 4, 2, 6)]
    assert places == sorted(places)
    assert text.count("pruned ") == 3 and "test examples 200" in text.splitlines()[0]


def test_fractions_become_percent() -> None:
    (line,) = cells([row()])
    assert (line["EM@1"], line["EM@10 [95 %]"], line["CodeBLEU"]) == ("12.5", "12.5 [10.0, 15.0]", "34.6")


def test_a_score_of_nothing_is_shown_and_a_missing_one_is_not() -> None:
    zero, missing = cells([row(measured={"em_at_1": 0.0}), row(tuning_method="full", measured={"em_at_1": None})])
    assert (zero["EM@1"], missing["EM@1"]) == ("0.0", "")


def test_a_score_without_its_interval_is_shown_alone() -> None:
    (line,) = cells([row(measured={"em_at_10_low": None, "em_at_10_high": None})])
    assert line["EM@10 [95 %]"] == "12.5"


def test_a_column_with_nothing_to_say_is_left_out() -> None:
    assert "loss" not in cells([row(tuning_method="zero_shot")])[0]
    assert cells([row(measured={"best_eval_loss": 0.51239})])[0]["loss"] == "0.512"


def test_the_printed_table_holds_title_and_scores() -> None:
    text = printed([row(), row(tuning_method="zero_shot")])
    assert "model toy, dataset toy, test examples 200, scores in percent" in text
    assert text.count("12.5 [10.0, 15.0]") == 2


def test_a_line_is_never_folded_outside_a_terminal() -> None:
    long = row(learning_rate=1e-3, num_train_epochs=2.5, lora_r=64, lora_alpha=128, warmup_steps=7, weight_decay=0.1)
    assert any("lora" in line and "12.5 [10.0" in line for line in printed([long], width=40).splitlines())


def test_the_paper_s_reading_is_not_taken_for_a_published_score() -> None:
    read = row(measured={"em_at_1_paper": 0.1, "em_at_10_paper": 0.2})
    assert printed([read]).count("columns named paper: our answers, counted as the paper's code counted") == 1
    assert "columns named paper" not in printed([row(measured={"em_at_10_paper": None, "codebleu_paper": None})])


def test_a_narrow_terminal_shows_the_scores_that_matter_unfolded() -> None:
    lines = printed([row()], width=80, terminal=True).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert any("lora" in line and "12.5" in line and "34.6" in line for line in lines)
    assert "EM@10 paper" not in "".join(lines)


@pytest.mark.parametrize("status", ["failed", "oom"])
def test_a_trial_that_did_not_end_well_is_listed_with_its_error(status: str) -> None:
    bad = row(status, {"error": "ValueError: [red] 3 of 8 examples do not fit"}, tuning_method="icl")
    text = printed([row(), bad])
    assert f"{status}: {bad['id']} toy toy icl: ValueError: [red] 3 of 8 examples do not fit" in text


def test_a_trial_that_went_well_is_not_listed() -> None:
    assert "ok" not in printed([row()])


def test_a_sweep_of_failures_alone_prints_them() -> None:
    assert "failed: " in printed([row("failed", {"error": "why"})])


def test_rows_made_by_another_commit_are_named() -> None:
    commit, _ = git_state()
    if commit is None:
        pytest.skip("raypeft is installed here, not a checkout, and knows no commit")
    old = row(measured={"git_commit": "0" * 40}, lora_r=4)
    text = printed([row(measured={"git_commit": commit}), old])
    assert f"1 of 2 rows were made by another commit of raypeft (trials {old['id']}); the sweep with --rerun" in text


def test_rows_made_by_this_commit_are_not_remarked_on() -> None:
    commit, _ = git_state()
    assert "another commit" not in printed([row(measured={"git_commit": commit}), row(lora_r=4)])


def test_git_is_not_asked_for_rows_that_know_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypeft.analysis.report.terminal.git_state", lambda: pytest.fail("git was asked"))
    assert list(older_lines([row(measured={"git_commit": None})])) == []


def test_nothing_is_printed_for_no_rows() -> None:
    assert printed([]) == ""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep's folder with two trials, the later one first by name."""
    store = ResultStore(str(tmp_path / "study"), tables())
    for name, method in (("b", "zero_shot"), ("a", "lora")):
        store.write_rows("trials", name, [row(tuning_method=method) | {"id": name}])
    return tmp_path / "study"


def test_the_command_prints_the_table_of_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert "zero_shot" in out and "lora" in out


def test_the_command_prints_markdown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), "--markdown"]) == 0
    assert "| method |" in capsys.readouterr().out


def test_a_folder_that_holds_no_sweep_is_refused_and_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    assert f"{tmp_path} must be a sweep's folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
