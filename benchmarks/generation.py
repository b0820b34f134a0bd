"""Decoding speed: ours in batches against the paper's way, `generate` for one example at a time with 10 beams.

    python benchmarks/generation.py --out benchmarks/results/generation.md
    python benchmarks/generation.py --model models/SmolLM2-135M-Instruct.Q4_1.gguf --data datasets/conala --examples 8

Same model, prompts and search, the two alternating in one process; candidates must be identical or the run fails.
"""

import argparse
import time
from pathlib import Path
from statistics import median

import torch

from raypeft.data import DATASETS
from raypeft.generation import generate
from raypeft.loading import load_base
from raypeft.memory import device_name
from raypeft.prompts import encode, pick_shots

SEARCH = {"num_beams": 10, "num_return_sequences": 10, "max_new_tokens": 64}


def one_at_a_time(base, prompts, stop):
    """The texts of `generate` of Transformers for each prompt alone, cut at the stop as ours are."""
    texts = []
    for prompt in prompts:
        ids = torch.tensor([prompt.prompt_ids], device=base.model.device)
        rows = base.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            stop_strings=[stop],
            tokenizer=base.tokenizer,
            **SEARCH,
        )
        decoded = [base.tokenizer.decode(row[ids.shape[1] :], skip_special_tokens=True) for row in rows]
        texts.append([text.split(stop)[0] for text in decoded])
    return texts


def batched(base, prompts, stop, batch_size):
    found = generate(base.model, base.tokenizer, prompts, stop=(stop,), batch_size=batch_size, **SEARCH)
    return [[candidate.text for candidate in candidates] for candidates in found]


def timed(function, *arguments):
    started = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or GGUF file; without it, the toy model")
    parser.add_argument("--data", help="folder of CoNaLa's splits; without it, the toy dataset")
    parser.add_argument("--examples", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", help="write the table here as well")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    base = load_base(options.model or "toy")
    dataset = "conala" if options.data else "toy"
    splits = DATASETS[dataset].load(options.data, None)
    lines = []
    for num_shots in (0, 8):
        shots = pick_shots(splits["train"], num_shots, 42)
        prompts = [encode(example, base.tokenizer, shots) for example in splits["test"][: options.examples]]
        ours, theirs = [], []
        for _ in range(options.rounds):
            mine, seconds = timed(batched, base, prompts, "\n", options.batch_size)
            ours.append(len(prompts) / seconds)
            other, seconds = timed(one_at_a_time, base, prompts, "\n")
            theirs.append(len(prompts) / seconds)
            assert mine == other, "the candidates differ"
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        mean_length = sum(len(prompt.prompt_ids) for prompt in prompts) / len(prompts)
        lines.append(
            f"| {num_shots} | {mean_length:.0f} | {median(theirs):.2f} | {median(ours):.2f} "
            f"| {median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}) |"
        )
        print(lines[-1], flush=True)
    report = "\n".join(
        [
            "# Decoding: examples a second",
            "",
            f"`python benchmarks/generation.py --examples {options.examples} --rounds {options.rounds} --batch-size "
            f"{options.batch_size} --threads {options.threads}`: {'toy' if not options.model else Path(options.model).name} on {dataset}, 10 beams, up to 64 new tokens,",
            f"stop at a newline, float32, {options.threads} threads of {device_name()}, torch {torch.__version__}. Candidates identical.",
            "",
            "| shots | prompt tokens | one at a time | raypeft | ratio (rounds) |",
            "| ---: | ---: | ---: | ---: | --- |",
            *lines,
            "",
        ]
    )
    print(report)
    if options.out:
        Path(options.out).write_text(report)


if __name__ == "__main__":
    main()
