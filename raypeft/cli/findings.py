"""`raypeft findings`: variation over seeds, and significance of the differences between trials."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from raypeft.analysis.baselines import parse_baseline
from raypeft.analysis.choosing import best_table
from raypeft.analysis.comparisons import compare
from raypeft.analysis.conditions import Row
from raypeft.analysis.findings import Lines, against_table, as_text, left_out_text, over_seeds_table, versions_text
from raypeft.analysis.folder import open_results, say_damaged
from raypeft.analysis.ranking import ranks_table
from raypeft.analysis.report.order import known_scores, shown_scores
from raypeft.analysis.report.terminal import MOST_LINES
from raypeft.mistakes import some
from raypeft.results.declarations import Declarations


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="raypeft findings",
        description="Print the variation over seeds, and test the differences between trials for significance.",
    )
    parser.add_argument("results", help="results folder or URL of the sweep, e.g. results/quickstart")
    parser.add_argument(
        "--baseline",
        nargs="+",
        default=[],
        metavar="FIELD=VALUE",
        help="what to compare with: field=value pairs such as tuning_method=icl num_shots=8, a method, or a trial's id "
        "(default: zero_shot, else the trial that started first)",
    )
    parser.add_argument(
        "--ranks",
        nargs="?",
        const="",
        metavar="SCORE",
        help="rank the methods over models and datasets by a score (default: the report's first)",
    )
    parser.add_argument(
        "--best",
        nargs="?",
        const="",
        metavar="SCORE",
        help="the best condition of each method, chosen on validation, and the optimism of choosing on test "
        "(default: by the report's first score)",
    )
    parser.add_argument(
        "--all", action="store_true", help=f"print all lines (default: the first {MOST_LINES} of a longer table)"
    )
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    options = parser.parse_args(arguments)
    try:
        shown, notes = tables(options)
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    console = Console()
    if not console.is_terminal:
        console.width = 200
    for title, headings, lines in shown:
        if len(lines) > MOST_LINES and not (options.all or options.markdown):
            title = f"{title} The first {MOST_LINES} of {len(lines):,} lines: --all shows all."
            lines = lines[:MOST_LINES]
        if lines:
            # Markdown is not folded: a cell must end on the line on which it begins.
            table = as_text(title, headings, lines, options.markdown)
            console.print(table, highlight=False, markup=False, soft_wrap=options.markdown)
    for note in notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    return 0


def score_of(rows: Sequence[Row], declared: Declarations, option: str, asked: str) -> str:
    """The score to go by: as asked, else the first of the report. Raises ValueError where no trial has it."""
    known = known_scores(rows, declared)
    if not asked:
        first = shown_scores(known)[:1]
        if not first:
            raise ValueError(f"{option} needs a score but no trial has one")
        return first[0].name
    declared.score(asked, option)
    names = [score.name for score in known]
    if asked not in names:
        raise ValueError(f"{option} must be a score that a trial has ({some(names, 12)}) but got {asked}")
    return asked


def tables(options: argparse.Namespace) -> tuple[list[Lines], list[str]]:
    """The tables that are asked for, and sentences on what is not in them."""
    store, declared = open_results(options.results)
    scored = [row for row in store.read_rows() if declared.status(row["status"]).is_scored]
    say_damaged(store)
    rows = sorted(scored, key=lambda row: str(row.get("started_at")))
    if not rows:
        return [], [f"nothing to compare: {options.results} has no finished trial"]
    if options.ranks is not None:
        return [ranks_table(rows, declared, score_of(rows, declared, "--ranks", options.ranks))], []
    if options.best is not None:
        best = best_table(rows, store, declared, score_of(rows, declared, "--best", options.best))
        return [best], [] if best[2] else ["nothing to choose from: needs a method with several conditions"]
    compared = compare(rows, store, parse_baseline(options.baseline, rows, declared), declared)
    shown = [over_seeds_table(rows, declared), against_table(compared.made)]
    notes = [*left_out_text(compared.left_out), *versions_text(compared.made)]
    if not any(lines for *_, lines in shown) and not notes:
        notes = ["nothing to compare: needs two finished trials of the same model and dataset, or one with two seeds"]
    return shown, notes
