"""How a command's process ends."""

import signal
import subprocess
import sys

import pytest

from raypeft.cli.ending import READER_LEFT, exit_code
from raypeft.sweep import main


@pytest.mark.parametrize("listing", ["-m raypeft.sweep rq1 --dry-run", "-m raypeft sweep rq1 --dry-run"])
def test_a_reader_that_leaves_ends_a_listing_without_a_traceback(listing: str) -> None:
    process = subprocess.Popen([sys.executable, *listing.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == READER_LEFT


def test_a_command_that_runs_in_a_used_process_leaves_its_signals_as_they_were(capsys: pytest.CaptureFixture) -> None:
    before = [signal.getsignal(number) for number in signal.valid_signals()]
    assert main(["quickstart", "--dry-run"]) == 0
    assert [signal.getsignal(number) for number in signal.valid_signals()] == before


def test_a_commands_exit_code_is_passed_on() -> None:
    assert exit_code(lambda: 2) == 2
