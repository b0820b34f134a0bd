"""`raypeft report`: the results of one or several sweeps as a table, as a page, and as files for a paper."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from raypeft.analysis.folder import say_damaged
from raypeft.analysis.report.panels import Panel, panels
from raypeft.analysis.report.printed import markdown_report, print_report
from raypeft.analysis.report.study import Study, open_study
from raypeft.analysis.report.terminal import MOST_LINES
from raypeft.analysis.report.verdict_table import verdict_lines

EPILOG = """examples:
  raypeft report results/rq2                              the table, and the page results/rq2/report.html
  raypeft report results/conala_smollm2 results/conala_shots      both sweeps together, in the first one's folder
  raypeft report results/rq2 --no-html                    the table alone
  raypeft report results/rq2 --figures paper/             also each figure (SVG, PNG, PDF, CSV) and table (CSV, LaTeX,
                                                          Markdown) as files"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="raypeft report",
        description="Print the results of sweeps as a table, and write them as a page that opens without a network.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", nargs="+", help="results folders or URLs of sweeps, e.g. results/quickstart")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables, and write no page")
    parser.add_argument(
        "--html", metavar="PATH", help="where to write the page (default: report.html in the first folder)"
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help=f"print all lines (default: the best {MOST_LINES} of a longer table), trial ids and single trials",
    )
    parser.add_argument("--no-html", action="store_true", help="write no page")
    parser.add_argument("--figures", metavar="FOLDER", help="write each figure and table as files into this folder")
    options = parser.parse_args(arguments)
    if options.no_html and options.html:
        parser.error("--html and --no-html exclude each other")
    try:
        study = open_study(options.results)
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    found = panels(study)
    if options.markdown:
        print(markdown_report(study, found))
    else:
        print_report(study, found, None if options.all else MOST_LINES)
    target = None if options.no_html or (options.markdown and not options.html) else page_path(study, options.html)
    try:
        write_files(study, found, target, Path(options.figures) if options.figures else None)
    except (OSError, ValueError) as error:
        print(f"the report was not written: {error}", file=sys.stderr)
        return 2
    for sweep in study.sweeps:
        say_damaged(sweep.store)  # at the end: some files are read only for the page
    return 0


def page_path(study: Study, given: str | None) -> Path | None:
    """Where the page goes. None: the results are not on this machine, and no place is given."""
    if given:
        return Path(given).expanduser()
    url = study.sweeps[0].url
    return None if "://" in url else Path(url).expanduser() / "report.html"


def report_lines(results: str) -> list[str]:
    """Write the page of a sweep that has ended, and return the verdicts on its claims and where the page is.

    A sweep must not fail because of its report, so every error becomes a line that says why it was not written.
    """
    lines: list[str] = []
    try:
        study = open_study([results])
        lines += verdict_lines(study)
        page = page_path(study, None)
        if page is None:
            return [*lines, f"raypeft report {results} --html report.html     writes these results as a page"]
        from raypeft.analysis.report.page import make_page, write_page

        return [*lines, f"report: {write_page(make_page(study, panels(study)), page)}"]
    except Exception as error:
        return [*lines, f"the report was not written: {type(error).__name__}: {error}"]


def write_files(study: Study, found: Sequence[Panel], page: Path | None, figures: Path | None) -> None:
    """Write the page and the files that are asked for, and print where they are.

    The libraries for charts are loaded here and nowhere before. Raises OSError where a file cannot be written, and
    ValueError where a results file cannot be read.
    """
    if page is None and figures is None:
        return
    from raypeft.analysis.report.exports import write_exports
    from raypeft.analysis.report.page import make_page, write_page

    made = make_page(study, found)
    if page is not None:
        print(f"report: {write_page(made, page)}")
    if figures is not None:
        written = write_exports(figures, made.tables, made.figures)
        print(f"{len(made.figures)} figures and {len(made.tables)} tables: {len(written)} files in {figures}")
