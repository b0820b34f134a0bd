"""Seconds to score a corpus with CodeBLEU: ours against the codebleu package, in one process, taking turns.

    python benchmarks/codebleu_speed.py --rounds 5
    RAYPEFT_REFERENCE=folder python benchmarks/codebleu_speed.py     # also the corpora of folder/codebleu_cases.json

The built-in corpora are functions of Python's own standard library, whole and cut short. Each round scores a
corpus once with each program, in turn, so that other load on the machine hits all alike; the table shows each
program's fastest round and the package's time divided by ours. Both start from text and end with the five scores.
"""

from __future__ import annotations

import ast
import inspect
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import codebleu as package
from reports import arguments

from raypeft.metrics.codebleu.score import codebleu
from raypeft.metrics.readings import Reading

MODULES = ("argparse", "configparser", "difflib", "heapq", "json.decoder", "shutil", "statistics", "textwrap")
Corpus = tuple[list[str], list[str]]


def corpora() -> Iterator[tuple[str, Corpus]]:
    """Names and (references, predictions) of the corpora to score."""
    functions = [text for name in MODULES for text in functions_of(name)]
    yield "functions/next", (functions, functions[1:] + functions[:1])
    yield "functions/cut", (functions, [text[: len(text) * 6 // 10] for text in functions])
    folder = os.environ.get("RAYPEFT_REFERENCE")
    if folder:
        cases = json.loads((Path(folder) / "codebleu_cases.json").read_text("utf-8"))
        for name, case in cases.items():
            yield name, (case["references"], case["predictions"])


def functions_of(module: str) -> list[str]:
    """The source text of a standard-library module's functions and methods."""
    source = inspect.getsource(__import__(module, fromlist=["*"]))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = (ast.get_source_segment(source, node) for node in ast.walk(ast.parse(source)) if isinstance(node, kinds))
    return [text for text in found if text]


def programs() -> dict[str, Callable[[list[str], list[str]], object]]:
    return {
        "package": lambda references, predictions: package.calc_codebleu(references, predictions, "python"),
        "corrected": lambda references, predictions: codebleu(references, predictions, Reading.CORRECTED),
        "paper": lambda references, predictions: codebleu(references, predictions, Reading.PAPER_RQ2),
    }


def fastest(corpus: Corpus, rounds: int) -> dict[str, float]:
    """Each program's shortest time on the corpus, in seconds."""
    seconds = dict.fromkeys(programs(), float("inf"))
    for _ in range(rounds):
        for name, score in programs().items():
            start = time.perf_counter()
            score(*corpus)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each program on each corpus")
    rounds = parser.parse_args().rounds
    logging.disable(logging.WARNING)  # the package warns about each corpus without data flow
    print(f"{'corpus':<24}{'examples':>9}{'package s':>11}{'corrected s':>13}{'ratio':>7}{'paper s':>9}{'ratio':>7}")
    for name, corpus in corpora():
        seconds = fastest(corpus, rounds)
        original = seconds["package"]
        ours = "".join(
            f"{seconds[reading]:>{width}.3f}{original / seconds[reading]:>6.2f}x"
            for reading, width in (("corrected", 13), ("paper", 9))
        )
        print(f"{name:<24}{len(corpus[0]):>9}{original:>11.3f}{ours}")


if __name__ == "__main__":
    main()
