"""`raypeft score`: compute the scores of stored candidates again, without a model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from raypeft.analysis.folder import say_damaged
from raypeft.analysis.report.terminal import print_summary
from raypeft.analysis.score import score_again
from raypeft.mistakes import number_of
from raypeft.results.manifest import Manifest
from raypeft.results.store import ResultStore
from raypeft.runner.observers import listener_to
from raypeft.runner.observers.lines import TrialLines
from raypeft.sandbox import SandboxUnavailable
from raypeft.study.options import SandboxOptions
from raypeft.trial.columns import tables
from raypeft.trial.declarations import write_manifest

OF_THE_SWEEP = ("tier", "seconds_per_test", "memory_mb", "stop")
"""What tests are run with as the sweep ran them. That programs run without isolation is asked for each time anew: the
folder may be of somebody else."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        asked = {name: value for name, value in vars(options).items() if name in SandboxOptions.model_fields}
        if asked.get("stop") == "none":
            asked["stop"] = None
        SandboxOptions(**asked)
        store = ResultStore.existing(options.results, tables(), table="candidates")
        store.upgrade()
        manifest = write_manifest(store)
        settings = _options(manifest, asked).settings
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
    print_summary(store.read_rows(), declared=manifest.declarations)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="raypeft score",
        description="Compute the scores of a sweep's stored candidates again, without a model. Tests are run as the "
        "section `sandbox` of the sweep says, where no option says otherwise.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("results", help="results folder or URL of the sweep, e.g. results/conala_smollm2")
    parser.add_argument(
        "--rerun-tests", action="store_true", default=False, help="also run the tests of the candidates again"
    )
    parser.add_argument(
        "--other-tests",
        action="store_true",
        default=False,
        help="take the tests as they are now where the test data has changed since a trial ran; its row then has their "
        "revision",
    )
    parser.add_argument(
        "--seconds-per-test", type=float, help="CPU time limit of one test, in seconds (default: the sweep's, or 4)"
    )
    parser.add_argument(
        "--memory-mb", type=int, help="memory limit of one program, in MiB (default: the sweep's, or 1024)"
    )
    parser.add_argument(
        "--tier", help="isolation of the programs: auto, A, B, C or U (default: the sweep's, or the best one)"
    )
    parser.add_argument(
        "--stop",
        choices=("first_fail", "none"),
        help="first_fail: skip a candidate's other tests after its first failure (default: the sweep's, or none)",
    )
    parser.add_argument(
        "--allow-unsafe-execution", action="store_true", help="run programs even on a machine without isolation"
    )
    return parser


def _options(manifest: Manifest, asked: dict[str, Any]) -> SandboxOptions:
    """What was asked for, then what the sweep says, then the defaults. What the sweep says is told.

    Raises ValueError where this version cannot read what the sweep says.
    """
    try:
        sweep = yaml.safe_load(manifest.sweep.get("text", "")) or {}
        section = sweep.get("sandbox") or {}
        said = {name: value for name, value in section.items() if name in OF_THE_SWEEP and name not in asked}
        options = SandboxOptions(**said, **asked)
    except (yaml.YAMLError, AttributeError, ValueError) as error:
        raise ValueError(f"the sweep in manifest.json must have a section sandbox that this version reads, but: "
                         f"{error}") from None  # fmt: skip
    if said:
        told = ", ".join(f"{name} {value}" for name, value in said.items())
        print(f"limits of tests, as the sweep has them: {told}")
    return options
