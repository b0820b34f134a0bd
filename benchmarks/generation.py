"""Decoding speed: ours against `generate` for one example at a time, as the paper did, and on left-padded batches.

    python benchmarks/generation.py --out benchmarks/results/generation.md
    python benchmarks/generation.py --model models/SmolLM2-135M-Instruct.Q4_1.gguf --data datasets/conala --examples 8
    python benchmarks/generation.py --random SmolLM2-135M --examples 64 --batch-size 64      # for a GPU: needs no files

Same model, prompts and search, the ways alternating in one process, in float32 unless --bfloat16 is given. On a CPU candidates must be identical or the
run fails; on a GPU, where a kernel's sums may depend on the batch, the table says how many are. With --random the weights
are random at the model's true size, and every answer has the full 64 tokens.
"""

from pathlib import Path
from statistics import median

import torch
from reports import DATA, MODEL, add_numbers, add_out, arguments, command, flags, head, publish, row, timed
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM

from raypeft.data import DATASETS
from raypeft.decoding.generation import Search, generate
from raypeft.machine import device_name
from raypeft.models.loading import Base, load_base
from raypeft.models.table import family_of
from raypeft.prompting.encoding import Encoder
from raypeft.prompting.shots import random_shots

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
            stop_strings=[stop] if stop else None,
            tokenizer=base.tokenizer,
            **SEARCH,
        )
        decoded = [base.tokenizer.decode(row[ids.shape[1] :], skip_special_tokens=True) for row in rows]
        texts.append([text.split(stop)[0] if stop else text for text in decoded])
    return texts


def left_padded(base, prompts, stop, batch_size):
    """The texts of `generate` of Transformers for batches of as many examples, as a user would call it."""
    texts = []
    for start in range(0, len(prompts), batch_size):
        sequences = [torch.tensor(each.prompt_ids) for each in prompts[start : start + batch_size]]
        pad = base.tokenizer.pad_token_id
        ids = pad_sequence(sequences, batch_first=True, padding_value=pad, padding_side="left")
        masks = pad_sequence([torch.ones_like(each) for each in sequences], batch_first=True, padding_side="left")
        rows = base.model.generate(
            ids.to(base.model.device),
            attention_mask=masks.to(base.model.device),
            do_sample=False,
            stop_strings=[stop] if stop else None,
            tokenizer=base.tokenizer,
            **SEARCH,
        )
        decoded = base.tokenizer.batch_decode(rows[:, ids.shape[1] :], skip_special_tokens=True)
        cut = [text.split(stop)[0] if stop else text for text in decoded]
        count = SEARCH["num_return_sequences"]
        texts += [cut[place : place + count] for place in range(0, len(cut), count)]
    return texts


def batched(base, prompts, stop, batch_size, graphs=True):
    how = Search(stop=(stop,) if stop else (), batch_size=batch_size, graphs=graphs, **SEARCH)
    found = generate(base.model, base.tokenizer, prompts, how)
    return [[candidate.text for candidate in candidates] for candidates in found]


def random_base(name):
    """A decoder of the Llama class at its true size, float32, with the toy model's tokenizer."""
    family, toy = family_of(name), load_base("toy")
    sizes = family.architecture
    width = sizes.hidden_size // sizes.heads
    config = LlamaConfig(
        vocab_size=sizes.vocab_size,
        hidden_size=sizes.hidden_size,
        intermediate_size=max(linear.outputs for linear in sizes.linears if linear.feed_forward),
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.key_value_width // width,
        tie_word_embeddings=True,
        max_position_embeddings=sizes.context_length,
        eos_token_id=toy.tokenizer.eos_token_id,
        pad_token_id=toy.tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    with torch.device(toy.model.device):  # 7B parameters take a minute on a CPU
        model = LlamaForCausalLM(config).eval()
    assert sum(each.numel() for each in model.parameters()) == sizes.total_params
    return Base(family, model, toy.tokenizer, "random weights")


def compare(base, prompts, stop, options):
    """A row's figures: the speeds of all ways in examples a second, our ratios, and how many examples are identical."""
    ours, alone, padded, same, without = [], [], [], [], []
    few = prompts[: options.alone]
    for _ in range(options.rounds):
        mine, seconds = timed(batched, base, prompts, stop, options.batch_size)
        ours.append(len(prompts) / seconds)
        if torch.cuda.is_available():  # elsewhere there are no graphs
            _, seconds = timed(batched, base, prompts, stop, options.batch_size, False)
            without.append(len(prompts) / seconds)
        other, seconds = timed(one_at_a_time, base, few, stop)
        alone.append(len(few) / seconds)
        _, seconds = timed(left_padded, base, prompts, stop, options.batch_size)
        padded.append(len(prompts) / seconds)
        same.append(sum(a == b for a, b in zip(mine[: len(few)], other, strict=True)) / len(few))
        assert same[-1] == 1 or torch.cuda.is_available(), "the candidates differ"
    speeds = (f"{median(each):.2f}" if each else "" for each in (alone, padded, without, ours))
    return *speeds, spread(ours, alone), spread(ours, padded), f"{100 * min(same):.0f} %"


def spread(ours, theirs):
    """Our speed in theirs: the median of the rounds, and the lowest and highest."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return f"{median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"


def main():
    parser = arguments(__doc__)
    parser.add_argument("--model", help=MODEL)
    parser.add_argument("--random", metavar="NAME", help="a Llama-class model of the table, with random weights")
    parser.add_argument("--data", help=DATA)
    parser.add_argument(
        "--bfloat16", action="store_true", help="as trials decode on a GPU; candidates then differ more"
    )
    parser.add_argument("--alone", type=int, default=10**6, help="decode so many examples one at a time, at most")
    add_numbers(parser, examples=32, batch_size=16, rounds=3, threads=2)
    add_out(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    base = random_base(options.random) if options.random else load_base(options.model or "toy")
    base.model.to(torch.bfloat16 if options.bfloat16 else torch.float32)
    stop = None if options.random else "\n"
    name = f"{options.random}, random weights," if options.random else Path(options.model or "toy").name
    dataset = "conala" if options.data else "toy"
    splits = DATASETS[dataset].load(options.data, None)
    lines = []
    for num_shots in (0, 8):
        shots = random_shots(splits["train"], num_shots, 42)
        prompts = [Encoder(base.tokenizer).encode(example, shots) for example in splits["test"][: options.examples]]
        mean_length = sum(len(prompt.prompt_ids) for prompt in prompts) / len(prompts)
        lines.append(row(num_shots, f"{mean_length:.0f}", *compare(base, prompts, stop, options)))
        print(lines[-1], flush=True)
    options.alone = min(options.alone, options.examples)
    how = flags(options, "examples", "alone", "rounds", "batch_size", "threads")
    report = [
        "# Decoding: examples a second",
        "",
        f"{command('generation', how)}: {name} on {dataset}, 10 beams, up to 64 new tokens,",
        f"{'stop at a newline' if stop else 'no stop'}, {base.model.dtype}, {options.threads} threads, {device_name()}, torch {torch.__version__}.",
        "",
        *head(
            "> shots",
            "> prompt tokens",
            "> one at a time",
            "> left-padded batches",
            "> raypeft, without graphs",
            "> raypeft",
            "against one at a time",
            "against batches",
            "> of these identical",
        ),
        *lines,
    ]
    publish(report, options.out)


if __name__ == "__main__":
    main()
