"""`raypeft try`: ask the model of a finished trial something new, in the terminal."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

from rich.console import Console

from raypeft.data.text import visible
from raypeft.gpu import take_budget
from raypeft.machine import quiet_libraries
from raypeft.results.store import ResultStore
from raypeft.trial.columns import tables


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="raypeft try",
        description="Ask the model of a finished trial something new: with its adapter or its shots, its\n"
        "prompts, its stop strings and its decoding.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  raypeft try results/own_data --trial 137c19eb7a 'Write a function that sorts rows by age.'",
    )
    parser.add_argument("results", help="results folder or URL of the sweep, e.g. results/own_data")
    parser.add_argument(
        "prompts", nargs="*", metavar="PROMPT", help="what to ask (default: one for each line of stdin)"
    )
    parser.add_argument("--trial", required=True, metavar="ID", help="id of the trial, or the beginning of it")
    parser.add_argument("--candidates", type=int, default=1, metavar="N", help="show the N best answers (default: 1)")
    options = parser.parse_intermixed_args(arguments)
    quiet_libraries()
    take_budget(math.inf)  # all that the GPU has, with the settings of a trial
    try:
        from raypeft.trial.trying import Asked

        asked = Asked.of(ResultStore.existing(options.results, tables()), options.trial)
        if not options.prompts and sys.stdin.isatty():
            print("one instruction on each line; Ctrl-D ends", file=sys.stderr)
        for prompt in options.prompts or sys.stdin:
            show(prompt.strip("\n"), asked.answers([prompt.strip("\n")])[0][: options.candidates])
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def show(prompt: str, candidates: Sequence[str]) -> None:
    """Print a prompt and its answers. Where nobody looks on, the answers alone, as they are."""
    console = Console(highlight=False, soft_wrap=True)
    if console.is_terminal:
        console.print(prompt, style="bold", markup=False)
    for number, candidate in enumerate(candidates, start=1):
        if len(candidates) > 1:
            console.print(f"# {number}", style="dim", markup=False)
        console.print(visible(candidate) if console.is_terminal else candidate, markup=False)
