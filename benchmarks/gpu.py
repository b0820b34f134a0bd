"""Everything that is to be measured on a GPU, in one command that can be broken off and given again.

    python benchmarks/gpu.py --data datasets/conala --folder gpu_results --minutes 9 --out benchmarks/results/gpu.md
    python benchmarks/gpu.py --rehearse --folder /tmp/rehearsal          # small sizes, on a CPU, in some minutes

Each part is a process of its own, so that one which ends badly takes no other with it and leaves the card empty. The
table of each is kept in --folder; parts that have succeeded are not run again. --minutes ends between two parts.

`tests` are those that need a GPU. Memory, training and decoding are the benchmarks of these names. `together` runs equal
trainings one after the other and several at once on one card. `same` holds candidates of the GPU in float32 against those
of the CPU. `full` makes a training run out of memory, and another one after it in the same process. `broken` breaks the CUDA
context of one trial of a sweep.

It was rehearsed on a CPU with the sizes of --rehearse. A GPU has run only the memory part.
"""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from reports import add_numbers, add_out, arguments, command, head, publish, row

HERE = Path(__file__).parent
SWEEP = """
name: together
defaults: {model: "%s", dataset: toy, limit: %d, decode: false, num_train_epochs: %d}
grids: [{tuning_method: lora, lora_r: 8, learning_rate: [1.0e-3, 3.0e-3], seed: [%s]}]
resources: {gpu_memory_gb: %d, cpus_per_trial: 1}
"""


