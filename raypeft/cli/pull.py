"""`raypeft pull`: results that others have shared, as a results folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from raypeft.sharing.hub import HubError
from raypeft.sharing.pulled import pull


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="raypeft pull",
        description="Copy results that `raypeft push` has shared into a results folder. All commands read\n"
        "it, and the same sweep goes on from it.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  raypeft pull hf://owner/name --to results/theirs",
    )
    parser.add_argument("place", help="hf://OWNER/NAME, hf://OWNER/NAME@REVISION, a folder, or a URL as s3://...")
    parser.add_argument("--to", required=True, metavar="FOLDER", help="a new or empty folder")
    options = parser.parse_args(arguments)
    try:
        print(pull(options.place, Path(options.to).expanduser()))
    except (OSError, ValueError, HubError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0
