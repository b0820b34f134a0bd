"""`python -m raypeft.trial`: see `raypeft.cli.trial`."""

import sys

from raypeft.cli.trial import main

if __name__ == "__main__":
    sys.exit(main())
