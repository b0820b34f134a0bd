"""Decoding speed: ours against `generate` for one example at a time, as the paper did, and on left-padded batches.

    python benchmarks/generation.py --out benchmarks/results/generation.md
    python benchmarks/generation.py --model models/SmolLM2-135M-Instruct.Q4_1.gguf --data datasets/conala --examples 8
    python benchmarks/generation.py --random SmolLM2-135M --examples 64 --batch-size 64      # for a GPU: needs no files

Same model, prompts and search, the ways alternating in one process after one uncounted example of each, in float32 unless
--bfloat16 is given. On a CPU candidates must be identical or the run fails; on a GPU, where a kernel's sums may depend on
the batch, the table says how many are. With --random the weights are random at the model's true size, and every answer has
the full 64 tokens.
"""

import math
from pathlib import Path
from statistics import median

import torch
from figure1.models import build_base
from reports import DATA, MODEL, add_numbers, add_out, arguments, command, flags, head, publish, row, timed
from torch.nn.utils.rnn import pad_sequence

from raypeft.data import DATASETS
from raypeft.decoding.generation import Search, generate
from raypeft.gpu import free_memory, take_budget
from raypeft.machine import device_name
from raypeft.models.loading import load_base
from raypeft.models.table import MODELS
from raypeft.prompting.encoding import Encoder
from raypeft.prompting.shots import random_shots

RANDOM = "this model of raypeft's table at its size, with random weights"
SCALE = "small: a narrow model of the same class, to rehearse; measures nothing"
SETTINGS = "All ways have the settings of PyTorch that raypeft's trials make: cuDNN's attention off, and memory in expandable segments."
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


def prepare_device():
    """The settings that a trial makes on a GPU, for the opponents too, with all of the card as the budget; the device."""
    take_budget(math.inf)
    return "cuda" if torch.cuda.is_available() else "cpu"


def random_base(name, dtype=torch.float32, weights="half", scale="true", device=None):
    """A decoder of raypeft's table with random weights, on the GPU where there is one.

    Its tokenizer is the toy model's, with tokens of their own for all other ids: different ids are different texts.
    """
    torch.manual_seed(0)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")  # 7B parameters take a minute on a CPU
    base = build_base(name, weights, scale, device, dtype)
    base.model.eval()
    base.tokenizer.add_tokens([f"<{number}>" for number in range(len(base.tokenizer), base.token_count)])
    return base


def ways(base, prompts, stop, options):
    """Each way to decode, by name: what decodes so, and how many examples a second are counted for it."""
    few, size = prompts[: options.alone], options.batch_size
    found = {"ours": (lambda: batched(base, prompts, stop, size), len(prompts))}
    if torch.cuda.is_available():  # elsewhere there are no graphs
        found["without graphs"] = lambda: batched(base, prompts, stop, size, False), len(prompts)
    found["alone"] = lambda: one_at_a_time(base, few, stop), len(few)
    found["padded"] = lambda: left_padded(base, prompts, stop, size), len(prompts)
    return found


def compare(base, prompts, stop, options):
    """A row's figures: the speeds of all ways in examples a second, our ratios, and how many examples are identical."""
    for decode, _ in ways(base, prompts[:1], stop, options).values():
        decode()  # warms all up and is not counted
    speeds = {name: [] for name in ("alone", "padded", "without graphs", "ours")}
    same, few = [], prompts[: options.alone]
    for _ in range(options.rounds):
        texts = {}
        for name, (decode, count) in ways(base, prompts, stop, options).items():
            texts[name], seconds = timed(decode)
            speeds[name].append(count / seconds)
            free_memory()
        same.append(sum(a == b for a, b in zip(texts["ours"][: len(few)], texts["alone"], strict=True)) / len(few))
        assert same[-1] == 1 or torch.cuda.is_available(), "the candidates differ"
    medians = (f"{median(each):.2f}" if each else "" for each in speeds.values())
    against = (spread(speeds["ours"], speeds[name]) for name in ("alone", "padded"))
    return *medians, *against, f"{100 * min(same):.0f} %"


def spread(ours, theirs):
    """Our speed in theirs: the median of the rounds, and the lowest and highest."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return f"{median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"


def make_parser():
    parser = arguments(__doc__)
    parser.add_argument("--model", help=MODEL)
    parser.add_argument("--random", choices=list(MODELS), metavar="NAME", help=RANDOM)
    parser.add_argument("--scale", choices=("true", "small"), default="true", help=SCALE)
    parser.add_argument("--data", help=DATA)
    parser.add_argument(
        "--bfloat16", action="store_true", help="as trials decode on a GPU; candidates then differ more"
    )
    parser.add_argument("--alone", type=int, default=10**6, help="decode so many examples one at a time, at most")
    parser.add_argument("--shots", type=int, nargs="+", default=[0, 8], help="examples in the prompt, a row for each")
    add_numbers(parser, examples=32, batch_size=16, rounds=3, threads=2)
    add_out(parser)
    return parser


def main():
    options = make_parser().parse_args()
    torch.set_num_threads(options.threads)
    prepare_device()
    dtype = torch.bfloat16 if options.bfloat16 else torch.float32
    if options.random:
        base = random_base(options.random, dtype, scale=options.scale)
    else:
        base = load_base(options.model or "toy", options.model)
        base.model.to(dtype)
    stop = None if options.random else "\n"
    dataset = "conala" if options.data else "toy"
    splits = DATASETS[dataset].load(options.data, None)
    lines = []
    for num_shots in options.shots:
        shots = random_shots(splits["train"], num_shots, 42)
        prompts = [Encoder(base.tokenizer).encode(example, shots) for example in splits["test"][: options.examples]]
        mean_length = sum(len(prompt.prompt_ids) for prompt in prompts) / len(prompts)
        lines.append(row(num_shots, f"{mean_length:.0f}", *compare(base, prompts, stop, options)))
        print(lines[-1], flush=True)
    options.alone = min(options.alone, options.examples)
    publish(report(options, base, stop, dataset, lines), options.out)


def report(options, base, stop, dataset, lines):
    """The lines of the report."""
    name = f"{options.random}, random weights," if options.random else Path(options.model or "toy").name
    how = [f"--random {options.random}"] if options.random else ["--model MODEL"] if options.model else []
    how += ["--scale small"] if options.scale == "small" else []
    how += ["--data CONALA"] if options.data else []
    how += ["--bfloat16"] if options.bfloat16 else []
    how += [f"--shots {' '.join(map(str, options.shots))}"] if options.shots != [0, 8] else []
    how += [flags(options, "examples", "alone", "rounds", "batch_size", "threads")]
    return [
        "# Decoding: examples a second",
        "",
        f"{command('generation', *how)}: {name} on {dataset}, 10 beams, up to 64 new tokens,",
        f"{'stop at a newline' if stop else 'no stop'}, {base.model.dtype}, {options.threads} threads, {device_name()}, torch {torch.__version__}.",
        *([SETTINGS] if torch.cuda.is_available() else []),
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


if __name__ == "__main__":
    main()
