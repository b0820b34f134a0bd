"""`raypeft findings`: variation over seeds, and significance of the differences between trials."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from raypeft.analysis.findings import AGAINST, against_table, as_text, over_seeds_table
from raypeft.analysis.folder import open_results


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="raypeft findings",
        description="Print the variation over seeds, and test the differences between trials for significance.",
    )
    parser.add_argument("results", help="results folder or URL of the sweep, e.g. results/quickstart")
    parser.add_argument(
        "--baseline", help="id of a trial or name of a method to compare with (default: the trial that started first)"
    )
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    options = parser.parse_args(arguments)
    try:
        store, declared = open_results(options.results)
        scored = (row for row in store.read_rows() if declared.status(row["status"]).is_scored)
        rows = sorted(scored, key=lambda row: str(row.get("started_at")))
        shown = [
            ("Over seeds, scores in percent: mean ± standard deviation [95 % interval of the mean]",
             *over_seeds_table(rows, declared)),
            ("Differences on the same test examples, in percentage points", AGAINST,
             against_table(rows, store, options.baseline, declared) if rows else []),
        ]  # fmt: skip
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    console = Console()
    if not console.is_terminal:
        console.width = 160
    for title, headings, lines in shown:
        if lines:
            # Markdown is not folded: a cell must end on the line on which it begins.
            table = as_text(title, headings, lines, options.markdown)
            console.print(table, highlight=False, markup=False, soft_wrap=options.markdown)
    if not any(lines for *_, lines in shown):
        print(
            "nothing to compare: needs two finished trials of the same model and dataset, or one trial with two seeds"
        )
    return 0
