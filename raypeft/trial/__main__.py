"""`python -m raypeft.trial`: see `raypeft.cli.trial`."""

import sys

from raypeft.cli.ending import exit_code
from raypeft.cli.trial import main

if __name__ == "__main__":
    sys.exit(exit_code(main))
