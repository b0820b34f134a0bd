"""What checkpoints of a training cost: bytes, seconds to write and to read, and the share of the training's time.

    python benchmarks/checkpoints.py --model SmolLM2-135M-Instruct.Q4_1.gguf --out benchmarks/results/checkpoints.md

Each method takes a few steps on the toy dataset; then its state is written to and read from a results folder, as a
trial does it. Before the last step, the best weights so far are those of an earlier evaluation, so that they are in the
checkpoint beside the present ones: the largest that there is. The share is that of one write in each default interval.
The floor is the same number of bytes, written and moved by Python alone.
"""

import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from reports import MODEL, add_numbers, add_out, arguments, command, flags, head, publish, row

from raypeft.data import DATASETS
from raypeft.machine import device_name
from raypeft.methods import Full, Lora
from raypeft.models.loading import load_base
from raypeft.prompting.encoding import Encoder
from raypeft.results.store import ResultStore
from raypeft.training.loop import Training
from raypeft.training.recipe import Recipe
from raypeft.training.state import MINUTES, Checkpoints, restore
from raypeft.trial.checkpoints import TRAINING, StoredCheckpoint, folder_of
from raypeft.trial.columns import tables

METHODS = {
    "LoRA r 16, Adafactor": lambda steps: Lora(num_train_epochs=1, eval_every_epochs=1 / steps),
    "LoRA r 16, AdamW": lambda steps: Lora(num_train_epochs=1, eval_every_epochs=1 / steps, optim="adamw_torch"),
    "full, Adafactor": lambda steps: Full(num_train_epochs=1, eval_every_epochs=1 / steps),
    "full, AdamW": lambda steps: Full(num_train_epochs=1, eval_every_epochs=1 / steps, optim="adamw_torch"),
}


def seconds(action):
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def begun(model, prompts, pad, method):
    """A training after its steps but for the last, whose best weights are not the present ones."""
    training = Training(model, prompts, Recipe(method, 42, pad))
    times = []
    for index in range(training.total_steps):
        batch = prompts[index * 8 : index * 8 + 8]
        if index == training.total_steps - 1:
            training.evaluate(prompts[:1])
        times.append(seconds(lambda batch=batch: training.step([batch])))
    return training, median(times)


def plain_write(folder, size):
    """The floor: bytes of the same number, written and moved."""
    data = bytes(size)
    (folder / "plain.tmp").write_bytes(data)
    (folder / "plain.tmp").rename(folder / "plain")


def measure(options, name, folder):
    base = load_base(options.model, options.model if options.model != "toy" else None, weights="float32")
    prompts = [Encoder(base.tokenizer).encode(each) for each in DATASETS["toy"].load(None, None)["train"]]
    method = METHODS[name](options.steps)
    torch.manual_seed(0)
    with method.applied(base) as model:
        training, step = begun(model, prompts[: 8 * options.steps], base.tokenizer.pad_token_id, method)
        store = ResultStore(str(folder), tables())
        keeper = Checkpoints(StoredCheckpoint(store, "trial"), {})
        writes = [seconds(lambda: keeper.save(training)) for _ in range(options.rounds)]
        size = store.filesystem.get_file_info(f"{store.root}/{folder_of('trial')}/{TRAINING}").size
        fresh = Training(model, prompts[: 8 * options.steps], Recipe(method, 42, base.tokenizer.pad_token_id))
        fresh.at_first = training.at_first
        reads = [seconds(lambda: restore(fresh, keeper.load(fresh))) for _ in range(options.rounds)]
        floor = median(seconds(lambda: plain_write(folder, size)) for _ in range(options.rounds))
    return size, step, median(writes), max(writes), median(reads), floor


def main():
    parser = arguments(__doc__)
    parser.add_argument("--model", default="toy", help=MODEL)
    add_numbers(parser, steps=3, rounds=5, threads=2)
    add_out(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lines = [
        "# Checkpoints of a training: what they cost",
        "",
        f"{command('checkpoints', '--model MODEL', flags(options, 'steps', 'rounds', 'threads'))} on {device_name()}, "
        f"{options.threads} threads, torch {torch.__version__}. {Path(options.model).stem}, batch 8, medians of "
        f"{options.rounds}. The share is that of one write in {MINUTES:g} minutes, the default interval.",
        "",
        *head(
            "method", "> MB", "> a step, s", "> write, s", "> worst", "> share, %", "> read, s", "> floor of a write, s"
        ),
    ]
    for name in METHODS:
        folder = Path(tempfile.mkdtemp(prefix="raypeft-benchmark-"))
        try:
            size, *times = measure(options, name, folder)
        finally:
            shutil.rmtree(folder)
        step, write, worst, read, floor = times
        share = 100 * write / (60 * MINUTES)
        lines.append(
            row(name, f"{size / 1e6:.1f}", *(f"{each:.2f}" for each in (step, write, worst, share, read, floor)))
        )
        print(lines[-1], flush=True)
    publish(lines, options.out)


if __name__ == "__main__":
    main()
