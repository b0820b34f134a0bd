"""Beam search without the examples that have ended, against all of them to the end, and `generate` on padded batches.

    python benchmarks/beams.py --model models/SmolLM2-135M-Instruct.Q4_1.gguf --data datasets/conala \\
        --adapter results/conala_smollm2/adapters/ID --out benchmarks/results/beams.md

The same tuned model, test examples and search, the ways alternating in one process after one uncounted example of each.
Untuned models seldom end an answer, and then nothing is left out. Ours must find the same candidates both ways, or the run
fails.
"""

from statistics import mean, median

import torch
from generation import SEARCH, left_padded, spread
from peft import PeftModel
from reports import MODEL, add_numbers, add_out, arguments, command, flags, head, publish, row, timed

from raypeft.data import DATASETS
from raypeft.decoding import steps
from raypeft.decoding.generation import Search, generate
from raypeft.machine import device_name
from raypeft.models.loading import load_base
from raypeft.prompting.encoding import Encoder

KEPT = steps.MOST_KEPT
STOP = "\n"


def ours(base, model, prompts, options, most_kept):
    """The candidates of each example, leaving out examples once at most such a part of them is left."""
    steps.MOST_KEPT = most_kept
    how = Search(stop=(STOP,), batch_size=options.batch_size, **SEARCH)
    return generate(model, base.tokenizer, prompts, how)


def main():
    parser = arguments(__doc__)
    parser.add_argument("--model", help=MODEL)
    parser.add_argument("--data", required=True, help="folder of CoNaLa's splits")
    parser.add_argument("--adapter", required=True, help="folder of a LoRA adapter")
    add_numbers(parser, examples=32, batch_size=16, rounds=2, threads=2)
    add_out(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    base = load_base(options.model or "toy", options.model)
    model = PeftModel.from_pretrained(base.model, options.adapter).eval()
    test = DATASETS["conala"].load(options.data, None)["test"]
    prompts = [Encoder(base.tokenizer).encode(each) for each in test[: options.examples]]
    speeds = {"padded": [], "all": [], "ours": []}
    for counted in (False, *[True] * options.rounds):
        some = prompts if counted else prompts[:1]
        found = {}
        for name, decode in (
            ("ours", lambda some=some: ours(base, model, some, options, KEPT)),
            ("all", lambda some=some: ours(base, model, some, options, 0)),
            ("padded", lambda some=some: left_padded(base, some, STOP, options.batch_size)),
        ):
            found[name], seconds = timed(decode)
            if counted:
                speeds[name].append(len(some) / seconds)
        texts = [[[each.text for each in candidates] for candidates in found[name]] for name in ("ours", "all")]
        assert texts[0] == texts[1], "the candidates differ"
    lengths = [max(each.token_count for each in candidates) for candidates in found["ours"]]
    same = sum(a == b for a, b in zip(texts[0], found["padded"], strict=True))
    how = [
        "--model MODEL --data CONALA --adapter ADAPTER",
        flags(options, "examples", "batch_size", "rounds", "threads"),
    ]
    lines = [
        "# Beam search of a tuned model: examples a second",
        "",
        f"{command('beams', *how)}: 10 beams, up to {SEARCH['max_new_tokens']} new tokens, stop at a newline, {base.model.dtype},",
        f"{options.threads} threads, {device_name()}, torch {torch.__version__}. The longest candidate of an example has "
        f"{mean(lengths):.0f} tokens in the mean, {max(lengths)} at most.",
        "",
        *head("way", "> examples a second", "raypeft against it"),
        row(
            "`generate`, left-padded batches",
            f"{median(speeds['padded']):.2f}",
            spread(speeds["ours"], speeds["padded"]),
        ),
        row("raypeft, all examples to the end", f"{median(speeds['all']):.2f}", spread(speeds["ours"], speeds["all"])),
        row("raypeft", f"{median(speeds['ours']):.2f}", ""),
        "",
        f"The candidates of both ways of raypeft are identical; those of `generate` are for {same} of {len(prompts)} examples.",
    ]
    publish(lines, options.out)


if __name__ == "__main__":
    main()
