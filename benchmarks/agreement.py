"""How much of what is decoded depends on the batch: candidates of batches against those of single prompts.

    python benchmarks/agreement.py --out benchmarks/results/agreement.md
    python benchmarks/agreement.py --model models/SmolLM2-135M-Instruct.Q4_1.gguf --data datasets/conala --examples 16

In float32 nothing does (tests/decoding/test_generation.py and tests/methods/test_methods_on_families.py hold it to that). In
bfloat16 sums are rounded by their order, which a batch changes; LLM.int8 looks for outliers over the whole batch.
"""

from pathlib import Path

import torch
from reports import DATA, MODEL, add_numbers, add_out, arguments, command, flags, head, publish, row

from raypeft.data import DATASETS
from raypeft.decoding.generation import Search, generate
from raypeft.machine import device_name
from raypeft.models.loading import load_base
from raypeft.prompting.encoding import Encoder
from raypeft.prompting.shots import random_shots

BEAMS = {"num_beams": 10, "num_return_sequences": 10}
SAMPLES = {"do_sample": True, "num_return_sequences": 10, "temperature": 0.6, "top_p": 0.95}


def agreement(base, prompts, batch_size, search):
    """Shares of identical text: of first candidates, and of all, rank by rank."""
    alone, together = (
        generate(
            base.model, base.tokenizer, prompts, Search(stop=("\n",), max_new_tokens=64, batch_size=size, **search)
        )
        for size in (1, batch_size)
    )
    pairs = [(a, b) for ours, theirs in zip(alone, together, strict=True) for a, b in zip(ours, theirs, strict=True)]
    first = [a.text == b.text for a, b in pairs if a.rank == 0]
    every = [a.text == b.text for a, b in pairs]
    return sum(first) / len(first), sum(every) / len(every)


def load(kind, path):
    base = load_base(path or "toy", weights=kind if kind in ("int8", "nf4") else "half")
    if kind == "bfloat16":
        base.model.to(torch.bfloat16)
    return base


def main():
    parser = arguments(__doc__)
    parser.add_argument("--model", help=MODEL)
    parser.add_argument("--data", help=DATA)
    add_numbers(parser, examples=64, batch_size=16, threads=1)
    add_out(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dataset = "conala" if options.data else "toy"
    splits = DATASETS[dataset].load(options.data, None)
    shots = random_shots(splits["train"], 4, 42)
    lines = []
    for kind in ("float32", "bfloat16", "nf4", "int8"):
        base = load(kind, options.model)
        prompts = [Encoder(base.tokenizer).encode(example, shots) for example in splits["test"][: options.examples]]
        shares = [*agreement(base, prompts, options.batch_size, BEAMS)]
        shares += agreement(base, prompts, options.batch_size, SAMPLES)
        lines.append(row(kind, *(f"{100 * share:.1f}" for share in shares)))
        print(lines[-1], flush=True)
    report = [
        "# Agreement: identical candidates of a batch and of single prompts, in percent",
        "",
        f"{command('agreement', flags(options, 'examples', 'batch_size', 'threads'))}:",
        f"{'toy' if not options.model else Path(options.model).name} on {dataset}, 4 shots, {options.threads} threads of {device_name()}, torch {torch.__version__}.",
        "No GPU has run this.",
        "",
        *head("weights", "> 10 beams, first", "> 10 beams, all", "> 10 samples, first", "> 10 samples, all"),
        *lines,
    ]
    publish(report, options.out)


if __name__ == "__main__":
    main()
