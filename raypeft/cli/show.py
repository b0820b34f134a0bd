"""`raypeft show`: one trial in the terminal: its fields, scores, cost and curve, and its answers to some examples."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from raypeft.analysis.findings import as_text
from raypeft.analysis.folder import say_damaged
from raypeft.analysis.report.examples import Answer, AnsweredExample, cut, examples_of
from raypeft.analysis.report.one_trial import tables_of
from raypeft.analysis.report.study import Row, Study, open_study
from raypeft.analysis.settings import data_of
from raypeft.analysis.warnings import warnings
from raypeft.data.text import visible
from raypeft.mistakes import nearest
from raypeft.results.chosen import chosen

MOST_TESTS = 10
"""Tests of a candidate that are told one by one."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="raypeft show",
        description="Show one trial: its fields, scores, cost and learning curve, and its answers to some\n"
        "examples with their log-probabilities and the verdicts of their tests. Loads no model.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  raypeft show results/own_data --trial 137c1 --wrong --examples 5",
    )
    parser.add_argument("results", help="results folder or URL of the sweep, e.g. results/own_data")
    parser.add_argument("--trial", required=True, metavar="ID", help="id of the trial, or the beginning of it")
    parser.add_argument("--examples", type=int, default=3, metavar="N", help="show N test examples (default: 3)")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--right", action="store_true", help="only examples with a right candidate")
    kind.add_argument("--wrong", action="store_true", help="only examples without a right candidate")
    parser.add_argument(
        "--example", action="append", default=[], metavar="ID", help="show this example (several times for several)"
    )
    options = parser.parse_args(arguments)
    if options.examples < 0:
        parser.error(f"--examples must be at least 0 but got {options.examples}")
    try:
        study = open_study([options.results])
        row = chosen(study.rows, options.trial, options.results)
        examples = examples_of(study, row)
        picked = _picked(examples, options)
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 200
    print_trial(console, study, row)
    print_examples(console, examples, picked)
    say_damaged(study.sweeps[0].store)
    return 0


def _picked(examples: Sequence[AnsweredExample], options: argparse.Namespace) -> list[AnsweredExample]:
    """The examples that are asked for. Raises ValueError for an id that no example has."""
    by_id = {each.id: each for each in examples}
    if unknown := [each for each in options.example if each not in by_id]:
        raise ValueError(f"--example must be the id of a test example of the trial but got {unknown[0]}"
                         f"{nearest(unknown[0], by_id)}")  # fmt: skip
    if options.example:
        return [by_id[each] for each in dict.fromkeys(options.example)]
    wanted = [each for each in examples if not (options.right or options.wrong) or each.is_right == options.right]
    return wanted[: options.examples]


def print_trial(console: Console, study: Study, row: Row) -> None:
    """How a trial ended, and its tables. Text that a model or a file wrote reaches the terminal as `visible` has it."""
    parts = (row["id"], row["model"], data_of(row), row["tuning_method"])
    console.print(visible(" ".join(map(str, parts))), style="bold", markup=False)
    console.print(visible(f"status: {row['status']}{': ' + row['error'] if row.get('error') else ''}"), markup=False)
    for title, headings, lines in tables_of(study, row):
        console.print()
        console.print(as_text(title, headings, [[visible(cell) for cell in line] for line in lines], markdown=False))
    for text in warnings([row]):
        console.print(visible(text), style="yellow", markup=False)


def print_examples(console: Console, examples: Sequence[AnsweredExample], picked: Sequence[AnsweredExample]) -> None:
    """The picked examples, below a line that says of how many they are."""
    if not examples:
        console.print("\nThe folder holds no answers of this trial.")
        return
    right = sum(each.is_right for each in examples)
    console.print(f"\n{len(picked)} of {len(examples)} test examples; {right} have a right candidate", style="bold")
    for each in picked:
        _print_example(console, each)


def _print_example(console: Console, example: AnsweredExample) -> None:
    verdict = "right" if example.is_right else "wrong"
    console.print(visible(f"\nexample {example.id}: {verdict}"), style="green" if example.is_right else "red",
                  markup=False)  # fmt: skip
    _print_text(console, "instruction", example.instruction or "(the folder does not hold it)")
    if example.shots:
        _print_text(console, "shots", ", ".join(example.shots))
    _print_text(console, "reference", example.reference or "(none)")
    for answer in example.answers:
        _print_answer(console, answer)


def _print_answer(console: Console, answer: Answer) -> None:
    probability = "" if answer.log_probability is None else f"log-probability {answer.log_probability:.3f}"
    told = [f"rank {answer.rank}", "right" if answer.is_right else "wrong", probability, answer.note]
    _print_text(console, ", ".join(part for part in told if part), answer.text)
    for test in answer.tests[:MOST_TESTS]:
        error = f": {test['error']}" if test.get("error") else ""
        console.print(visible(f"  test {test['test']}: {test['outcome']}{error}"), style="dim", markup=False)
    if len(answer.tests) > MOST_TESTS:
        console.print(f"  and {len(answer.tests) - MOST_TESTS} more tests", style="dim")


def _print_text(console: Console, name: str, text: str) -> None:
    console.print(visible(name), style="dim", markup=False)
    for line in visible(cut(text)).split("\n"):
        console.print(f"    {line}", markup=False)
