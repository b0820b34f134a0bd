"""Peak GPU memory of the paper's Figure 1, bar by bar, under a hard cap of 24 GB on whatever card there is.

    python benchmarks/memory.py --data datasets/conala --output benchmarks/results/memory.md   # on a GPU, ten minutes
    python benchmarks/memory.py --data datasets/conala --scale small                           # a rehearsal on a CPU
    python benchmarks/memory.py --simulate                                                     # on fake tensors

Every model is built at its true size with random weights, on which peak memory does not depend, and those in nf4
weight by weight, so that no more than one weight is ever held in 16 bits. The bar's method then trains with raypeft's
own loop, evaluates once, and answers one batch with 10 beams. A batch of 8 examples of 128 tokens, the length that the
paper's code pads to, is always among them. Each bar has a process of its own. Needs neither Ray nor faiss nor codebleu,
nor the hub. `--simulate` counts the storages of a training step on tensors without values (torch's FakeTensorMode).
"""

import argparse
import json
import random
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from figure1.bars import BARS, BATCH, PADDED, origin_columns, planned
from figure1.models import build_base, check_adapters
from figure1.simulation import simulate_bar
from figure1.tables import write_up
from reports import add_out, arguments, publish
from transformers import AutoTokenizer

from raypeft.decoding.generation import Search, generate
from raypeft.events import Evaluated
from raypeft.gpu import Meter, is_out_of_memory, take_budget
from raypeft.prompting.encoding import Encoder
from raypeft.records import Example, Prompt
from raypeft.training.batches import training_steps
from raypeft.training.loop import train_model
from raypeft.training.recipe import Recipe
from raypeft.trial.tune import narrow

# bitsandbytes and peft are imported where they are used: this script's first process must keep off the card, since a
# second CUDA context on it would be taken for the first's and count against the budget.

RESULT = "result: "
"""Begins the line in which a bar's process hands over its row as JSON."""


