"""What the benchmarks share: arguments, a clock, and reports in Markdown.

parser = arguments(__doc__)
add_numbers(parser, rounds=3, threads=2)
add_out(parser)
options = parser.parse_args()
publish([*head("way", "> seconds"), row("ours", 1.5)], options.out)
"""

import argparse
import time
from pathlib import Path

MODEL = "folder or GGUF file; without it, the toy model"
DATA = "folder of CoNaLa's splits; without it, the toy dataset"


def arguments(about):
    """A parser whose help begins with a benchmark's docstring."""
    return argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_numbers(parser, **defaults):
    """Whole numbers that need no words: `batch_size=16` adds --batch-size."""
    for name, default in defaults.items():
        parser.add_argument(flag(name), type=int, default=default)


def add_out(parser, name="out"):
    parser.add_argument(flag(name), help="write the table here as well")


def flag(name):
    return f"--{name.replace('_', '-')}"


def flags(options, *names):
    """The options of these names as they would be typed."""
    return " ".join(f"{flag(name)} {getattr(options, name)}" for name in names)


def command(script, *words):
    """How to run the benchmark again, in backquotes; empty words are left out."""
    return f"`{' '.join(['python', f'benchmarks/{script}.py', *filter(None, words)])}`"


def head(*headings):
    """The two lines above a table's rows; headings that begin with "> " stand over numbers, at the right."""
    return [
        row(*(heading.removeprefix("> ") for heading in headings)),
        row(*("---:" if heading.startswith("> ") else "---" for heading in headings)),
    ]


def row(*cells):
    return "".join("| " if cell == "" else f"| {cell} " for cell in cells) + "|"


def publish(lines, path=None):
    """Print the report and, where a path is given, write it there."""
    report = "\n".join(lines) + "\n"
    print(report)
    if path:
        Path(path).write_text(report, encoding="utf-8")


def timed(function, *arguments):
    """The function's result, and the seconds that it took."""
    started = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - started
