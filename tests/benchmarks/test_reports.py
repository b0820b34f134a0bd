"""What the benchmarks share writes tables that Markdown reads, and commands that can be run again."""

from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks.reports import add_numbers, add_out, arguments, command, flags, head, publish, row


def test_numbers_stand_at_the_right_and_an_empty_cell_stays_empty() -> None:
    assert head("", "> seconds", "result") == ["| | seconds | result |", "| --- | ---: | --- |"]
    assert row("", 1.5, "ok") == "| | 1.5 | ok |"


def test_a_command_names_the_options_as_they_are_typed_and_leaves_out_empty_words() -> None:
    options = Namespace(batch_size=16, threads=2)
    how = command("generation", "", flags(options, "batch_size", "threads"))
    assert how == "`python benchmarks/generation.py --batch-size 16 --threads 2`"


def test_options_of_whole_numbers_are_parsed_with_their_defaults() -> None:
    parser = arguments("What it does.")
    add_numbers(parser, batch_size=16, rounds=3)
    add_out(parser)
    assert vars(parser.parse_args(["--batch-size", "4"])) == {"batch_size": 4, "rounds": 3, "out": None}


def test_a_report_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(["# Title", "", "| a |"], tmp_path / "report.md")
    assert (tmp_path / "report.md").read_text() == "# Title\n\n| a |\n"
    assert capsys.readouterr().out == "# Title\n\n| a |\n\n"
