"""Everything that is to be measured on a GPU, in one command that can be broken off and given again.

    python benchmarks/gpu.py --data datasets/conala --folder gpu_results --minutes 9 --out benchmarks/results/gpu.md
    python benchmarks/gpu.py --rehearse --folder /tmp/rehearsal --minutes 30                   # narrow models, on a CPU

Each part is a process of its own, so that one which ends badly takes no other with it and leaves the card empty. Parts are
run in the order of what they are worth. The table of each is kept in --folder; parts that have succeeded are not run again.
A part that is not done when --minutes are over is ended, which NAME.failed.txt says, and run again next time.

`tests` are those that need a GPU. Training, decoding and memory (a part for each bar of the paper's Figure 1) are the
benchmarks of these names, and benchmarks/gpu_parts.py describes the others. Without --model the models are random ones of
the sizes that the parts are named after: no file is needed.

It was rehearsed on a CPU with --rehearse. A GPU has run only the memory part.
"""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from figure1.bars import BARS
from reports import add_numbers, add_out, arguments, command, publish

HERE = Path(__file__).parent
LEAST = 30
"""Seconds that a part gets at least."""
END = 15
"""Seconds that a part has to end by itself once it is told to."""


def parts(options):
    """Name of a part -> its command line behind the interpreter's, the most valuable first."""
    rehearse, data = options.rehearse, ["--data", options.data] if options.data else []
    model = ["--model", options.model] if options.model else []
    small = ["--scale", "small", "--threads", "1"] if rehearse else []  # others may use the machine
    first = model or ["--random", "SmolLM2-135M", *small]

    def training(chosen, examples, rounds, *others):
        counts = (16, 1) if rehearse else (examples, rounds)
        return ["training.py", *data, *chosen, *others, *numbers(examples=counts[0], rounds=counts[1])]

    def decoding(chosen, batch, examples, rounds, *others):
        counts = (2, 1) if rehearse else (examples, rounds)
        return ["generation.py", *data, *chosen, *([] if rehearse else ["--bfloat16"]), *others,
                *numbers(examples=counts[0], rounds=counts[1], alone=2, batch_size=batch)]  # fmt: skip

    def own(name):
        return ["gpu_parts.py", name, *data, *model, *(["--rehearse"] if rehearse else [])]

    batches = (16,) if rehearse else (16, 48, 128)
    large, medium = (["--random", name, *small] for name in ("CodeLlama-7b-hf", "SmolLM2-360M"))
    return {
        "tests": ["-m", "pytest", "-q", "-m", "gpu", *gpu_tests()],
        "training 135M": training(first, 320, 2),
        **{f"decoding 135M, {batch} at once": decoding(first, batch, max(batch, 32), 2) for batch in batches},
        **{name: own(name) for name in ("broken", "full", "together", "same")},
        "training 360M": training(medium, 160, 1),
        "decoding 360M": decoding(medium, 48, 48, 1),
        "training 7B": training(large, 64, 1),
        "decoding 7B": decoding(large, 16, 16, 1, "--shots", "0"),
        **({"training 7B in nf4": training(large, 64, 1, "--nf4")} if find_spec("bitsandbytes") else {}),
        **({f"memory {bar}": ["memory.py", *data, "--bars", bar, *small] for bar in BARS} if data else {}),
    }