def workload(options, tokenizer):
    """64 training, 16 validation and 16 test prompts: CoNaLa's lengths and, first, examples of 128 tokens.

    Lengths are measured, token ids are random. The embedded tokenizer cuts finer than those of the paper's models (72
    tokens against 43 of SmolLM2's in the mean), so lengths err on the long side; pairs beyond 128 tokens are left out.
    """
    with (Path(options.data) / "train.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    lengths = measured_lengths(rows, options.tokenizer, tokenizer)
    lengths = sorted(pair for pair in lengths if sum(pair) <= PADDED)
    chance = random.Random(0)

    def prompt(index, sizes):
        ids = [chance.randrange(3, len(tokenizer)) for _ in range(sum(sizes))]
        return Prompt(Example(str(index), "", ""), ids[: sizes[0]], ids[sizes[0] :])

    padded = [(PADDED // 2, PADDED // 2)]
    longest = sorted(lengths, key=sum)[-BATCH:]
    # Twice the batch of 128 tokens: whatever the order, one of them meets optimiser states that exist already.
    train = 2 * BATCH * padded + longest + chance.sample(lengths, 5 * BATCH)
    splits = {"train": train, "validation": BATCH * padded + longest, "test": lengths[-2 * BATCH :]}
    return {split: [prompt(index, sizes) for index, sizes in enumerate(pairs)] for split, pairs in splits.items()}


def measured_lengths(rows, source, tokenizer):
    """(prompt, answer) in tokens of every row, with the tokenizer of a folder or GGUF file, else the given one."""
    if source:
        path = Path(source)
        where = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
        tokenizer = AutoTokenizer.from_pretrained(str(path.parent if where else path), **where)
    encoded = [Encoder(tokenizer).encode(Example("", row["nl"], row["cmd"])) for row in rows]
    return [(len(each.prompt_ids), len(each.answer_ids)) for each in encoded]


def run_bar(bar, options):
    """Everything measured of one bar, in this process."""
    take_budget(options.budget)
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trial, plan = planned(bar, options)
    weights = trial.method.base_weights
    dtype = torch.bfloat16 if device == "cuda" and weights != "float32" else torch.float32
    meter, row = Meter(), {"bar": bar.name, "status": "ok", **origin_columns()}
    started = time.perf_counter()
    try:
        with meter.stage("load"):
            base = build_base(bar.model, weights, options.scale, device, dtype)
            splits = workload(options, base.tokenizer)
        row["load_seconds"] = time.perf_counter() - started
        with trial.method.applied(base) as model:
            if weights == "nf4":
                check_adapters(model)
            row |= trained(trial, plan, model, base, splits, meter)
            narrow(trial.method, model)
            row |= answered(trial, plan, model, base, splits, meter)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        stage = next(reversed(meter.peaks), "load")
        row |= {"status": f"oom in {stage}: {str(error).splitlines()[0]}"}
    if options.scale == "small":
        row |= {"seconds_per_step": None, "tokens_per_second": None}  # of shrunken models: they would mislead
    return row | meter.columns() | {"seconds": time.perf_counter() - started}


def trained(trial, plan, model, base, splits, meter):
    """Train on eight batches and evaluate; speed is that of the steps after the first, which warms up."""
    ends = []

    def listener(event):
        if not isinstance(event, Evaluated):
            ends.append(time.perf_counter())
            print(f"  {event}", file=sys.stderr, flush=True)

    method, train = trial.method, splits["train"]
    with meter.stage("train"):
        recipe = Recipe(
            method,
            trial.seed,
            base.tokenizer.pad_token_id,
            plan.gradient_checkpointing,
            plan.micro_batch_size,
            graphs=True,
        )
        result = train_model(model, train, splits["validation"], recipe, listener)
    print(f"  graphs: {result.graphed}", file=sys.stderr, flush=True)
    steps = list(training_steps(train, method, trial.seed, result.steps))
    tokens = sum(len(prompt) for batches in steps[1:] for batch in batches for prompt in batch)
    seconds = [later - earlier for earlier, later in pairwise(ends[1:])]
    return {
        "steps": result.steps,
        "eval_loss": result.best_eval_loss,
        "seconds_per_step": median(seconds),
        "tokens_per_second": tokens / sum(seconds),
    }


def answered(trial, plan, model, base, splits, meter):
    """One batch of the longest prompts, as a trial would decode it."""
    batches = []

    def listener(event):
        print(f"  {event}", file=sys.stderr, flush=True)
        batches.append(event.done)

    started = time.perf_counter()
    with meter.stage("generate"):
        candidates = generate(
            model,
            base.tokenizer,
            splits["test"][: plan.generation_batch_size],
            Search(
                num_beams=trial.num_beams,
                num_return_sequences=trial.num_return_sequences,
                max_new_tokens=64,
                batch_size=plan.generation_batch_size,
            ),
            listener=listener,
        )
    return {
        "generate_seconds": time.perf_counter() - started,
        "generated_tokens": max(each.token_count for found in candidates for each in found),
        # `generate` halves its batch when memory runs out: then the first is smaller than planned.
        "generation_batch_size": batches[1],
    }


def in_own_process(bar, arguments):
    """The row of a bar that is run by this script in another process."""
    print(bar.name, file=sys.stderr, flush=True)
    command = [sys.executable, __file__, *arguments, "--bar", bar.name]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    results = [line for line in finished.stdout.splitlines() if line.startswith(RESULT)]
    if finished.returncode or not results:
        return {"bar": bar.name, "status": f"failed (exit status {finished.returncode}, see above)"}
    return json.loads(results[-1].removeprefix(RESULT))


def make_parser():
    parser = arguments(__doc__)
    parser.add_argument("--data", help="folder with CoNaLa's train.jsonl (needed unless --simulate)")
    parser.add_argument("--tokenizer", help="folder or GGUF file whose tokenizer measures lengths (default: the toy's)")
    parser.add_argument("--bars", nargs="+", choices=list(BARS), default=list(BARS), metavar="MODEL/METHOD")
    parser.add_argument(
        "--scale", choices=("true", "small"), default="true", help="small: to rehearse, measures nothing"
    )
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing on every bar")
    parser.add_argument("--budget", type=float, default=24, help="hard cap in GiB")
    parser.add_argument("--generation-batch-size", type=int, default=16, help="answers at once (the paper: 1)")
    parser.add_argument("--simulate", action="store_true", help="count a training step on fake tensors instead")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on a CPU")
    add_out(parser, "output")
    parser.add_argument("--bar", choices=list(BARS), help=argparse.SUPPRESS)
    return parser


def main():
    parser = make_parser()
    options = parser.parse_args()
    if not options.simulate and not (options.data and (Path(options.data) / "train.jsonl").is_file()):
        parser.error(f"--data must be a folder with CoNaLa's train.jsonl but got {options.data}")
    if options.bar:
        print(RESULT + json.dumps(run_bar(BARS[options.bar], options)), flush=True)
        return 0
    started = time.perf_counter()
    if options.simulate:  # which takes no memory that the next would miss
        rows = [simulate_bar(BARS[name], options) for name in options.bars]
    else:
        rows = [in_own_process(BARS[name], sys.argv[1:]) for name in options.bars]
    publish(write_up(rows, options, time.perf_counter() - started), options.output)
    return int(any(row["status"].startswith("failed") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
