"""The verdicts on claims as tables, in the page and in the terminal."""

import re
import textwrap
from pathlib import Path

import pytest
import yaml
from report_folders import made_study, write_plan

from raypeft.analysis.report.cautions import unread
from raypeft.analysis.report.exports import latex, markdown, table_csv
from raypeft.analysis.report.page import make_page, render
from raypeft.analysis.report.study import Study, open_study
from raypeft.analysis.report.verdict_table import verdict_lines, verdict_tables

ROOT = Path(__file__).parents[3]
CLAIMS = [
    {"better": {"learning_rate": 1e-3}, "than": {"learning_rate": 1e-4}, "on": "em_at_10",
     "per": ["lora_r", "lora_alpha"], "source": "a paper, table 2"},
    {"better": {"tuning_method": "full"}, "than": {"tuning_method": "lora"}, "on": "em_at_10", "by": 0.01},
    {"equivalent": {"lora_r": [4, 8]}, "on": "em_at_10", "within": 0.05, "says": "rank <b>hardly</b> matters"},
    {"better": {"tuning_method": "rag"}, "than": {"tuning_method": "icl"}, "on": "em_at_10"},
]  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("claims")
    store = made_study(folder, seeds=3)
    write_plan(store, [row["id"] for row in store.read_rows()], text=yaml.safe_dump({"claims": CLAIMS}))
    return open_study([str(folder)])


def test_each_claim_has_a_verdict(study: Study) -> None:
    assert [each.verdict for each in study.findings] == ["supported", "refuted", "supported", "undecided"]
    table = verdict_tables(study)[0]
    assert [line.cells[1] for line in table.lines] == ["supported", "refuted", "supported", "undecided"]
    assert table.lines[0].cells[0].endswith("at each r and alpha (a paper, table 2)")
    assert table.lines[3].cells[4] == "no two trials with scores can be compared for it"


def test_the_parts_of_a_claim_have_lines_of_their_own(study: Study) -> None:
    table = verdict_tables(study)[1]
    assert [line.cells[1] for line in table.lines] == [
        f"r {rank}, alpha {alpha}" for rank in (4, 8) for alpha in (8, 16)]  # fmt: skip


def test_the_terminal_has_the_verdicts(study: Study) -> None:
    text = "\n".join(verdict_lines(study))
    assert text.startswith("claims (4):\nsupported  lr 0.001 is better than lr 0.0001 (EM@10), at each r and alpha\n")
    assert "undecided  rag is better than icl (EM@10)\n           missing: no two trials" in text


def test_the_example_of_the_page_on_claims_is_what_the_committed_results_say() -> None:
    example = re.search(
        r"^    claims \(\d+\):\n(?:^    .+\n)+", (ROOT / "docs/claims.md").read_text("utf-8"), re.MULTILINE
    )
    said = verdict_lines(open_study([str(ROOT / "results/lora_rank_rate")]))
    assert example and textwrap.dedent(example[0]).splitlines() == said[:4]


def test_the_page_begins_with_the_verdicts_as_text(study: Study) -> None:
    page = render(make_page(study))
    assert page.index('id="table-claims"') < page.index('id="table-results_toy"')
    assert "rank &lt;b&gt;hardly&lt;/b&gt; matters" in page and "<b>hardly" not in page


def test_tables_of_claims_are_written_for_papers(study: Study) -> None:
    table = verdict_tables(study)[0]
    assert "\\toprule" in latex(table) and "| refuted |" in markdown(table)
    assert table_csv(table).splitlines()[0].startswith("claim,source,verdict,on,effect,low,high,unit,p_value,p_holm")


def test_a_study_without_claims_has_no_table(tmp_path: Path) -> None:
    made_study(tmp_path)
    study = open_study([str(tmp_path)])
    assert verdict_tables(study) == [] and verdict_lines(study) == []


def test_an_unfinished_sweep_says_that_verdicts_may_change(tmp_path: Path) -> None:
    store = made_study(tmp_path)
    write_plan(store, ["0000000000"], text=yaml.safe_dump({"claims": CLAIMS[:1]}))
    study = open_study([str(tmp_path)])
    assert verdict_lines(study)[-1] == "The sweep is not finished, so that verdicts may change."
    assert verdict_tables(study)[0].caption.endswith("so that verdicts may change.")


def test_claims_of_another_version_are_named_and_leave_the_others_their_verdicts(tmp_path: Path) -> None:
    store = made_study(tmp_path)
    text = (
        "claims:\n  - {better: {tuning_method: lora}, than: {tuning_method: icl}, on: em_at_10}\n"
        "  - {outshines: {tuning_method: lora}, 'on': em_at_10}\n"
    )
    write_plan(store, [row["id"] for row in store.read_rows()], text=text)
    study = open_study([str(tmp_path)])
    assert [line.cells[0] for line in verdict_tables(study)[0].lines] == ["lora is better than icl (EM@10)"]
    (told,) = unread(study, ())
    assert told.startswith("a claim of made has no verdict") and "claim 2" in told and "outshines" in told
    assert "outshines" in render(make_page(study))
