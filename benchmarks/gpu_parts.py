"""What benchmarks/gpu.py measures on a GPU that no other benchmark does: a part a process.

    python benchmarks/gpu_parts.py together
    python benchmarks/gpu_parts.py full --rehearse          # a narrow model, on a CPU

`together` runs equal trainings one at a time and several at once on one card. `same` holds candidates of the GPU in float32
against those of the CPU. `full` makes a training run out of memory, one that fits in parts and one that does not, and trains
once more in the same process. `broken` breaks the CUDA context of one trial of a sweep. The last two fail where the product
does not do what it should. Without --model the model is random, of SmolLM2-135M's sizes.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median

from reports import add_out, arguments, head, publish, row

MODEL = "SmolLM2-135M"
AT_ONCE = (1, 4, 8, 16)
EACH_GB = 4
"""The budget of each training of `together`, in GiB: it is enough for all of them to train in the same way."""
RESULT = "result: "
"""Begins the line in which a process that works for another says what it has done."""


def model_folder(options, folder):
    """The model that is given, or a random one in a folder, which a trial can load."""
    if options.model:
        return options.model
    import torch
    from generation import random_base

    # On the CPU: a process that only starts others must keep off the card.
    base = random_base(MODEL, torch.bfloat16, scale="small" if options.rehearse else "true", device="cpu")
    with torch.no_grad():
        for parameter in base.model.parameters():
            parameter.mul_(3)  # a fresh model finds most tokens about as likely as the others, and its beams tie
    base.model.save_pretrained(f"{folder}/model")
    base.tokenizer.save_pretrained(f"{folder}/model")
    return f"{folder}/model"


def run_trial(fields, folder, bases, gpu_memory_gb, **how):
    """The row of a trial of LoRA on the toy dataset that decodes nothing, run in this process."""
    from raypeft.results.store import ResultStore
    from raypeft.study.options import Resources, RunOptions
    from raypeft.study.trials import make_trial
    from raypeft.trial.columns import tables
    from raypeft.trial.context import TrialContext
    from raypeft.trial.run import run_and_record

    trial = make_trial({"dataset": "toy", "decode": False, "num_train_epochs": 1, "tuning_method": "lora", **fields})
    resources, options = Resources(gpu_memory_gb=gpu_memory_gb), RunOptions(keep="nothing", **how)
    store = ResultStore(folder, tables())
    return run_and_record(TrialContext(trial, "part", store, bases, resources=resources, options=options))


def work(options):
    """Train once to warm up, then at each seed that a line of standard input gives; tell each row in a line."""
    from raypeft.gpu import take_budget
    from raypeft.machine import use_threads
    from raypeft.models.loading import BaseCache

    use_threads(1)
    take_budget(EACH_GB)
    bases, limit = BaseCache(), 16 if options.rehearse else 200
    with tempfile.TemporaryDirectory() as folder:

        def train(seed, limit):
            found = run_trial({"model": options.model, "limit": limit, "seed": seed}, folder, bases, EACH_GB)
            wanted = ("status", "error", "train_tokens_per_second")
            print(RESULT + json.dumps({name: found.get(name) for name in wanted}), flush=True)

        train(0, 16)
        for line in sys.stdin:
            train(int(line), limit)


def heard(process):
    """What a worker says next; that it failed where it has ended."""
    for line in process.stdout:
        if line.startswith(RESULT):
            return json.loads(line.removeprefix(RESULT))
    return {"status": f"the process ended ({process.wait()})", "error": None}


def on_this_card(at_once):
    """Of these numbers of trainings at once, those whose budgets fit the card. Does not touch it."""
    from raypeft.gpu import ask_driver

    cards = [float(line) / 1024 for line in ask_driver("memory.total")]
    return [each for each in at_once if not cards or each * EACH_GB <= cards[0] - 1]


def together(options):
    """Equal trainings of a small model, one at a time and several at once, in processes that are warm."""
    ways = (1, 2) if options.rehearse else on_this_card(AT_ONCE)
    lines, first = [], 0
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as started:
        words = [sys.executable, __file__, "work", "--model", model_folder(options, folder)]
        words += ["--rehearse"] if options.rehearse else []
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        workers = [started.enter_context(subprocess.Popen(words, **pipes)) for _ in range(max(ways))]
        warm = Counter(heard(each)["status"] for each in workers)
        for at_once in ways:
            begun = time.perf_counter()
            for number, worker in enumerate(workers[:at_once]):
                with contextlib.suppress(BrokenPipeError):  # of one that has ended
                    print(100 * at_once + number, file=worker.stdin, flush=True)
            rows = [heard(each) for each in workers[:at_once]]
            seconds = time.perf_counter() - begun
            statuses = Counter(each["status"] for each in rows)
            speeds = [each["train_tokens_per_second"] for each in rows if each["status"] == "ok"]
            rate = statuses["ok"] / seconds
            first = first or rate
            lines.append(row(at_once, told(statuses), f"{seconds:.1f}", f"{median(speeds):.0f}" if speeds else "",
                             f"{rate / first:.1f}" if first else ""))  # fmt: skip
        for each in workers:
            with contextlib.suppress(BrokenPipeError):
                each.stdin.close()
    table = head("> at once", "status", "> s", "> tokens/s of each, in the steps", "> times as many trials in a second")
    if set(warm) != {"ok"}:
        raise SystemExit("\n".join([f"the trainings that warm up must be ok but are {told(warm)}", *table, *lines]))
    each = f"Each is a process with {EACH_GB} GiB that has trained before: neither start nor load is in the times."
    return ["## Trainings at once on one card", "", each, "", *table, *lines]


def told(statuses):
    return ", ".join(f"{count} {status}" for status, count in statuses.items())


def first_line(error):
    return (error or "").split("\n")[0][:120]


def same(options):
    """Candidates of the GPU against those of the CPU, in float32."""
    import torch
    from generation import prepare_device

    from raypeft.data import DATASETS
    from raypeft.decoding.generation import generate
    from raypeft.decoding.search import Search
    from raypeft.models.loading import load_base
    from raypeft.prompting.encoding import Encoder

    device = prepare_device()
    torch.backends.cuda.matmul.allow_tf32 = False
    with tempfile.TemporaryDirectory() as folder:
        model = model_folder(options, folder)
        base = load_base(model, model, weights="float32")
    dataset = "conala" if options.data else "toy"
    examples = DATASETS[dataset].load(options.data, None)["test"][: 4 if options.rehearse else 32]
    prompts = [Encoder(base.tokenizer).encode(each) for each in examples]
    search = Search(max_new_tokens=32, num_beams=10, num_return_sequences=10, stop=("\n",))

    def texts(where):
        base.model.to(where)
        return [[each.text for each in found] for found in generate(base.model, base.tokenizer, prompts, search)]

    theirs, ours = texts("cpu"), texts(device)
    equal = sum(a == b for one, other in zip(ours, theirs, strict=True) for a, b in zip(one, other, strict=True))
    firsts = sum(one[0] == other[0] for one, other in zip(ours, theirs, strict=True))
    lacks = ["", "There is no GPU: the CPU was held against itself."] if device == "cpu" else []
    return ["## Candidates of the GPU and of the CPU, float32", "",
            *head("> examples", "> of these with the same best candidate", "> candidates", "> equal"),
            row(len(ours), firsts, sum(map(len, ours)), equal), *lacks]  # fmt: skip


FULL = (
    ("fits in parts", 24, 1.3, 64, lambda status, size: status == "oom" or size < 64),
    ("fits in no way", 0.8, 0.8, 64, lambda status, size: status == "oom"),
    ("after it", 24, 24, 8, lambda status, size: (status, size) == ("ok", 8)),
)
"""Trainings: their names, the budget that raypeft is told, the GiB that the process can have, the batch, and what the row
must say on a GPU of status and micro-batch. The first is told more than it gets, so that no prediction keeps it from running
out of memory."""


def full(options):
    """Trainings that run out of memory, and one after them in the same process: what their rows say."""
    import torch

    from raypeft.gpu import CONTEXT_GB, GIB, take_budget
    from raypeft.models.loading import BaseCache

    lines, wrong, bases = [], [], BaseCache()
    with tempfile.TemporaryDirectory() as folder:
        model = model_folder(options, folder)
        for name, budget, cap, batch, holds in FULL:
            granted = take_budget(budget)
            if granted and cap < granted:
                whole = torch.cuda.get_device_properties(0).total_memory
                torch.cuda.set_per_process_memory_fraction((cap - CONTEXT_GB) * GIB / whole)
            fields = {"model": model, "limit": 64, "per_device_train_batch_size": batch,
                      "gradient_checkpointing": False}  # fmt: skip
            with contextlib.redirect_stderr(io.StringIO()) as errors:
                found = run_trial(fields, f"{folder}/results", bases, budget, force=True)
            status, size = found["status"], found.get("micro_batch_size") or 0
            peak = found.get("train_peak_memory_allocated_gb")
            lines.append(row(name, f"{min(cap, granted):.1f}" if granted else "", batch, status, size or "",
                             f"{peak:.2f}" if peak else "", first_line(found["error"])))  # fmt: skip
            if not (holds(status, size) if granted else status == "ok"):
                wrong.append(f"{name}: {errors.getvalue()[-2000:]}")
    table = [
        *head("training", "> GiB it can have", "> batch", "status", "> micro-batch", "> peak, GiB", "error"),
        *lines,
    ]
    if wrong:
        raise SystemExit("\n".join(["a row must say what FULL has of it but does not:", *table, *wrong]))
    return ["## Trainings that do not fit", "", *table]


SWEEP = """
name: broken
defaults: {model: toy, dataset: toy, limit: 16, decode: false, num_train_epochs: 1}
grids: [{tuning_method: lora, lora_r: 8, learning_rate: [1.0e-3, 0.5, 3.0e-3]}]
resources: {gpu_memory_gb: 1000000, cpus_per_trial: 1}
max_concurrent_trials: 1
"""
BREAKING = """
import importlib.abc, importlib.util, sys

