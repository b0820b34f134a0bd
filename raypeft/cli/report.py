"""`raypeft report`: the table of a sweep's results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from raypeft.analysis.folder import open_results
from raypeft.analysis.report import markdown, print_summary


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="raypeft report", description="Print the table of a finished sweep.")
    parser.add_argument("results", help="the sweep's folder or URL, e.g. results/quickstart")
    parser.add_argument("--markdown", action="store_true", help="as a Markdown table")
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
