"""`raypeft report`: the table of a sweep's results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from raypeft.analysis.report import markdown, print_summary
from raypeft.results.store import ResultStore
from raypeft.trial.columns import tables


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="raypeft report", description="Print the table of a finished sweep.")
    parser.add_argument("results", help="the sweep's folder or URL, e.g. results/quickstart")
    parser.add_argument("--markdown", action="store_true", help="as a Markdown table")
    options = parser.parse_args(arguments)
    try:
        store = ResultStore.existing(options.results, tables())
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    rows = sorted(store.read_rows(), key=lambda row: str(row["started_at"]))
    if options.markdown:
        print(markdown(rows))
    else:
        print_summary(rows)
    return 0