def stay_broken(torch):
    def raises(*_, **__):
        raise RuntimeError("CUDA error: device-side assert triggered")
    torch.cuda.is_available = torch.cuda.is_initialized = lambda: True
    for name in ("init", "synchronize", "empty_cache", "mem_get_info", "get_device_properties", "set_per_process_memory_fraction"):
        setattr(torch.cuda, name, raises)

def breaking(step):
    def broken(passes, loss, optimizer, *others):
        if optimizer.param_groups[0]["initial_lr"] == 0.5:
            import torch
            if torch.cuda.is_available():
                torch.zeros(4, device="cuda")[torch.tensor([99], device="cuda")].sum().item()
            stay_broken(torch)
            raise RuntimeError("CUDA error: device-side assert triggered")
        return step(passes, loss, optimizer, *others)
    return broken

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "raypeft.training.loop":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            module.optimise_step = breaking(module.optimise_step)
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""
"""A sitecustomize.py: it puts an index that does not exist into the training whose learning rate is 0.5. Without a GPU the
process then answers like one whose context is broken."""


def broken(options):
    """A sweep on one process of Ray at a time, of whose trials the second breaks its CUDA context."""
    from raypeft.results.store import ResultStore
    from raypeft.trial.columns import tables

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(BREAKING)
        (Path(folder) / "broken.yaml").write_text(SWEEP)
        # No trial may need a second start: the row is written, and the next one gets a process of its own.
        words = [sys.executable, "-m", "raypeft.sweep", f"{folder}/broken.yaml", "--results", f"{folder}/results",
                 "max_failures=0"]  # fmt: skip
        path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
        env = os.environ | {"PYTHONPATH": path, "RAY_ADDRESS": "local"}
        done = subprocess.run(words, capture_output=True, text=True, env=env)
        rows = ResultStore(f"{folder}/results/broken", tables()).read_rows()
    by_rate = {each["learning_rate"]: each for each in sorted(rows, key=lambda each: each["started_at"])}
    lines = [row(rate, found["status"], found["attempts"], first_line(found["error"]))
             for rate, found in by_rate.items()]  # fmt: skip
    table = [*head("> learning rate", "status", "> attempts", "error"), *lines]
    found = {rate: each["status"] for rate, each in by_rate.items()}
    if found != {1.0e-3: "ok", 0.5: "failed", 3.0e-3: "ok"}:
        raise SystemExit("\n".join(["the trial that breaks its context must be failed and the two others ok:", *table,
                                    done.stdout[-2000:], done.stderr[-4000:]]))  # fmt: skip
    return ["## A broken CUDA context", "", *table]


PARTS = {"together": together, "same": same, "full": full, "broken": broken}


def make_parser():
    parser = arguments(__doc__)
    parser.add_argument("part", choices=(*PARTS, "work"), help="work: what together starts several times")
    parser.add_argument("--data", help="folder of CoNaLa's splits, for same; without it, the toy dataset")
    parser.add_argument("--model", help=f"folder or GGUF file; without it, {MODEL}'s sizes with random weights")
    parser.add_argument("--rehearse", action="store_true", help="a narrow model")
    add_out(parser)
    return parser


def main():
    options = make_parser().parse_args()
    if options.part == "work":
        work(options)
    else:
        publish(PARTS[options.part](options), options.out)


if __name__ == "__main__":
    main()