def numbers(**values):
    """Options of numbers, as a command line has them."""
    return [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def gpu_tests():
    """The files that have tests for a GPU: others import packages that these do not need."""
    return sorted(str(path) for path in (HERE.parent / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text())


def kept(folder, name, ending):
    """The file of a part; bars have a slash in their names."""
    return folder / f"{name.replace('/', ' ')}.{ending}"


def run_part(name, words, folder, seconds):
    """Run a part for so many seconds at most and keep its table, or the end of what it said; whether it succeeded."""
    started, table, log = time.perf_counter(), kept(folder, name, "table"), kept(folder, name, "log")
    out = [] if words[0] == "-m" else ["--output" if words[0] == "memory.py" else "--out", str(table)]
    script = words if words[0] == "-m" else [str(HERE / words[0]), *words[1:], *out]
    with log.open("w") as stream:
        # A group of its own, so that it can be ended with all that it has started.
        process = subprocess.Popen([sys.executable, *script], stdout=stream, stderr=subprocess.STDOUT, process_group=0,
                                   env=os.environ | {"HF_HUB_OFFLINE": "1"})  # fmt: skip
        how = ended(process, seconds)
    print(f"{name}, {time.perf_counter() - started:.0f} s: {how}", flush=True)
    said = log.read_text(errors="replace")
    log.unlink()
    failed = kept(folder, name, "failed.txt")
    if how != "done":
        table.unlink(missing_ok=True)
        failed.write_text(f"{how}; it was {' '.join(script)}\n\n{said[-10_000:]}")
        return False
    text = table.read_text() if out else f"## Tests that need a GPU\n\n{said.strip().splitlines()[-1]}"
    kept(folder, name, "md").write_text(text)
    table.unlink(missing_ok=True)
    failed.unlink(missing_ok=True)
    return True


def ended(process, seconds):
    """How a process ended: done, failed, or killed after so many seconds, with all that it has started."""
    try:
        return "done" if process.wait(seconds) == 0 else f"failed with exit status {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END)
        return f"killed after {seconds:.0f} s, in which it was not done"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it has left behind would hold the card


def report(every, folder, options):
    """The tables that there are, and the names of those that are missing."""
    found = {name: kept(folder, name, "md").read_text().strip() for name in every if kept(folder, name, "md").is_file()}
    missing = [name for name in every if name not in found]
    tables, bars = [], [text for name, text in found.items() if name.startswith("memory ")]
    tables += [text for name, text in found.items() if not name.startswith("memory ")]
    if bars:  # one table: of the others their row, which is the last line
        tables.append("\n".join([bars[0], *(text.splitlines()[-1] for text in bars[1:])]))
    return [
        "# On a GPU" if not options.rehearse else "# Rehearsal on small sizes",
        "",
        f"{command('gpu', '--rehearse' if options.rehearse else '')}.",
        *(["", f"Not measured yet: {'; '.join(missing)}."] if missing else []),
        *(f"\n{re.sub('^# ', '## ', text)}" for text in tables),
    ]


def make_parser():
    parser = arguments(__doc__)
    parser.add_argument("--data", help="folder of CoNaLa's splits; without it the toy dataset, and no part on memory")
    parser.add_argument("--model", help="folder or GGUF file of a small model, instead of the one of 135M parameters")
    parser.add_argument("--folder", default="gpu_results", help="where the parts' tables are kept")
    parser.add_argument(
        "--only", nargs="+", metavar="PART", help="run these parts; `memory` means all of this first word"
    )
    parser.add_argument("--rehearse", action="store_true", help="narrow models and few examples")
    add_numbers(parser, minutes=60)
    add_out(parser)
    return parser


def main():
    parser = make_parser()
    options = parser.parse_args()
    folder, until = Path(options.folder), time.monotonic() + 60 * options.minutes
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the running part is ended as well
    every = parts(options)
    known = {*every, *(name.split()[0] for name in every)}
    if unknown := set(options.only or ()) - known:
        parser.error(f"--only must name parts ({'; '.join(every)}) but got {', '.join(sorted(unknown))}")
    only = set(options.only or every)
    failed = False
    for name, words in every.items():
        left = until - time.monotonic()
        if {name, name.split()[0]} & only and left > 0 and not kept(folder, name, "md").is_file():
            failed |= not run_part(name, words, folder, max(LEAST, left))
            if options.out:  # now: the command may be killed
                Path(options.out).write_text("\n".join(report(every, folder, options)) + "\n", encoding="utf-8")
    publish(report(every, folder, options), options.out)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
