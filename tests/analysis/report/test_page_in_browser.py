"""The page in a real browser: it draws, filters, sorts and drills down, without an error, a request or a wide page.

    RAYPEFT_SCREENSHOTS=/tmp/shots python -m pytest tests/analysis/report/test_page_in_browser.py

Needs Chromium (Debian's package); skipped where there is none.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import BrowserPage, Chromium, executable
from report_folders import (
    EXAMPLES,
    add_answers,
    add_row,
    add_tests,
    hits_of_share,
    made_row,
    made_study,
    store_at,
    write_plan,
)

from raypeft.analysis.report.page import make_page, write_page
from raypeft.analysis.report.study import open_study

pytestmark = pytest.mark.skipif(executable() is None, reason="there is no Chromium")

HOSTILE = '</script><script>window.ran = 1</script><img src=x onerror="window.ran=1">\x00\x1b]0;t\x07\u202ee = 1'

CLAIM = "claims:\n  - {better: {tuning_method: lora}, than: {tuning_method: icl}, on: em_at_10, by: 0.02}\n"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a made study whose best trial answered with hostile texts."""
    folder = tmp_path_factory.mktemp("study")
    store = made_study(folder, seeds=2)
    hits = hits_of_share(0.9)
    trial = add_row(store, made_row(hits, more={"best_eval_loss": 0.1, "best_step": 10}, lora_r=64))
    add_answers(store, trial, hits, wrong=HOSTILE + "x" * 100_000)
    write_plan(store, [trial], text=CLAIM)
    return write_page(make_page(open_study([str(folder)])), folder / "report.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium() as made:
        yield made


@pytest.fixture
def page(browser: Chromium, path: Path) -> BrowserPage:
    return browser.open(path)


def opened(page: BrowserPage, row: int = 0) -> BrowserPage:
    """With the trial of a line of the first table."""
    page.evaluate(f"document.querySelectorAll('#table-results_toy tbody button.trial')[{row}].click()")
    page.wait("document.querySelector('dialog').open && document.querySelector('dialog .example[open] pre')")
    return page


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
def test_the_page_draws_without_an_error_a_request_or_a_wide_page(
    browser: Chromium, path: Path, width: int, dark: bool
) -> None:
    page = browser.open(path, width=width, dark=dark)
    page.draw_all()
    assert page.messages == [] and page.overflow <= 0
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(21, 24, 33)" if dark else "rgb(255, 255, 255)")
    if folder := os.environ.get("RAYPEFT_SCREENSHOTS"):
        page.screenshot(Path(folder) / f"page-{width}-{'dark' if dark else 'light'}.png")
    opened(page)
    assert page.messages == [] and page.overflow <= 0
    assert page.evaluate("document.querySelector('dialog').scrollWidth <= document.querySelector('dialog').clientWidth")


def test_a_phone_shows_the_score_beside_its_condition_and_all_of_a_claim(browser: Chromium, path: Path) -> None:
    page = browser.open(path, width=390)
    heads = "[...document.querySelectorAll('#table-results_toy th')]"
    score = f"{heads}.find((each) => each.textContent.includes('EM@10')).getBoundingClientRect()"
    assert page.evaluate(f"{score}.right") <= 390
    cells = "[...document.querySelectorAll('#table-claims td')].filter((each) => each.textContent.trim())"
    hidden = "map((each) => each.getBoundingClientRect()).filter((box) => box.right > 390 || !box.width).length"
    assert page.evaluate(f"{cells}.length") > 2 and page.evaluate(f"{cells}.{hidden}") == 0


def test_a_table_with_intervals_needs_no_scrolling_on_a_laptop(browser: Chromium, path: Path) -> None:
    page = browser.open(path, width=1280)
    box = "document.querySelector('#table-results_toy .scroll')"
    assert page.evaluate(f"{box}.querySelectorAll('td.interval').length") > 0
    assert page.evaluate(f"{box}.scrollWidth - {box}.clientWidth") <= 0


def test_settings_are_not_folded_to_a_word_a_line_where_the_window_is_wide(browser: Chromium, path: Path) -> None:
    page = browser.open(path, width=920)
    cells = "[...document.querySelectorAll('#table-results_toy td.settings')]"
    assert page.evaluate(f"Math.min(...{cells}.map((each) => each.getBoundingClientRect().width))") >= 150


def test_a_phone_has_each_legend_whole_and_once_below_its_figure(browser: Chromium, path: Path) -> None:
    page = browser.open(path, width=390)
    page.draw_all()
    assert page.evaluate("document.querySelectorAll('.role-legend text').length") == 0
    legends = "[...document.querySelectorAll('#figure-scores ul.legend')]"
    assert page.evaluate(f"{legends}.map((each) => each.innerText.split(/\\s+/))") == [["lora", "full", "icl"]]
    assert page.evaluate(f"{legends}[0].getBoundingClientRect().right") <= 390
    spots = "[...document.querySelectorAll('#figure-scores .spot')].map((each) => each.style.background)"
    assert len(set(page.evaluate(spots))) == 3


def lines(page: BrowserPage) -> list[str]:
    return page.evaluate("[...document.querySelector('#table-results_toy tbody').rows].filter((row) => !row.hidden)"
                         ".map((row) => row.innerText)")  # fmt: skip


def test_a_table_is_filtered_by_words(page: BrowserPage) -> None:
    assert len(lines(page)) == 11
    page.evaluate("{const field = document.querySelector('#table-results_toy input'); field.value = 'lora r 8,'; "
                  "field.dispatchEvent(new Event('input'));}")  # fmt: skip
    assert len(lines(page)) == 4 and all("lora" in line for line in lines(page))
    assert page.evaluate("document.querySelector('[data-count]').textContent") == "4 of 11 lines"


def test_a_table_is_sorted_by_a_heading(page: BrowserPage) -> None:
    heads = "[...document.querySelectorAll('#table-results_toy th button')]"
    head = f"{heads}.find((each) => each.textContent.startsWith('EM@10'))"
    assert lines(page)[0].startswith("lora")
    for first in ("lora", "icl"):
        page.evaluate(f"{head}.click()")
        assert lines(page)[0].startswith(first)


def test_hostile_texts_are_shown_and_neither_run_nor_break_the_page(page: BrowserPage) -> None:
    opened(page)
    shown = page.evaluate("document.querySelector('dialog').innerText")
    assert "</script><script>window.ran = 1</script>" in shown and "⟦U+202E⟧" in shown and "␀" in shown
    assert "characters in all" in shown
    assert page.evaluate("window.ran === undefined && document.images.length === 0")
    assert page.messages == []


def test_the_examples_that_one_trial_gets_right_and_another_does_not(page: BrowserPage) -> None:
    opened(page)
    choose = ("(async () => {{const [view, other] = document.querySelectorAll('dialog .examples select'); const pick ="
              " {0}; pick.value = {1}; pick.dispatchEvent(new Event('change'));"
              " await new Promise((done) => setTimeout(done, 300));}})()")  # fmt: skip
    icl = page.evaluate("[...document.querySelectorAll('dialog .examples select')[1].options]"
                        ".find((each) => each.textContent.startsWith('icl')).value")  # fmt: skip
    page.evaluate(choose.format("other", repr(icl)))
    page.evaluate(choose.format("view", "'this right, other wrong'"))
    count = page.evaluate("document.querySelectorAll('dialog .examples .controls span')[0].textContent")
    assert count == f"{int(0.9 * EXAMPLES) - int(0.2 * EXAMPLES)} of {EXAMPLES} examples"
    marks = "document.querySelector('dialog .example summary').querySelectorAll('.verdict')"
    assert page.evaluate(f"[...{marks}].map((each) => each.textContent)") == ["right", "wrong"]


def test_a_wrong_answer_shows_its_difference_to_the_reference(page: BrowserPage) -> None:
    opened(page, row=1)
    assert page.evaluate("document.querySelector('dialog .example[open] ins').textContent") == "y"
    assert page.evaluate("document.querySelector('dialog .example[open] del').textContent") == "x"
    told = page.evaluate("document.querySelector('dialog .example[open] .sides').innerText")
    assert "what the reference has not" in told and "what only it has" in told


def test_a_trial_shows_the_shots_of_its_prompts_and_each_test(browser: Chromium, tmp_path: Path) -> None:
    store = store_at(tmp_path)
    trial = add_row(store, made_row(hits_of_share(0.5), tuning_method="icl", num_shots=2))
    add_answers(store, trial, [True], shots=("t7", "t3"))
    add_tests(store, trial, "e0", "passed", "wrong_answer")
    page = opened(browser.open(write_page(make_page(open_study([str(tmp_path)])), tmp_path / "report.html")))
    shown = page.evaluate("document.querySelector('dialog .example[open]').innerText")
    assert "2 shots in the prompt, in order: t7, t3" in shown
    assert "test 1: passed" in shown and "test 2: wrong_answer: 1 is not right" in shown


def test_a_bar_of_agreement_leads_to_its_examples(page: BrowserPage) -> None:
    page.draw_all()
    page.evaluate("{const bar = document.querySelector('#figure-agreement .mark-rect path'); "
                  "bar.dispatchEvent(new MouseEvent('click', {bubbles: true}));}")  # fmt: skip
    page.wait("document.querySelector('dialog').open && document.querySelector('dialog .example')")
    assert page.evaluate("document.querySelectorAll('dialog .examples select')[0].value") == "both right"


def test_a_trial_has_an_address_of_its_own(browser: Chromium, path: Path, page: BrowserPage) -> None:
    opened(page)
    address = page.evaluate("location.hash")
    assert address.startswith("#trial=")
    page.evaluate("document.querySelector('.close').click()")
    page.wait("location.hash === ''")
    page.evaluate(f"location.hash = {address!r}")
    page.call("Page.reload")
    page.wait("document.querySelector('dialog')?.open")
