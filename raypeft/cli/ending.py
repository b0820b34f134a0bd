"""How a command's process ends: with its exit code, and quietly where the reader of its output has left (`| head`)."""

import os
import sys
from collections.abc import Callable

READER_LEFT = 141
"""The exit code where the reader left: what a shell reports of a process that SIGPIPE ended (128 + 13)."""


def exit_code(command: Callable[[], int]) -> int:
    """Run `command` and return its exit code, or `READER_LEFT` where its output could not be written any more.

    SIGPIPE stays ignored, as Python has it: a process that lets the signal end it is also ended by a lost sandbox.
    """
    try:
        code = command()
        sys.stdout.flush()
    except BrokenPipeError:
        # Python writes what is left once more at its end, and would complain: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_LEFT
    return code