def parts(options):
    """Name of a part -> its command line behind the interpreter's."""
    small, data = options.rehearse, ["--data", options.data] if options.data else []
    model = ["--model", options.model] if options.model else []
    few = ["--examples", "16", "--rounds", "1"]
    # Only the files that hold such tests: others import packages that these do not need.
    tests = sorted(str(path) for path in (HERE.parent / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text())
    found = {"tests": ["-m", "pytest", "-q", "-m", "gpu", *tests]}
    found["training"] = ["training.py", *data, *model, *(few if small else ["--examples", "640", "--rounds", "2"])]
    if not small:
        large = ["--random", "CodeLlama-7b-hf", "--examples", "64", "--rounds", "1"]
        found["training 7B"] = ["training.py", *data, *large]
    for batch in (16,) if small else (16, 48, 128):
        sizes = few if small else ["--examples", str(2 * batch), "--alone", "4", "--rounds", "2", "--bfloat16"]
        found[f"decoding {batch}"] = ["generation.py", *data, *model, *sizes, "--batch-size", str(batch)]
    for name in ("together", "same", "full", "broken"):
        found[name] = ["gpu.py", *data, *model, *(["--rehearse"] if small else []), "--part", name]
    if options.data:
        bars = ["--scale", "small", "--bars", "codegen-350M-mono/full"] if small else []
        found["memory"] = ["memory.py", *data, *bars]
    return found


def run_trials(sweep, indices, at_once, folder):
    """Seconds that these trials take as processes, so many at once."""
    waiting, running, started = list(indices), [], time.perf_counter()
    while waiting or running:
        running = [each for each in running if each.poll() is None]
        while waiting and len(running) < at_once:
            words = [sys.executable, "-m", "raypeft.trial", sweep, "--index", str(waiting.pop(0)), "--results", folder]
            running.append(subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        time.sleep(0.1)
    return time.perf_counter() - started


def together(options):
    """Equal trainings of a small model: one after the other, and several at once."""
    seeds = 1 if options.rehearse else 8
    ways = (1, 2) if options.rehearse else (1, 4, 8, 16)
    sizes = (16, 1) if options.rehearse else (400, 2)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        sweep = Path(folder) / "together.yaml"
        budget = 24 if options.rehearse else 4
        sweep.write_text(SWEEP % (options.model or "toy", *sizes, ", ".join(map(str, range(seeds))), budget))
        for at_once in ways:
            seconds = run_trials(str(sweep), range(2 * seeds), at_once, f"{folder}/{at_once}")
            done = len(list(Path(f"{folder}/{at_once}").glob("*/trials/*.parquet")))
            lines.append((at_once, done, seconds))
    return [
        "## Trials at once on one card",
        "",
        *head("> at once", "> trials with a row", "> s", "> times as fast"),
        *(row(at_once, done, f"{seconds:.0f}", f"{lines[0][2] / seconds:.1f}") for at_once, done, seconds in lines),
    ]


def same(options):
    """Candidates of the GPU against those of the CPU, in float32."""
    import torch

    from raypeft.data import DATASETS
    from raypeft.decoding.generation import generate
    from raypeft.decoding.search import Search
    from raypeft.models.loading import load_base
    from raypeft.prompting.encoding import Encoder

    torch.backends.cuda.matmul.allow_tf32 = False
    base = load_base(options.model or "toy", options.model)
    base.model.float()
    dataset = "conala" if options.data else "toy"
    examples = DATASETS[dataset].load(options.data, None)["test"][: 4 if options.rehearse else 32]
    prompts = [Encoder(base.tokenizer).encode(each) for each in examples]
    search = Search(max_new_tokens=32, num_beams=10, num_return_sequences=10, stop=("\n",))
    found = {}
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu", "cpu"):
        base.model.to(device)
        found[device] = [each.text for all_ in generate(base.model, base.tokenizer, prompts, search) for each in all_]
    ours = found.get("cuda", found["cpu"])
    equal = sum(a == b for a, b in zip(ours, found["cpu"], strict=True))
    lacks = [] if "cuda" in found else ["", "There is no GPU: the CPU was held against itself."]
    return ["## Candidates of the GPU and of the CPU, float32", "", *head("> candidates", "> equal"),
            row(len(ours), equal), *lacks]  # fmt: skip


def full(options):
    """A training that runs out of memory, and one after it in the same process: what their rows say."""
    from raypeft.gpu import budget_gb, take_budget
    from raypeft.models.loading import BaseCache
    from raypeft.results.store import ResultStore
    from raypeft.study.options import Resources, RunOptions
    from raypeft.study.trials import make_trial
    from raypeft.trial.columns import tables
    from raypeft.trial.context import TrialContext
    from raypeft.trial.run import run_and_record

    fields = {"model": options.model or "toy", "dataset": "toy", "limit": 64, "decode": False, "num_train_epochs": 1}
    budget = 1.3 if options.model else 0.8
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        store, bases = ResultStore(folder, tables()), BaseCache()
        for name, gb, batch in (("too large", budget, 64), ("after it", 24, 8)):
            trial = make_trial({**fields, "tuning_method": "lora", "per_device_train_batch_size": batch,
                                "gradient_checkpointing": False})  # fmt: skip
            take_budget(gb)
            resources, force = Resources(gpu_memory_gb=gb), RunOptions(force=True)
            context = TrialContext(trial, "full", store, bases, resources=resources, options=force)
            with contextlib.redirect_stderr(io.StringIO()):
                found = run_and_record(context)
            peak = found.get("train_peak_memory_allocated_gb")
            lines.append(row(name, f"{budget_gb() or 0:.2f}", found["status"], found.get("micro_batch_size") or "",
                             f"{peak:.2f}" if peak else "", (found["error"] or "")[:120]))  # fmt: skip
    return ["## A training that does not fit", "",
            *head("trial", "> budget, GiB", "status", "> micro-batch", "> peak, GiB", "error"), *lines]  # fmt: skip


BREAKING = """
import importlib.abc, importlib.util, sys

def breaking(step):
    def broken(passes, batches, optimizer, *others):
        if optimizer.param_groups[0]["initial_lr"] == 0.5:
            import torch
            if torch.cuda.is_available():
                torch.zeros(4, device="cuda")[torch.tensor([99], device="cuda")].sum().item()
            raise RuntimeError("CUDA error: device-side assert triggered")
        return step(passes, batches, optimizer, *others)
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
"""A sitecustomize.py: it puts an index that does not exist into the training whose learning rate is 0.5."""


def broken(options):
    """A sweep on one process of Ray at a time, of whose trials the second breaks its CUDA context."""
    from raypeft.results.store import ResultStore
    from raypeft.trial.columns import tables

    text = SWEEP % ("toy", 16, 1, "1", 10**6) + "max_failures: 0\n"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(BREAKING)
        (Path(folder) / "together.yaml").write_text(text.replace("3.0e-3", "0.5, 3.0e-3"))
        words = [sys.executable, "-m", "raypeft.sweep", f"{folder}/together.yaml", "--results", f"{folder}/results"]
        path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
        env = os.environ | {"PYTHONPATH": path, "RAY_ADDRESS": "local"}
        done = subprocess.run(words, capture_output=True, text=True, env=env)
        rows = ResultStore(f"{folder}/results/together", tables()).read_rows()
    if not rows:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    rows.sort(key=lambda each: each["started_at"])
    lines = [row(each["learning_rate"], each["status"], (each["error"] or "")[:100].split("\n")[0]) for each in rows]
    return ["## A broken CUDA context", "", *head("> learning rate", "status", "error"), *lines]


def run_part(name, words, folder):
    """Run a part and keep its table; whether it succeeded."""
    started, table = time.perf_counter(), folder / f"{name}.table"
    out = {"-m": [], "gpu.py": [], "memory.py": ["--output", str(table)]}.get(words[0], ["--out", str(table)])
    script = [str(HERE / words[0]), *words[1:], *out] if words[0] != "-m" else words
    done = subprocess.run([sys.executable, *script], capture_output=True, text=True,
                          env=os.environ | {"HF_HUB_OFFLINE": "1"})  # fmt: skip
    seconds = time.perf_counter() - started
    print(f"{name}: {'done' if done.returncode == 0 else 'failed'} in {seconds:.0f} s", flush=True)
    if done.returncode == 0:
        found = table.read_text() if out else done.stdout
        if words[0] == "-m":
            found = f"## Tests that need a GPU\n\n{found.splitlines()[-1]}"
        (folder / f"{name}.md").write_text(found)
        table.unlink(missing_ok=True)
    else:
        (folder / f"{name}.failed.txt").write_text(done.stdout[-5000:] + done.stderr[-5000:])
    return done.returncode == 0


def main():
    parser = arguments(__doc__)
    parser.add_argument("--data", help="folder of CoNaLa's splits; without it the toy dataset, and no part on memory")
    parser.add_argument("--model", help="folder or GGUF file of a small model; without it, the toy model")
    parser.add_argument("--folder", default="gpu_results", help="where the parts' tables are kept")
    parser.add_argument("--only", nargs="+", metavar="PART", help="run these parts")
    parser.add_argument("--rehearse", action="store_true", help="small sizes")
    parser.add_argument("--part", choices=("together", "same", "full", "broken"), help="run one part in this process")
    add_numbers(parser, minutes=60)
    add_out(parser)
    options = parser.parse_args()
    if options.part:
        print("\n".join({"together": together, "same": same, "full": full, "broken": broken}[options.part](options)))
        return 0
    folder, until = Path(options.folder), time.monotonic() + 60 * options.minutes
    folder.mkdir(parents=True, exist_ok=True)
    every = parts(options)
    chosen = options.only or list(every)
    if unknown := set(chosen) - set(every):
        parser.error(f"--only must name parts ({', '.join(every)}) but got {', '.join(sorted(unknown))}")
    left = [name for name in chosen if not (folder / f"{name}.md").is_file()]
    failed = [name for name in left if time.monotonic() < until and not run_part(name, every[name], folder)]
    missing = [name for name in every if not (folder / f"{name}.md").is_file()]
    tables = [(folder / f"{name}.md").read_text().strip() for name in every if name not in missing]
    notes = [f"Not measured yet: {', '.join(missing)}."] if missing else []
    how = command("gpu", "--rehearse" if options.rehearse else "")
    publish(["\n\n".join(["# On a GPU" if not options.rehearse else "# Rehearsal on small sizes", f"{how}.",
                          *notes, *tables])], options.out)  # fmt: skip
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
