"""The page as HTML: what it says, what it holds, and what it never lets through. No browser is needed."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from report_folders import add_answers, add_row, hits_of_share, made_row, made_study, store_at, write_plan

from raypeft.analysis.report import page as page_module
from raypeft.analysis.report.page import make_page, render, write_page
from raypeft.analysis.report.study import open_study


@pytest.fixture(autouse=True)
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The charts' library takes seconds to bundle, and these tests do not draw."""
    monkeypatch.setattr(page_module, "charts_script", lambda: "")


class Found(HTMLParser):
    """The text that a reader sees, and the tags."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.hidden = ""
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.texts))

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        if tag in ("script", "style"):
            self.hidden = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self.hidden:
            self.hidden = ""

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.texts.append(data)


def found(*folders: Path) -> Found:
    return Found(html(*folders))


def html(*folders: Path) -> str:
    return render(make_page(open_study([str(each) for each in folders])))


def test_the_page_says_state_answer_warnings_and_how_it_was_made(made_folder: Path) -> None:
    text = found(made_folder).text
    assert "21 trials , 2 without scores" in text.replace("trials,", "trials ,")
    assert (
        "Validation chose lora lr 0.001, r 4, alpha 16, EM@10 57.5 [47.5, 67.5] % (by EM@10, among its choices)."
        in text
    )
    assert "few seeds: 9 of 9 trained conditions ran with fewer than 3 seeds" in text
    assert "torch 2.11.0" in text and "Trials without scores" in text and "ValueError: <b>no</b>" in text


def test_few_seeds_are_not_blamed_on_intervals_that_are_not_there(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for rank, loss in ((2, 0.5), (4, 0.7)):
        add_row(store, made_row(more={"test_loss": loss}, lora_r=rank))
    text = found(tmp_path).text
    assert "fewer than 3 seeds; with other seeds their order may be another one" in text and "intervals" not in text


def test_the_question_of_a_sweep_stands_on_top_and_its_file_below(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    done = add_row(store, made_row(hits_of_share(0.5)))
    write_plan(store, [done, "b"], text="name: made\nquestion: Does it work?\n")
    text = found(tmp_path).text
    assert "Does it work? 1 of 2 trials" in text and "sweep file of made, as it was run" in text
    assert "made is not finished: 1 of 2 trials have no row yet" in text


def test_the_page_asks_no_network(made_folder: Path) -> None:
    text = html(made_folder)
    assert "default-src 'none'" in text
    assert not re.findall(r"""(?:src|href|action)\s*=\s*["']?(?!#)|@import|url\(""", text)


def test_every_figure_of_the_page_has_its_place_and_its_definition(made_folder: Path) -> None:
    page = make_page(open_study([str(made_folder)]))
    text = render(page)
    assert re.findall(r'data-figure="([^"]+)"', text) == [name for name, _ in page.figures]


def test_two_figures_of_one_name_get_files_of_their_own(made_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = make_page(open_study([str(made_folder)])).figures[0][1]
    same = [one, replace(one, name=one.name.upper()), one]
    monkeypatch.setattr("raypeft.analysis.report.figures.figures", lambda panel, study: same)
    names = [name for name, _ in make_page(open_study([str(made_folder)])).figures]
    assert names == ["scores", "SCORES_2", "scores_3"]


HOSTILE = '</script><script>window.ran = 1</script><img src=x onerror="window.ran=1">\x00\x1b]0;title\x07'


def test_no_text_of_a_results_folder_becomes_markup(tmp_path: Path) -> None:
    clean = tmp_path / "clean"
    made_study(clean)
    hostile = tmp_path / "hostile"
    store = made_study(hostile)
    trial = add_row(store, made_row(hits_of_share(0.5), model=HOSTILE, tuning_method="lora", lora_r=2))
    add_answers(store, trial, hits_of_share(0.5), wrong=HOSTILE)
    add_row(store, made_row(status="failed", more={"error": HOSTILE}, lora_r=64))
    text = html(hostile)
    parsed = Found(text)
    assert parsed.tags.count("img") == 0 and parsed.tags.count("script") == Found(html(clean)).tags.count("script") + 1
    assert "window.ran" in parsed.text, "it is there as text"


def test_a_sweep_without_rows_says_that_none_is_there_yet(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    write_plan(store, ["a", "b"])
    text = found(tmp_path).text
    assert "0 of 2 trials" in text and "No trial has a row yet" in text


def test_a_sweep_of_one_trial_has_a_table_and_no_figure(tmp_path: Path) -> None:
    add_row(store_at(tmp_path), made_row(hits_of_share(0.5)))
    page = make_page(open_study([str(tmp_path)]))
    assert len(page.tables) == 1 and page.figures == []
    assert "1 trial lora r 16, EM@10 50.0 [40.0, 60.0] %." in Found(render(page)).text


def test_a_sweep_of_failures_alone_says_why(tmp_path: Path) -> None:
    add_row(store_at(tmp_path), made_row(status="failed", more={"error": "no disk"}))
    text = found(tmp_path).text
    assert "No trial has scores: the table below says why." in text and "no disk" in text


def test_a_sweep_that_ran_out_of_memory_altogether_says_why_and_draws_its_memory(tmp_path: Path) -> None:
    more = {"peak_memory_allocated_gb": 23.0, "gpu_memory_gb": 24.0, "error": "out of memory"}
    add_row(store_at(tmp_path), made_row(status="oom", more=more))
    text = html(tmp_path)
    assert "No trial has scores: the table below says why." in text and 'data-figure="peak_memory_toy"' in text


def test_rows_without_the_usual_scores_are_shown_by_their_loss(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for rank, loss in ((2, 0.5), (4, 0.7)):
        add_row(store, made_row(more={"best_eval_loss": loss}, lora_r=rank))
    assert "lora r 2 has the lowest validation loss: 0.500 nats per answer token" in found(tmp_path).text


def test_rows_of_an_unknown_version_are_shown(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    add_row(store, made_row(hits_of_share(0.5)))
    path = next((tmp_path / "trials").iterdir())
    table = pq.read_table(path).drop_columns(["lora_r", "started_at", "seed", "icl_seed"])
    table = table.set_column(table.column_names.index("tuning_method"), "tuning_method", pa.array(["from_the_future"]))
    pq.write_table(table, path)
    assert "from_the_future, EM@10 50.0" in found(tmp_path).text


@pytest.mark.slow
def test_five_thousand_trials_stay_small(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    rows = []
    for place in range(5_000):
        row = made_row(hits_of_share(0.5), lora_r=8)
        share = 0.2 + (place * 7919 % 5000) / 10_000
        more = {
            "id": f"{place:010x}",
            "lora_r": 2 ** (place % 6),
            "learning_rate": 1e-5 * (1 + place),
            "em_at_10": share,
        }
        rows.append(
            {**row, **more, "best_eval_loss": 1 - share, "peak_memory_allocated_gb": 1 + place % 50, "seed": 42}
        )
    store.write_rows("trials", "all", rows)
    text = html(tmp_path)
    assert len(text) < 12_000_000, "with the library, a page is about 0.4 MB larger"
    assert text.count("<tr data-id=") == 5_000 and "show all 5000 lines" in text
    assert len(re.findall(r"<tr [^>]*hidden>", text)) == 4_900


def test_the_page_is_written_in_one_step(tmp_path: Path, made_folder: Path) -> None:
    target = tmp_path / "new" / "report.html"
    assert write_page(make_page(open_study([str(made_folder)])), target) == target
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]
