"""`raypeft VERB ...` (or `python -m raypeft VERB ...`): each verb is a module of that name in `raypeft.cli`."""

import sys
from importlib import import_module

VERBS = {
    "sweep": "run a sweep file: every trial of its grids, on this machine or on a Ray cluster",
    "trial": "run one trial of a sweep file in this process, without Ray",
    "score": "score a sweep's stored candidates again, without a model",
    "report": "print the table of a finished sweep",
    "findings": "how far seeds scatter, and which differences between trials are more than chance",
}


def main() -> int:
    verb = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if verb in VERBS:
        sys.argv = [f"raypeft {verb}", *sys.argv[2:]]
        module = "raypeft.sweep" if verb == "sweep" else f"raypeft.cli.{verb}"
        return int(import_module(module).main())
    print("usage: raypeft VERB ...   (raypeft VERB --help tells more)\n")
    for name, purpose in VERBS.items():
        print(f"  {name:10}{purpose}")
    return 0 if verb in ("-h", "--help") else 2


if __name__ == "__main__":
    sys.exit(main())
