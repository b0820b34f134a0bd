"""`raypeft findings`: how far seeds scatter, and which differences between trials are more than chance."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from raypeft.analysis.findings import AGAINST, OVER_SEEDS, against_table, as_text, over_seeds_table
from raypeft.results.columns import trial_columns
from raypeft.results.store import ResultStore


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="raypeft findings", description="How far seeds scatter, and which differences are more than chance."
    )
    parser.add_argument("results", help="the sweep's folder or URL, e.g. results/quickstart")
    parser.add_argument("--baseline", help="a trial's id or a method's name (default: the trial that started first)")
    parser.add_argument("--markdown", action="store_true", help="as Markdown tables")
    options = parser.parse_args(arguments)
    try:
        store = ResultStore.existing(options.results, trial_columns())
        rows = sorted((row for row in store.read_rows() if row["status"] == "ok"), key=lambda row: row["started_at"])
        tables = [
            ("Over seeds, scores in percent: mean ± standard deviation [95 % interval of the mean]", OVER_SEEDS,
             over_seeds_table(rows)),
            ("On the same test examples, in percentage points", AGAINST,
             against_table(rows, store, options.baseline) if rows else []),
        ]  # fmt: skip
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    console = Console()
    if not console.is_terminal:
        console.width = 160
    for title, headings, lines in tables:
        if lines:
            console.print(as_text(title, headings, lines, options.markdown), highlight=False, markup=False)
    if not any(lines for *_, lines in tables):
        print("nothing to compare: it takes two finished trials of one model and dataset, or two seeds of one trial")
    return 0
