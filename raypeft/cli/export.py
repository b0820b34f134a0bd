"""`raypeft export`: a finished trial's model as a folder that works without raypeft."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from raypeft.machine import quiet_libraries
from raypeft.results.store import ResultStore
from raypeft.trial.columns import tables


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="raypeft export",
        description="Write the model of a finished trial into a folder that works without raypeft: its\n"
        "adapter (with --merged: whole weights), its tokenizer, and a model card with scores\n"
        "and a snippet.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  raypeft export results/own_data --trial 137c19eb7a --merged --to my_model",
    )
    parser.add_argument("results", help="results folder or URL of the sweep, e.g. results/own_data")
    parser.add_argument("--trial", required=True, metavar="ID", help="id of the trial, or the beginning of it")
    parser.add_argument("--to", required=True, metavar="FOLDER", help="a new or empty folder")
    parser.add_argument("--merged", action="store_true", help="merge the adapter into the weights of its base model")
    options = parser.parse_args(arguments)
    quiet_libraries()
    try:
        from raypeft.trial.exporting import export

        store = ResultStore.existing(options.results, tables())
        print(export(store, options.trial, Path(options.to).expanduser(), options.merged))
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0
