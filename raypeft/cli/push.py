"""`raypeft push`: share a sweep's results on the Hugging Face Hub, or at any place that can be written."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from raypeft.analysis.folder import open_results, say_damaged
from raypeft.results.shared import HUB, hub_repository
from raypeft.sharing.hub import HubError, Repository, look_up, upload
from raypeft.sharing.places import check_target, copy_to
from raypeft.sharing.staged import Staged, Wanted, stage

EPILOG = """examples:
  raypeft push results/rq2 --to hf://owner/name              private, on the Hugging Face Hub
  raypeft push results/rq2 --to hf://owner/name --public     asks before it makes them public
  raypeft push results/rq2 --to s3://bucket/shared/rq2       a copy at any URL, or in a folder

Generated programs, instructions and references stay here: the licences of datasets need not allow them to be passed on.
--with-text shares them as well. The token is that of HF_TOKEN or `hf auth login`."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="raypeft push",
        description="Share the rows, scores, report and adapters of a sweep, with cards that explain them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", help="results folder or URL of the sweep, e.g. results/rq2")
    parser.add_argument("--to", required=True, metavar="PLACE", help="hf://OWNER/NAME, a folder, or a URL as s3://...")
    parser.add_argument("--public", action="store_true", help="let everyone on the hub read it (default: private)")
    parser.add_argument("--yes", action="store_true", help="do not ask before making anything public")
    parser.add_argument(
        "--with-text", action="store_true", help="also share candidates, tests and the examples of the report"
    )
    parser.add_argument("--no-adapters", action="store_true", help="share no adapters")
    options = parser.parse_args(arguments)
    if options.public and not options.to.startswith(HUB):
        parser.error("--public is for the hub: who reads a folder or a bucket is decided there")
    try:
        return push(options)
    except (OSError, ValueError, HubError) as error:
        print(error, file=sys.stderr)
        return 2


def push(options: argparse.Namespace) -> int:
    """Share what is asked for; returns the exit code. Raises HubError, ValueError and OSError."""
    name = _repository(options.to) if options.to.startswith(HUB) else ""
    store, _ = open_results(options.results)
    wanted = Wanted(options.with_text, not options.no_adapters)
    repositories: list[Repository] = []
    if name:
        repositories = [look_up(name, "dataset")]
        if wanted.adapters and store.names("adapters"):
            repositories.append(look_up(name, "model"))
        if not may_be_public(repositories, options):
            return 2
    else:
        check_target(options.to)
    with tempfile.TemporaryDirectory() as folder:
        staged = stage(store, Path(folder), wanted)
        say_damaged(store)
        print(described(staged))
        if name:
            targets = [each for each in repositories if each.kind == "dataset" or staged.model]
            addresses = upload(staged, targets, options.public, f"Results of {options.results.rstrip('/')}")
        else:
            addresses = [copy_to(staged, options.to)]
    for address in addresses:
        print(address)
    return 0


def _repository(place: str) -> str:
    """The repository that `place` names. Raises ValueError for a revision, which cannot be pushed to."""
    repository, revision = hub_repository(place)
    if revision:
        raise ValueError(f"--to must be hf://OWNER/NAME without a revision but got {place}")
    return repository


def may_be_public(repositories: Sequence[Repository], options: argparse.Namespace) -> bool:
    """Whether what will be public may be. Nothing is asked where nothing is public."""
    public = [each.url for each in repositories if options.public or each.state == "public"]
    if not public or options.yes:
        return True
    text = " Text of datasets and generated programs are part of it." if options.with_text else ""
    if not sys.stdin.isatty():
        print(f"{' and '.join(public)} would be public, and there is no terminal to ask at: --yes says that it may be",
              file=sys.stderr)  # fmt: skip
        return False
    try:
        answer = input(f"Everyone will be able to read {' and '.join(public)}.{text} Go on? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() in ("y", "yes"):
        return True
    print("nothing was pushed", file=sys.stderr)
    return False


def described(staged: Staged) -> str:
    """What is shared and what is not, in a line."""
    rows = ", ".join(f"{count:,} rows of {table}" for table, count in staged.tables.items())
    count = len(staged.adapters)
    adapters = f", {count} adapter{'' if count == 1 else 's'}" if count else ""
    stays = f"; {' and '.join(staged.left_out)} stay here (--with-text shares them)" if staged.left_out else ""
    return f"shared: {rows}{adapters}, report.html{stays}"
