"""`raypeft score`: compute the scores of stored candidates again, without a model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from raypeft.analysis.folder import say_damaged
from raypeft.analysis.report.terminal import print_summary
from raypeft.analysis.score import score_again
from raypeft.mistakes import number_of
from raypeft.results.store import ResultStore
from raypeft.runner.observers import listener_to
from raypeft.runner.observers.lines import TrialLines
from raypeft.sandbox import SandboxUnavailable
from raypeft.study.options import SandboxOptions
from raypeft.trial.columns import tables
from raypeft.trial.declarations import write_manifest


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="raypeft score", description="Compute the scores of a sweep's stored candidates again, without a model."
    )
    parser.add_argument("results", help="results folder or URL of the sweep, e.g. results/conala_smollm2")
    parser.add_argument("--rerun-tests", action="store_true", help="also run the tests of the candidates again")
    parser.add_argument(
        "--other-tests",
        action="store_true",
        help="take the tests as they are now where the test data has changed since a trial ran; its row then has their "
        "revision",
    )
    parser.add_argument(
        "--seconds-per-test", type=float, default=4.0, help="CPU time limit of one test, in seconds (default: 4)"
    )
    parser.add_argument(
        "--memory-mb", type=int, default=1024, help="memory limit of one program, in MiB (default: 1024)"
    )
    parser.add_argument("--tier", default="auto", help="isolation of the programs: auto, A, B, C or U (default: auto)")
    parser.add_argument(
        "--allow-unsafe-execution", action="store_true", help="run programs even on a machine without isolation"
    )
    options = parser.parse_args(arguments)
    try:
        asked = {name: getattr(options, name) for name in SandboxOptions.model_fields if hasattr(options, name)}
        settings = SandboxOptions(**asked).settings
        store = ResultStore.existing(options.results, tables(), table="candidates")
        store.upgrade()
        declared = write_manifest(store).declarations
        listener = listener_to("", TrialLines())
        count = score_again(store, settings, options.rerun_tests, listener, options.other_tests)
        print(f"{number_of(count, 'trial')} scored again")
    except ValidationError as error:
        problem = error.errors()[0]
        print(
            f"--{str(problem['loc'][0]).replace('_', '-')}: {problem['msg']} but got {problem['input']!r}",
            file=sys.stderr,
        )
        return 2
    except (FileNotFoundError, ValueError, SandboxUnavailable) as error:
        print(error, file=sys.stderr)
        return 2
    say_damaged(store)
    print_summary(store.read_rows(), declared=declared)
    return 0
