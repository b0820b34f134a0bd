"""`python -m raypeft.trial`: see `raypeft.cli.trial`."""

import sys
from importlib import import_module

from raypeft.cli.ending import exit_code

if __name__ == "__main__":
    # Imported within: its libraries take seconds, in which Ctrl-C may come.
    sys.exit(exit_code(lambda: import_module("raypeft.cli.trial").main()))
