"""What the check of decoding costs a base: seconds for each kind of search, and of CPU time in them.

    python benchmarks/selfcheck.py --model SmolLM2-135M-Instruct.Q4_1.gguf

On a busy machine the seconds are those of the others as well; a check is made once for each base and kind of search.
"""

import os
import time
from pathlib import Path
from statistics import median

import torch
from reports import MODEL, add_numbers, add_out, arguments, command, flags, head, publish, row, timed

from raypeft.decoding.search import Search
from raypeft.decoding.selfcheck import choose_path
from raypeft.machine import device_name
from raypeft.models.loading import load_base

SEARCHES = {
    "10 beams": Search(64, num_beams=10, num_return_sequences=10),
    "greedy": Search(64),
    "samples": Search(64, num_return_sequences=5, do_sample=True),
}


def main():
    parser = arguments(__doc__)
    parser.add_argument("--model", default="toy", help=MODEL)
    add_numbers(parser, rounds=3, threads=2)
    add_out(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    base = load_base(options.model, options.model if options.model != "toy" else None)
    lines = [
        "# The check of decoding: what it costs",
        "",
        f"{command('selfcheck', '--model MODEL', flags(options, 'rounds', 'threads'))} on {device_name()}, "
        f"{options.threads} threads, torch {torch.__version__}, load {os.getloadavg()[0]:.1f} when it began. "
        f"{Path(options.model).stem}, medians of {options.rounds}.",
        "",
        *head("search", "path", "> seconds", "> CPU seconds"),
    ]
    for name, search in SEARCHES.items():
        found = []
        for _ in range(options.rounds):
            used = time.process_time()
            chosen, seconds = timed(choose_path, base.model, base.tokenizer, search)
            found.append((seconds, time.process_time() - used))
        lines.append(row(name, chosen.path, *(f"{median(each):.2f}" for each in zip(*found, strict=True))))
    publish(lines, options.out)


if __name__ == "__main__":
    main()
