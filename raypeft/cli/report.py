"""`raypeft report`: print the results of a sweep as a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from raypeft.analysis.folder import open_results
from raypeft.analysis.report.terminal import markdown, print_summary


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="raypeft report", description="Print the results of a sweep as a table.")
    parser.add_argument("results", help="results folder or URL of the sweep, e.g. results/quickstart")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    options = parser.parse_args(arguments)
    try:
        store, declared = open_results(options.results)
        rows = sorted(store.read_rows(), key=lambda row: str(row.get("started_at")))
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    if options.markdown:
        print(markdown(rows, declared))
    else:
        print_summary(rows, declared=declared)
    return 0
