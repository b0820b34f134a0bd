"""How a command's process ends: with its exit code, and quietly where it is stopped, or where the reader of its output
has left (`| head`)."""

import os
import sys
from collections.abc import Callable

from raypeft.stopping import Stop, Stopped

READER_LEFT = 141
"""The exit code where the reader left: what a shell reports of a process that SIGPIPE ended (128 + 13)."""


def exit_code(command: Callable[[], int]) -> int:
    """Run `command` and return its exit code, or `READER_LEFT` where its output could not be written any more, or what
    shells report of a signal that stopped it (130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP).

    SIGPIPE stays ignored, as Python has it: a process that lets the signal end it is also ended by a lost sandbox.
    """
    try:
        with Stop().on_signals():
            code = command()
            sys.stdout.flush()
    except Stopped as stopped:
        print(f"{stopped}; the same command goes on from what is stored", file=sys.stderr)
        return stopped.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Python writes what is left once more at its end, and would complain: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_LEFT
    return code
