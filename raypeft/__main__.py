"""`raypeft COMMAND ...` (or `python -m raypeft COMMAND ...`). Each command but `sweep` is a module in `raypeft.cli`."""

import sys
from importlib import import_module

from raypeft import __version__
from raypeft.cli.ending import exit_code
from raypeft.mistakes import must_be_one_of

VERBS = {
    "sweep": "run all trials of a sweep file, on this machine or on a Ray cluster",
    "trial": "run one trial of a sweep file in this process, without Ray",
    "score": "compute the scores of stored candidates again, without a model",
    "report": "the results of sweeps as a table, a page, and files for a paper",
    "status": "how far a sweep is: done, running, waiting and failed trials, and the time left",
    "show": "one trial: its fields, scores, cost and curve, and its answers to some examples",
    "try": "ask the model of a finished trial something new",
    "export": "the model of a finished trial as a folder that works without raypeft",
    "push": "share results and adapters on the Hugging Face Hub, or anywhere",
    "pull": "results that others have shared, as a results folder",
    "doctor": "what works on this machine and what does not, and what to do",
    "sandbox-check": "run official solutions of a dataset in the sandbox of this machine",
    "findings": "variation over seeds, and significance of the differences between trials",
}
MODULES = {"sweep": "raypeft.sweep", "try": "raypeft.cli.try_out",
           "sandbox-check": "raypeft.cli.sandbox_check"}  # fmt: skip
"""The modules of commands that are not named after them."""


def main() -> int:
    verb = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if verb in VERBS:
        sys.argv = [f"raypeft {verb}", *sys.argv[2:]]
        module = MODULES.get(verb, f"raypeft.cli.{verb}")
        return exit_code(lambda: import_module(module).main())  # Ctrl-C may come while its libraries load
    if verb == "--version":
        print(f"raypeft {__version__}")
        return 0
    if verb not in ("-h", "--help"):
        print(f"COMMAND {must_be_one_of(VERBS, verb)}", file=sys.stderr)
        return 2
    print("usage: raypeft COMMAND ...   (raypeft COMMAND --help explains a command)\n")
    for name, purpose in VERBS.items():
        print(f"  {name:14}{purpose}")
    print("\nraypeft --version prints the version")
    return 0


if __name__ == "__main__":
    sys.exit(main())
